# SPDX-License-Identifier: Apache-2.0
"""The time of each part of a run."""

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterator


class Clock(defaultdict[str, float]):
    """Seconds of the parts of a run, summed over threads."""

    def __init__(self, *parts: str) -> None:
        super().__init__(float, dict.fromkeys(parts, 0.0))
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        with self._lock:
            self[name] += time.perf_counter() - began
