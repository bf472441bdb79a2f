# SPDX-License-Identifier: Apache-2.0
"""Which candidates are peaks, by the original's exact values, and which of those stay (spec A7, extract_keypoints)."""

from typing import Any

import numpy as np

from .map_sampling import SCRATCH, Axis, compiled, exact_map, exact_value


@compiled
def settle_peaks(
    maps: Any, rows: Axis, columns: Axis, tail: int, threshold: float, radius: float, most: int,
    points: Any, certain: Any, starts: Any, flat: Any,
) -> Any:  # fmt: skip
    """Decides the candidates of `peak_windows.find_candidates` and thins them out.

    `maps` (C, h, w) float32, finite; `tail` the first map for which the last pixel of a row is a tail
    (`map_sampling.exact_value`). Walking by x, then y, a peak kept drops every later one nearer than `radius`; of more
    than `most` in a map those of the highest scores stay. Returns peaks (N, 2) int64 (x, y), scores (N,) float32,
    starts (C + 1,) int64.
    """
    peaks, scores = np.empty((0, 2), np.int64), np.empty(0, np.float32)
    kept_starts = np.zeros(len(starts), np.int64)
    for c in range(len(flat)):
        if flat[c]:
            image = exact_map(maps[c], rows, columns)
            if c >= tail:
                _replace_last_column(image, maps, c, rows, columns)
            found, values = _peaks_of(image, threshold)
        else:
            part = slice(starts[c], starts[c + 1])
            found, values = _decide(maps, c, rows, columns, c >= tail, threshold, points[part], certain[part])
        kept = _thin(found, values, radius, most)
        peaks, scores = np.concatenate((peaks, found[kept])), np.concatenate((scores, values[kept]))
        kept_starts[c + 1] = len(scores)
    return peaks, scores, kept_starts


@compiled
def _decide(
    maps: Any, c: int, rows: Axis, columns: Axis, tail: bool, threshold: float, points: Any, certain: Any
) -> Any:
    """Keeps the candidates that are at least the threshold and above their four neighbours in exact values."""
    y_cell, y_weight, x_cell, x_weight = rows.cell, rows.weight, columns.cell, columns.weight
    scratch, first = np.empty(SCRATCH, np.float32), np.uintp(c * maps.shape[1])
    table = maps.reshape(maps.shape[0] * maps.shape[1], maps.shape[2])
    found, values = np.empty((len(points), 2), np.int64), np.empty(len(points), np.float32)
    last_x, last_y = len(columns.base) - 1, len(rows.base) - 1
    n = 0
    for i in range(len(points)):
        x, y = np.int64(points[i, 0]), np.int64(points[i, 1])
        value = exact_value(
            table, first, y_cell, y_weight, x_cell, x_weight, np.uintp(y), np.uintp(x), tail and x == last_x, scratch
        )
        if not certain[i]:
            lead = value >= np.float32(threshold)
            for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                if lead and 0 <= x + dx <= last_x and 0 <= y + dy <= last_y:
                    lead = value > exact_value(
                        table, first, y_cell, y_weight, x_cell, x_weight, np.uintp(y + dy), np.uintp(x + dx),
                        tail and x + dx == last_x, scratch,
                    )  # fmt: skip
            if not lead:
                continue
        found[n, 0], found[n, 1], values[n] = x, y, value
        n += 1
    return found[:n], values[:n]


@compiled
def _replace_last_column(image: Any, maps: Any, c: int, rows: Axis, columns: Axis) -> None:
    scratch, x = np.empty(SCRATCH, np.float32), np.uintp(len(columns.base) - 1)
    table, first = maps.reshape(maps.shape[0] * maps.shape[1], maps.shape[2]), np.uintp(c * maps.shape[1])
    for y in range(np.uintp(len(image))):
        image[y, x] = exact_value(
            table, first, rows.cell, rows.weight, columns.cell, columns.weight, y, x, True, scratch
        )


@compiled
def _peaks_of(image: Any, threshold: float) -> Any:
    """Peaks (x, y) of a full-resolution map, by x, then y, and their values."""
    found, values = np.empty((256, 2), np.int64), np.empty(256, np.float32)
    height, width = image.shape
    n = 0
    for x in range(width):
        for y in range(height):
            value = image[y, x]
            lead = value >= np.float32(threshold) and (x == 0 or value > image[y, x - 1])
            lead = lead and (y == 0 or value > image[y - 1, x]) and (x == width - 1 or value > image[y, x + 1])
            if lead and (y == height - 1 or value > image[y + 1, x]):
                if n == len(values):
                    found, values = np.concatenate((found, found)), np.concatenate((values, values))
                found[n, 0], found[n, 1], values[n] = x, y, value
                n += 1
    return found[:n], values[:n]


@compiled
def _thin(points: Any, values: Any, radius: float, most: int) -> Any:
    """Indices, ascending, of the points that stay: see `settle_peaks`."""
    dropped = np.zeros(len(points), np.bool_)
    for i in range(len(points)):
        if dropped[i]:
            continue
        for j in range(i + 1, len(points)):
            dx, dy = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1]
            if dx >= radius:
                break
            dropped[j] |= np.sqrt(np.float64(dx * dx + dy * dy)) < radius
    kept = np.flatnonzero(~dropped)
    if len(kept) > most:
        kept = np.sort(kept[np.argsort(-values[kept], kind="mergesort")[:most]])
    return kept
