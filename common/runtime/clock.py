# SPDX-License-Identifier: Apache-2.0
"""Where the time of a run goes."""

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterator


class Clock(defaultdict[str, float]):
    """Seconds that parts of a work take, added up over threads."""

    def __init__(self, *parts: str) -> None:
        super().__init__(float, dict.fromkeys(parts, 0.0))
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        with self._lock:
            self[name] += time.perf_counter() - began
