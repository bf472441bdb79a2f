# SPDX-License-Identifier: Apache-2.0
"""Timing in pairs: the plain version and ours in turn, so that a machine that slows down slows both."""

import statistics
import time
from collections.abc import Callable

from common.device import AmpLevel

import torch


def levels(device: torch.device) -> tuple[AmpLevel, ...]:
    """The precision levels worth timing: no O1 on a CPU that only emulates bfloat16, many times slower."""
    emulated = device.type == "cpu" and not torch.cpu._is_avx512_bf16_supported()
    return ("O0",) if emulated else ("O0", "O1")


def seconds(act: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def compare(what: str, plain: Callable[[], object], ours: Callable[[], object], runs: int, units: int = 1) -> dict:
    """A row: medians in milliseconds a unit, and the ratio as the median of the pairs' ratios."""
    plain(), ours()
    pairs = [(seconds(plain), seconds(ours)) for _ in range(runs)]
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
