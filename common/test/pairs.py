# SPDX-License-Identifier: Apache-2.0
"""Timing in pairs: the plain version and ours in turn, so that a machine that slows down slows both."""

import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

from common.device import AmpLevel, resolve

import cv2
import torch


def levels(device: torch.device) -> tuple[AmpLevel, ...]:
    """The precision levels worth timing: no O1 on a CPU that only emulates bfloat16, many times slower."""
    emulated = device.type == "cpu" and not torch.cpu._is_avx512_bf16_supported()
    return ("O0",) if emulated else ("O0", "O1")


class Elsewhere:
    """A callable that another process makes and calls: what we set for our own process does not help it.

    `make` is called there, without arguments; it must be importable, and so must be what it returns the result of.
    """

    def __init__(self, make: Callable[[], Callable[[], object]]) -> None:
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin, (make,))

    def __call__(self) -> object:
        return self._pool.submit(_act).result()


_made: list[Callable[[], object]] = []


def _begin(make: Callable[[], Callable[[], object]]) -> None:
    _made.append(make())


def _act() -> object:
    return _made[0]()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread for OpenCV and torch, as in a worker of a loader, with what `common.device.resolve` sets."""
    threads = torch.get_num_threads()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    resolve("auto")
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def plain_device() -> torch.device:
    """What `common.device.resolve` chooses, without what it sets."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def seconds(act: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """How long one call takes."""
    began = clock()
    act()
    return clock() - began


def compare(
    what: str,
    plain: Callable[[], object],
    ours: Callable[[], object],
    runs: int,
    units: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict:
    """A row: medians in milliseconds a unit, and the ratio as the median of the pairs' ratios."""
    plain(), ours()
    pairs = [(seconds(plain, clock), seconds(ours, clock)) for _ in range(runs)]
    ratios = sorted(slow / fast for slow, fast in pairs)
    return {
        "what": what,
        "plain_ms": 1000 * statistics.median(slow for slow, _ in pairs) / units,
        "ours_ms": 1000 * statistics.median(fast for _, fast in pairs) / units,
        "ratio": statistics.median(ratios),
        "ratio_min": ratios[0],
        "ratio_max": ratios[-1],
        "runs": runs,
    }
