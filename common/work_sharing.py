# SPDX-License-Identifier: Apache-2.0
"""Pieces of work of known size, divided among threads: for compiled code, which runs without Python's lock."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
Result = TypeVar("Result")


def shares(work: npt.NDArray[Any], parts: int) -> list[Rows]:
    """Which pieces each of at most `parts` threads does, in order: the largest first, always to whom has least.

    `work` (N,): how much each piece is, in any unit.
    """
    owner, load = np.zeros(len(work), np.int64), np.zeros(parts)
    for piece in np.argsort(-np.asarray(work), kind="stable"):
        owner[piece] = load.argmin()
        load[owner[piece]] += work[piece]
    return [np.flatnonzero(owner == part) for part in np.unique(owner)]


def side_by_side(do: Callable[[Rows], Result], parts: list[Rows]) -> list[Result]:
    """`do` of every part, each on a thread, the first on ours; more parts than the machine has cores take turns.

    `do` must not call this again: it might wait for itself. Raises what `do` raised, when all parts have ended.
    """
    others = [_pool().submit(do, part) for part in parts[1:]]
    try:
        return [*map(do, parts[:1]), *(other.result() for other in others)]
    except BaseException:
        wait(others)
        raise


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """Threads are kept: beginning one takes longer than waking it, and as long as a small part."""
    return ThreadPoolExecutor(os.cpu_count(), "part")


if hasattr(os, "register_at_fork"):  # a child has no threads but its own
    os.register_at_fork(after_in_child=_pool.cache_clear)


def reassembled(parts: list[Rows], lists: list[tuple[Rows, Any]]) -> tuple[Rows, Any]:
    """What each part found, put back into the order of the pieces.

    `lists`, one a part: starts (n + 1,) of each of its n pieces in an array, and that array. Returns the same of all.
    """
    found: dict[int, Any] = {}
    for part, (starts, values) in zip(parts, lists, strict=True):
        found.update({int(piece): values[starts[k] : starts[k + 1]] for k, piece in enumerate(part)})
    pieces = [found[piece] for piece in range(len(found))]
    return np.cumsum([0, *map(len, pieces)]), np.concatenate(pieces)
