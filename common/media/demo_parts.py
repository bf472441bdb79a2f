# SPDX-License-Identifier: Apache-2.0
"""What the demos share: a clock of their parts, an end on Ctrl-C, errors that name the folder, a published flag."""

import contextlib
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from typing import Any, TypeVar

from common.cli import UserError

Item = TypeVar("Item")


class Clock:
    """Seconds spent in each part of the work, added up over frames."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forgets: the first frame, which warms up, would spoil the mean."""
        self.frames, self.seconds, self.started = 0, defaultdict[str, float](float), time.perf_counter()

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Adds the time of the `with` block to a part."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start

    def waiting(self, items: Iterator[Item], name: str = "read") -> Iterator[Item]:
        """The items; waiting for them is a part."""
        while True:
            with self.part(name):
                item = next(items, None)
            if item is None:
                return
            yield item

    def summary(self) -> str:
        """Frames a second, and where the milliseconds of a frame went."""
        rate = self.frames / (time.perf_counter() - self.started)
        parts = ", ".join(f"{name} {1000 * spent / self.frames:.1f}" for name, spent in self.seconds.items())
        return f"{rate:.1f} frames a second; milliseconds a frame: {parts}"


@contextlib.contextmanager
def stop_on_signals() -> Generator[threading.Event, None, None]:
    """An event that is set by the first Ctrl-C or SIGTERM; the second one ends the program as usual."""
    stop = threading.Event()
    usual: dict[int, Any] = {}
    if threading.current_thread() is not threading.main_thread():  # only the main thread may receive signals
        yield stop
        return

    def request(number: int, _: Any) -> None:
        stop.set()
        signal.signal(number, usual[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        usual[number] = signal.signal(number, request)
    try:
        yield stop
    finally:
        for each, handler in usual.items():
            signal.signal(each, handler)


@contextlib.contextmanager
def writable(folder: str, flag: str) -> Iterator[None]:
    """Says where a disk is full, or a file may not be written; `flag` names the folder at the keyboard."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another {flag}") from error


def join_images(words: Sequence[str]) -> list[str]:
    """`--images a.jpg b.jpg --cpu`, as published, in the form of one flag with one value: `--images=a.jpg,b.jpg`."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1].startswith("--images") and not word.startswith("--"):
            joined[-1] += ("," if "=" in joined[-1] else "=") + word
        else:
            joined.append(word)
    return joined
