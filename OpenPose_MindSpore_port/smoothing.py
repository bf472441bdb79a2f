# SPDX-License-Identifier: Apache-2.0
"""From map cells to the pixels of the network input: enlarged bilinearly, for heatmaps smoothed then.

The original enlarges every map to the size of the network input and smooths the heatmaps with a Gaussian (spec A7).
Both are separable and linear: along an axis a smoothed pixel is a fixed sum over a few adjacent cells
(`common.map_bands`), so no map of that size need be built. Those sums are right to ROUNDING; `bilinear` and
`smoothed_around` give the original's values to the last bit (OpenCV 5 on a processor with fused multiplication).
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

from common.compiled import inlined, kernel, subroutine
from common.map_bands import banded, reach_and_gain, tiles

import cv2
import numpy as np
import numpy.typing as npt

# Largest difference between a sum in float32 and the exact one, as a share of the map's largest magnitude: no weight is
# negative, so ten products and their sums round by 6e-8 each at most; twice that for weights rounded to float32.
ROUNDING = 2e-6


class Smoothing(NamedTuple):
    """One axis of a heatmap: `base` to `gain` as `common.map_bands` tells, `low` to `share` as in `Enlargement`.

    `weights` (radius + 1,) float64: the Gaussian's, from its middle to one end.
    """

    base: npt.NDArray[np.uintp]
    band: npt.NDArray[np.float32]
    tile: npt.NDArray[np.int64]
    reach: npt.NDArray[np.float32]
    gain: npt.NDArray[np.float64]
    low: npt.NDArray[np.uintp]
    high: npt.NDArray[np.uintp]
    share: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float64]


class Enlargement(NamedTuple):
    """One axis of a field: a pixel is cells[low] + (cells[high] - cells[low]) * share.

    `low`, `high` (pixels,) uintp; `share` (pixels,) float32.
    """

    low: npt.NDArray[np.uintp]
    high: npt.NDArray[np.uintp]
    share: npt.NDArray[np.float32]


@lru_cache(maxsize=1024)
def enlargement(cells: int, pixels: int) -> Enlargement:
    """The bilinear enlargement of an axis as OpenCV does it: pixel centres are halves, the border is repeated."""
    position = (np.arange(pixels) + 0.5) * (cells / pixels) - 0.5
    low = np.floor(position)
    share = np.where((low < 0) | (low >= cells - 1), 0, position - low).astype(np.float32)
    low = np.clip(low, 0, cells - 1).astype(np.uintp)
    return Enlargement(low, np.minimum(low + np.uintp(1), np.uintp(cells - 1)), share)


@lru_cache(maxsize=1024)
def smoothing(cells: int, pixels: int, sigma: float, truncate: float) -> Smoothing:
    """The enlargement of an axis from `cells` to `pixels`, and a Gaussian of `sigma` pixels cut at truncate * sigma.

    The Gaussian is that of scipy.ndimage.gaussian_filter with mode "reflect" (d c b a | a b c d | d c b a); a sigma of
    0 leaves the pixels as they are.
    """
    radius = math.floor(truncate * sigma + 0.5)
    weights = np.exp(-0.5 / sigma**2 * np.arange(radius + 1) ** 2) if radius else np.ones(1)
    weights /= 2 * weights.sum() - weights[0]
    axis = enlargement(cells, pixels)
    return Smoothing(*_operator(cells, *axis, weights), *axis, weights)


@kernel
def _operator(cells: int, low: Any, high: Any, share: Any, weights: Any) -> Any:
    pixels, radius = len(low), len(weights) - 1
    start, most = np.empty(pixels, np.int64), 0
    for x in range(pixels):
        start[x] = low[max(x - radius, 0)]
        most = max(most, np.int64(high[min(x + radius, pixels - 1)]) - start[x] + 1)
    full = np.zeros((pixels, most), np.float64)
    for x in range(pixels):
        for k in range(-radius, radius + 1):
            source = reflected(x + k, pixels)
            part = np.float64(share[source])
            full[x, np.int64(low[source]) - start[x]] += weights[abs(k)] * (1 - part)
            full[x, np.int64(high[source]) - start[x]] += weights[abs(k)] * part
    base, exact = banded(full, start, cells)
    band = exact.astype(np.float32)
    tile = tiles(base, cells - band.shape[1] + 1)
    reach, gain = reach_and_gain(band, tile)
    return base, band, tile, reach, gain


@subroutine
def reflected(x: int, pixels: int) -> int:
    """The pixel of a row that stands for one outside it."""
    while x < 0 or x >= pixels:
        x = -1 - x if x < 0 else 2 * pixels - 1 - x
    return x


@inlined
def bilinear(maps: Any, c: int, rows: Any, columns: Any, x: int, y: int) -> float:
    """Map c of `maps` (C, h, w) float32 at pixel (x, y) of the network input, float32; indices uintp."""
    left, right, part = columns.low[x], columns.high[x], np.float64(columns.share[x])
    above = _between(maps[c, rows.low[y], left], maps[c, rows.low[y], right], part)
    below = _between(maps[c, rows.high[y], left], maps[c, rows.high[y], right], part)
    return _between(above, below, np.float64(rows.share[y]))


@inlined
def _between(start: float, end: float, share: float) -> float:
    """Float32, rounded once after start + (end - start) * share, as a fused multiplication and addition."""
    return np.float32(np.float64(start) + np.float64(end - start) * share)


@subroutine
def smoothed_around(maps: Any, c: int, rows: Any, columns: Any, x: int, y: int, patch: Any, lines: Any) -> None:
    """Smoothed values around a pixel: lines[k, 1] at (x, y - 1 + k), lines[1, k] at (x - 1 + k, y), k = 0 .. 2.

    `patch` (2 radius + 3, 2 radius + 3) and `lines` (3, 2 radius + 3) float64 are room to work in. Sums run as in
    scipy.ndimage: along y first, from both ends of the Gaussian to its middle.
    """
    weights, size, width = rows.weights, len(patch), len(patch) // 2
    for j in range(size):
        row = np.uintp(reflected(y - width + j, len(rows.low)))
        for i in range(size):
            column = np.uintp(reflected(x - width + i, len(columns.low)))
            patch[j, i] = bilinear(maps, np.uintp(c), rows, columns, column, row)
    for k in range(3):
        middle = width - 1 + k
        for i in range(size):
            lines[k, i] = patch[middle, i] * weights[0]
        for step in range(len(weights) - 1, 0, -1):
            for i in range(size):
                lines[k, i] += (patch[middle - step, i] + patch[middle + step, i]) * weights[step]
    above, below = _smoothed(lines[0], weights, width), _smoothed(lines[2], weights, width)
    before, value = _smoothed(lines[1], weights, width - 1), _smoothed(lines[1], weights, width)
    after = _smoothed(lines[1], weights, width + 1)
    lines[0, 1], lines[2, 1], lines[1, 0], lines[1, 1], lines[1, 2] = above, below, before, value, after


@subroutine
def _smoothed(line: Any, weights: Any, middle: int) -> float:
    total = line[middle] * weights[0]
    for step in range(len(weights) - 1, 0, -1):
        total += (line[middle - step] + line[middle + step]) * weights[step]
    return total


def smoothed_map(cells: npt.NDArray[np.float32], rows: Smoothing, columns: Smoothing) -> npt.NDArray[np.float64]:
    """(H, W) float64: every pixel of one map (h, w), right to the rounding of float64."""
    enlarged = cv2.resize(cells, (len(columns.low), len(rows.low)), interpolation=cv2.INTER_LINEAR).astype(np.float64)
    weights = np.concatenate((rows.weights[:0:-1], rows.weights))
    return cv2.sepFilter2D(enlarged, -1, weights, weights, borderType=cv2.BORDER_REFLECT)
