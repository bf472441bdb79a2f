# SPDX-License-Identifier: Apache-2.0
"""Peaks of the smoothed heatmaps (spec A7): candidates by fast values, decided and refined by exact ones."""

from typing import Any

from common.compiled import kernel, subroutine
from common.peak_windows import candidates

import numpy as np
import numpy.typing as npt

from .smoothing import ROUNDING, Smoothing, smoothed_around, smoothed_map

TIE = 1e-7  # share of a map's largest magnitude: values nearer than that differ by nothing but rounding


def find_peaks(
    maps: npt.NDArray[np.float32], limits: npt.NDArray[np.float32], rows: Smoothing, columns: Smoothing,
    threshold: float, keep_ties: bool,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:  # fmt: skip
    """Peaks of `maps` (C, h, w) float32, finite, with `limits` (C, 2) their smallest and largest values.

    A peak is above `threshold` and above its four neighbours, 0 outside the map, however little; where `keep_ties`,
    values that differ by rounding only are equal, and of equal neighbours the left or upper one is a peak. Returns
    pixels (N, 2) int64 x, y of the network input, exact places (N, 2) float64 x, y as by `_place`, scores (N,)
    float64 smoothed values at the pixels, starts (C + 1,) int64; map by map, in a map by y, then x.
    """
    points, _, starts, flat = candidates(maps, limits, rows, columns, threshold, ROUNDING)
    ties = TIE * np.abs(limits).max(axis=1).astype(np.float64) if keep_ties else np.zeros(len(maps))
    for c in np.flatnonzero(flat):
        leading = _leading(smoothed_map(maps[c], rows, columns), threshold, ties[c])
        points = np.insert(points, starts[c], leading, axis=0)
        starts[c + 1 :] += len(leading)
    pixels, places, scores, starts = _settle(maps, rows, columns, threshold, ties, points, starts)
    kinds = np.repeat(np.arange(len(maps)), np.diff(starts))
    order = np.lexsort((pixels[:, 0], pixels[:, 1], kinds))
    return pixels[order], places[order], scores[order], starts


def _leading(image: npt.NDArray[np.float64], threshold: float, tie: float) -> npt.NDArray[np.uintp]:
    """(N, 2) uintp x, y: the peaks of a smoothed map, column by column."""
    padded = np.pad(image, 1, constant_values=-np.inf)
    lead = (image > threshold) & (image - padded[1:-1, :-2] > tie) & (image - padded[:-2, 1:-1] > tie)
    for after in (padded[1:-1, 2:], padded[2:, 1:-1]):
        lead &= image - after >= -tie if tie > 0 else image > after
    return np.argwhere(lead.T).astype(np.uintp)


@kernel
def _settle(maps: Any, rows: Any, columns: Any, threshold: float, ties: Any, points: Any, starts: Any) -> Any:
    """Of the candidates `points` those that are peaks, in their order; see `find_peaks`."""
    pixels, places = np.empty((len(points), 2), np.int64), np.empty((len(points), 2), np.float64)
    scores, kept = np.empty(len(points), np.float64), np.zeros(len(starts), np.int64)
    size, n = 2 * len(rows.weights) + 1, 0
    patch, lines = np.empty((size, size), np.float64), np.empty((3, size), np.float64)
    for c in range(len(maps)):
        for i in range(starts[c], starts[c + 1]):
            x, y = np.int64(points[i, 0]), np.int64(points[i, 1])
            smoothed_around(maps, c, rows, columns, x, y, patch, lines)
            left, value, right, above, below = lines[1, 0], lines[1, 1], lines[1, 2], lines[0, 1], lines[2, 1]
            left, right = (left if x > 0 else -np.inf), (right if x + 1 < len(columns.low) else -np.inf)
            above, below = (above if y > 0 else -np.inf), (below if y + 1 < len(rows.low) else -np.inf)
            before = value - max(left, above) > ties[c]
            after = value > max(right, below) or (ties[c] > 0 and value - max(right, below) >= -ties[c])
            if value > threshold and before and after:
                pixels[n, 0], pixels[n, 1], scores[n] = x, y, value
                column, row = _nearest_cell(columns, x), _nearest_cell(rows, y)
                cells_x, cells_y = maps[c, row], maps[c, :, column]
                places[n, 0] = _place(cells_x, column, len(columns.low), x + _top(left, value, right))
                places[n, 1] = _place(cells_y, row, len(rows.low), y + _top(above, value, below))
                n += 1
        kept[c + 1] = n
    return pixels[:n], places[:n], scores[:n], kept


@subroutine
def _nearest_cell(axis: Any, x: int) -> int:
    return np.int64(axis.low[x] if axis.share[x] < 0.5 else axis.high[x])


@subroutine
def _place(cells: Any, k: int, pixels: int, otherwise: float) -> float:
    """Where a Gaussian through cells k - 1, k, k + 1 of a row of map cells has its top, in pixels.

    Targets are such Gaussians (spec A6), while the enlarged map is made of straight lines, whose smoothed peak is drawn
    to the middle of a cell. `otherwise` where they are no Gaussian: the row ends, a cell is not positive, or the middle
    one is not the highest.
    """
    if k == 0 or k == len(cells) - 1 or not (0 < cells[k - 1] <= cells[k] >= cells[k + 1] > 0):
        return otherwise
    before, value = np.log(np.float64(cells[k - 1])), np.log(np.float64(cells[k]))
    after = np.log(np.float64(cells[k + 1]))
    return (k + _top(before, value, after) + 0.5) * pixels / len(cells) - 0.5


@subroutine
def _top(before: float, value: float, after: float) -> float:
    """Where a parabola through three neighbouring values has its top, in steps from the middle; 0 at a border."""
    bend = 2 * value - before - after
    return 0.5 * (after - before) / bend if 0 < bend < np.inf else 0.0
