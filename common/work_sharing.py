# SPDX-License-Identifier: Apache-2.0
"""Pieces of work of known size, divided among threads: for compiled code, which runs without Python's lock."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
    """`do` of every part, each on a thread, the first on ours."""
    if len(parts) <= 1:
        return list(map(do, parts))
    with ThreadPoolExecutor(len(parts) - 1) as pool:
        others = [pool.submit(do, part) for part in parts[1:]]
        return [do(parts[0]), *(other.result() for other in others)]


def reassembled(parts: list[Rows], lists: list[tuple[Rows, Any]]) -> tuple[Rows, Any]:
    """What each part found, put back into the order of the pieces.

    `lists`, one a part: starts (n + 1,) of each of its n pieces in an array, and that array. Returns the same of all.
    """
    found: dict[int, Any] = {}
    for part, (starts, values) in zip(parts, lists, strict=True):
        found.update({int(piece): values[starts[k] : starts[k + 1]] for k, piece in enumerate(part)})
    pieces = [found[piece] for piece in range(len(found))]
    return np.cumsum([0, *map(len, pieces)]), np.concatenate(pieces)
