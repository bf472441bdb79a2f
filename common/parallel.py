# SPDX-License-Identifier: Apache-2.0
"""Processes that end together, however one of them ends; and bounded, ordered work ahead in threads."""

import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

LAUNCHER = "POSE_ZOO_LAUNCHER"  # variable of a rank's environment: the process that started it
RECIPE_RANKS = "POSE_ZOO_RANKS"  # another one: the number of ranks with all servers
KILLED_EXIT_CODE = 137  # 128 + SIGKILL
_PR_SET_PDEATHSIG = 1
_WATCH_EVERY_S = 1.0

Item = TypeVar("Item")
Result = TypeVar("Result")


def end_with_parent(parent: int) -> None:
    """Ends this process, whatever it is doing, when the process `parent` that started it is gone.

    On Linux the kernel does it; elsewhere a thread checks every second.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it had ended before
        os._exit(KILLED_EXIT_CODE)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_EVERY_S)
    os._exit(KILLED_EXIT_CODE)


def leave_last_words(line: str) -> bool:
    """Leaves the last line of a rank to its launcher; True if both write to the same screen."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not file or LAUNCHER not in os.environ:
        return False
    now = time.time()
    times = {"timestamp": str(int(now)), "time": now}  # the first is torchrun's
    with open(f"{file}.part", "w") as opened:
        json.dump({"message": {"message": line, "extraInfo": times}}, opened)
    os.replace(f"{file}.part", file)  # a rank may be ended while it writes
    return os.environ.get("LOCAL_RANK") == "0"


def in_order(pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int) -> Iterator[Result]:
    """`function` of each item, in the order of the items, while the pool works up to `ahead` items further.

    The items are asked for in the calling thread, so that two of these in a row make a pipeline of bounded memory. An
    exception of `function` is raised in place of its result; what waits after it is not started.
    """
    begun: deque[Future[Result]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(function, item))
            if len(begun) > ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()
