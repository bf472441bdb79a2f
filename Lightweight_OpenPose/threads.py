# SPDX-License-Identifier: Apache-2.0
"""The two parts of the decoder that take long where peaks are many, divided among threads: maps, and limbs."""

from typing import Any

from common.bottomup.pafs import Doubles, Flags, Floats, Integers
from common.peak_windows import candidates
from common.work_sharing import reassembled, shares, side_by_side

import numpy as np

from .limb_matching import connect
from .map_sampling import ROUNDING, Axis

FEWEST_CELLS = 1000  # at the threshold, and
FEWEST_PAIRS = 20_000  # of peaks: one thread is as fast with less


def all_candidates(
    maps: Floats, limits: Floats, rows: Axis, columns: Axis, threshold: float, threads: int
) -> tuple[Any, Flags, Integers, Flags]:
    """`common.peak_windows.candidates`, maps divided among `threads`."""
    cells = (maps >= np.float32(threshold)).sum(axis=(1, 2)) if threads > 1 else np.zeros(len(maps))
    if cells.sum() < FEWEST_CELLS:
        return candidates(maps, limits, rows, columns, threshold, ROUNDING)  # type: ignore[no-any-return]
    parts = shares(cells, threads)
    found = side_by_side(lambda part: candidates(maps[part], limits[part], rows, columns, threshold, ROUNDING), parts)
    starts, points = reassembled(parts, [(one[2], one[0]) for one in found])
    _, certain = reassembled(parts, [(one[2], one[1]) for one in found])
    flat = np.zeros(len(maps), np.bool_)
    for part, one in zip(parts, found, strict=True):
        flat[part] = one[3]
    return points, certain, starts, flat


def connect_all(
    fields: Floats, limits: Floats, rows: Axis, columns: Axis, tail: int, peaks: Integers, starts: Integers,
    limbs: Integers, order: Integers, least: float, needed: int, threads: int,
) -> tuple[Integers, Doubles, Integers]:  # fmt: skip
    """`limb_matching.connect`, limbs divided among `threads`."""
    counts = np.diff(starts)
    pairs = counts[limbs[:, 0]] * counts[limbs[:, 1]]
    if threads <= 1 or pairs.sum() < FEWEST_PAIRS:
        return connect(fields, limits, rows, columns, tail, peaks, starts, limbs, order, least, needed)  # type: ignore[no-any-return]
    parts = shares(pairs, threads)
    found = side_by_side(
        lambda part: connect(fields, limits, rows, columns, tail, peaks, starts, limbs[part], order, least, needed),
        parts,
    )
    limb_starts, joined = reassembled(parts, [(one[2], one[0]) for one in found])
    _, scores = reassembled(parts, [(one[2], one[1]) for one in found])
    return joined, scores, limb_starts
