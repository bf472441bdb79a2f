# SPDX-License-Identifier: Apache-2.0
"""Which candidates are peaks, by the original's exact values, and which of those stay (spec A7, extract_keypoints)."""

from typing import Any

from common.compiled import kernel, subroutine

import numpy as np

from .map_sampling import SCRATCH, Axis, exact_value


@kernel
def settle_peaks(
    maps: Any, rows: Axis, columns: Axis, tail: int, threshold: float, radius: float,
    points: Any, certain: Any, starts: Any,
) -> Any:  # fmt: skip
    """Decides the candidates of `common.peak_windows.find_candidates` and thins them out.

    `maps` (C, h, w) float32, finite; `tail` the first map for which the last pixel of a row is a tail
    (`map_sampling.exact_value`). Walking by x, then y, a peak kept drops every later one nearer than `radius`.
    Returns peaks (N, 2) int64 (x, y), scores (N,) float32, starts (C + 1,) int64.
    """
    peaks, scores = np.empty((len(points), 2), np.int64), np.empty(len(points), np.float32)
    dropped, kept_starts = np.zeros(len(points), np.bool_), np.zeros(len(starts), np.int64)
    total = 0
    for c in range(len(starts) - 1):
        last = _decide(maps, c, rows, columns, c >= tail, threshold, points, certain, starts, peaks, scores, total)
        total = _thin(peaks, scores, dropped, total, last, radius)
        kept_starts[c + 1] = total
    return peaks[:total], scores[:total], kept_starts


@subroutine
def _decide(
    maps: Any, c: int, rows: Axis, columns: Axis, tail: bool, threshold: float, points: Any, certain: Any, starts: Any,
    peaks: Any, scores: Any, n: int,
) -> int:  # fmt: skip
    """Appends to the n peaks the candidates at least the threshold and above their neighbours in exact values."""
    y_cell, y_weight, x_cell, x_weight = rows.cell, rows.weight, columns.cell, columns.weight
    scratch, first = np.empty(SCRATCH, np.float32), np.uintp(c * maps.shape[1])
    table = maps.reshape(maps.shape[0] * maps.shape[1], maps.shape[2])
    last_x, last_y = len(x_cell) - 1, len(y_cell) - 1
    for i in range(starts[c], starts[c + 1]):
        x, y = np.int64(points[i, 0]), np.int64(points[i, 1])
        value = exact_value(
            table, first, y_cell, y_weight, x_cell, x_weight, np.uintp(y), np.uintp(x), tail and x == last_x, scratch
        )
        lead = certain[i] or value >= np.float32(threshold)
        if not certain[i]:
            for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                if lead and 0 <= x + dx <= last_x and 0 <= y + dy <= last_y:
                    lead = value > exact_value(
                        table, first, y_cell, y_weight, x_cell, x_weight, np.uintp(y + dy), np.uintp(x + dx),
                        tail and x + dx == last_x, scratch,
                    )  # fmt: skip
        if lead:
            peaks[n, 0], peaks[n, 1], scores[n] = x, y, value
            n += 1
    return n


@subroutine
def _thin(peaks: Any, scores: Any, dropped: Any, first: int, last: int, radius: float) -> int:
    """Closes up the peaks first:last, one map's, to those that stay; where they end. `dropped` is left all false."""
    kept = first
    for i in range(first, last):
        if dropped[i]:
            dropped[i] = False
            continue
        x, y = peaks[i, 0], peaks[i, 1]
        for j in range(i + 1, last):
            dx, dy = peaks[j, 0] - x, peaks[j, 1] - y
            if dx >= radius:
                break
            dropped[j] |= np.sqrt(np.float64(dx * dx + dy * dy)) < radius
        peaks[kept, 0], peaks[kept, 1], scores[kept] = x, y, scores[i]
        kept += 1
    return kept
