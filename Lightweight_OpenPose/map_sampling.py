# SPDX-License-Identifier: Apache-2.0
"""From map cells to result pixels: two successive cubic enlargements as one small operator an axis.

The original enlarges a map by the stride, cuts the padding off and resizes the rest to the image (spec A7, OpenCV's
INTER_CUBIC). Both steps are separable and linear, so along an axis a result pixel is a fixed sum over a few adjacent
cells. `axis_operator` gives that composed sum, for fast values that are right to a few 1e-7, and the taps of the two
steps, from which `exact_value` computes the original's value to the last bit.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from common.compiled import U0, U1, U2, U3, U4, inlined, kernel, subroutine
from common.map_bands import banded, reach_and_gain, tiles

import numpy as np
import numpy.typing as npt

CUBIC_SHARPNESS = -0.75  # OpenCV's cubic kernel
TAPS = 4
# Largest difference between a banded sum and the original's value, as a share of the map's largest magnitude. Four
# cubic passes, each a sum of magnitudes of at most 1.375 with four float32 roundings: 16 * 6e-8 * 1.375**4 = 3.4e-6;
# the banded sums add 2.6e-6.
ROUNDING = 8e-6
SCRATCH = (8, TAPS)  # map rows under four pixels of the first enlargement: at most seven


class Axis(NamedTuple):
    """One axis of the way from `cells` map cells to `pixels` result pixels.

    `first_index` (m, 4) int64 cells, `first_weight` (m, 4) float32: the enlargement by the stride, m pixels after the
    cut. `second_index` (pixels, 4) int64 of those m, `second_weight`: the resize. `cell` (pixels, 4, 4) uintp and
    `weight` (pixels, 4, 5) float32: both in one, the cells under each of a pixel's four taps, their weights, and last
    the tap's own. `base` to `gain`: the composed sum, as `common.map_bands` tells.
    """

    first_index: npt.NDArray[np.int64]
    first_weight: npt.NDArray[np.float32]
    second_index: npt.NDArray[np.int64]
    second_weight: npt.NDArray[np.float32]
    cell: npt.NDArray[np.uintp]
    weight: npt.NDArray[np.float32]
    base: npt.NDArray[np.uintp]
    band: npt.NDArray[np.float32]
    tile: npt.NDArray[np.int64]
    reach: npt.NDArray[np.float32]
    gain: npt.NDArray[np.float64]


@lru_cache(maxsize=1024)
def axis_operator(cells: int, stride: int, before: int, after: int, pixels: int) -> Axis:
    """The operator of an axis: enlarge `cells` by `stride`, cut `before` and `after` pixels, resize to `pixels`."""
    return Axis(*_operator(cells, stride, before, cells * stride - before - after, pixels))


@kernel
def _operator(cells: int, stride: int, before: int, kept: int, pixels: int) -> Any:
    first_index, first_weight = _cubic_taps(cells, before, kept, 1.0 / stride)
    second_index, second_weight = _cubic_taps(kept, 0, pixels, 1.0 / (pixels / kept))
    cell = np.empty((pixels, TAPS, TAPS), np.uintp)
    weight = np.empty((pixels, TAPS, TAPS + 1), np.float32)
    for x in range(pixels):
        for j in range(TAPS):
            middle = second_index[x, j]
            weight[x, j, TAPS] = second_weight[x, j]
            for k in range(TAPS):
                cell[x, j, k], weight[x, j, k] = first_index[middle, k], first_weight[middle, k]
    full, start = _compose(cell, weight)
    base, exact_band = banded(full, start, cells)
    band = exact_band.astype(np.float32)
    tile = tiles(base, cells - band.shape[1] + 1)
    reach, gain = reach_and_gain(band, tile)
    return first_index, first_weight, second_index, second_weight, cell, weight, base, band, tile, reach, gain


@subroutine
def _cubic_taps(source: int, start: int, count: int, scale: float) -> Any:
    """(count, 4) int64 source pixels, border ones repeated, and (count, 4) float32 weights, rounded as OpenCV does.

    They are those of the pixels start:start + count; one pixel is `scale` source pixels.
    """
    index = np.empty((count, TAPS), np.int64)
    weight = np.empty((count, TAPS), np.float32)
    a, one = np.float32(CUBIC_SHARPNESS), np.float32(1)
    for pixel in range(count):
        position = np.float32((start + pixel + 0.5) * scale - 0.5)
        left = np.floor(position)
        f = position - left
        e, g = f + one, one - f
        weight[pixel, 0] = ((a * e - np.float32(5) * a) * e + np.float32(8) * a) * e - np.float32(4) * a
        weight[pixel, 1] = ((a + np.float32(2)) * f - (a + np.float32(3))) * f * f + one
        weight[pixel, 2] = ((a + np.float32(2)) * g - (a + np.float32(3))) * g * g + one
        weight[pixel, 3] = one - weight[pixel, 0] - weight[pixel, 1] - weight[pixel, 2]
        for k in range(TAPS):
            index[pixel, k] = min(max(int(left) - 1 + k, 0), source - 1)
    return index, weight


@subroutine
def _compose(cell: Any, weight: Any) -> Any:
    """(pixels, 16) float64: weights of the cells from a pixel's first one on, and (pixels,) int64: that cell."""
    pixels = len(cell)
    full, start = np.zeros((pixels, TAPS * TAPS), np.float64), np.empty(pixels, np.int64)
    for x in range(pixels):
        start[x] = cell[x, 0, 0]
        for j in range(TAPS):
            for k in range(TAPS):
                place = np.int64(cell[x, j, k]) - start[x]
                full[x, place] += np.float64(weight[x, j, k]) * np.float64(weight[x, j, TAPS])
    return full, start


@subroutine
def exact_value(
    table: Any, first: int, y_cell: Any, y_weight: Any, x_cell: Any, x_weight: Any, y: int, x: int, tail: bool,
    scratch: Any,
) -> float:  # fmt: skip
    """The value at result pixel (y, x), to the last bit of the original's, of the map in table[first : first + h].

    Horizontal sums run ((0 + 1) + 2) + 3, vertical ones 0 + (1 + (2 + 3)). `tail`: this is one of the last numbers of
    an image row (pixels times maps), too few for a SIMD register, which OpenCV sums like a horizontal one (spec,
    PRECISIONS). OpenCV enlarges images of up to four maps by other code: those values agree within ROUNDING only.
    `table` (C * h, w) float32 is a stack of maps; then come Axis.cell and Axis.weight of both axes; all indices are
    uintp; `scratch` is SCRATCH float32.
    """
    lowest = y_cell[y, U0, U0]
    for j in range(np.uintp(TAPS)):
        i0, i1, i2, i3 = x_cell[x, j, U0], x_cell[x, j, U1], x_cell[x, j, U2], x_cell[x, j, U3]
        w0, w1, w2, w3 = x_weight[x, j, U0], x_weight[x, j, U1], x_weight[x, j, U2], x_weight[x, j, U3]
        for row in range(lowest, y_cell[y, U3, U3] + U1):
            r = first + row
            part = (table[r, i0] * w0 + table[r, i1] * w1) + table[r, i2] * w2
            scratch[row - lowest, j] = part + table[r, i3] * w3
    p0 = _tap_row(y_cell, y_weight, x_weight, y, x, U0, scratch)
    p1 = _tap_row(y_cell, y_weight, x_weight, y, x, U1, scratch)
    p2 = _tap_row(y_cell, y_weight, x_weight, y, x, U2, scratch)
    p3 = _tap_row(y_cell, y_weight, x_weight, y, x, U3, scratch)
    w0, w1, w2, w3 = y_weight[y, U0, U4], y_weight[y, U1, U4], y_weight[y, U2, U4], y_weight[y, U3, U4]
    if tail:
        return ((p0 * w0 + p1 * w1) + p2 * w2) + p3 * w3
    return p0 * w0 + (p1 * w1 + (p2 * w2 + p3 * w3))


@inlined
def _tap_row(y_cell: Any, y_weight: Any, x_weight: Any, y: int, x: int, tap: int, scratch: Any) -> float:
    """The second step's horizontal sum at column x, in the `tap`-th of the four rows under y."""
    lowest = y_cell[y, U0, U0]
    i0, i1 = y_cell[y, tap, U0] - lowest, y_cell[y, tap, U1] - lowest
    i2, i3 = y_cell[y, tap, U2] - lowest, y_cell[y, tap, U3] - lowest
    w0, w1, w2, w3 = y_weight[y, tap, U0], y_weight[y, tap, U1], y_weight[y, tap, U2], y_weight[y, tap, U3]
    a = scratch[i0, U0] * w0 + (scratch[i1, U0] * w1 + (scratch[i2, U0] * w2 + scratch[i3, U0] * w3))
    b = scratch[i0, U1] * w0 + (scratch[i1, U1] * w1 + (scratch[i2, U1] * w2 + scratch[i3, U1] * w3))
    c = scratch[i0, U2] * w0 + (scratch[i1, U2] * w1 + (scratch[i2, U2] * w2 + scratch[i3, U2] * w3))
    d = scratch[i0, U3] * w0 + (scratch[i1, U3] * w1 + (scratch[i2, U3] * w2 + scratch[i3, U3] * w3))
    return ((a * x_weight[x, U0, U4] + b * x_weight[x, U1, U4]) + c * x_weight[x, U2, U4]) + d * x_weight[x, U3, U4]


def exact_map(cells: npt.NDArray[np.float32], rows: Axis, columns: Axis) -> npt.NDArray[np.float32]:
    """(H, W) float32: `exact_value` without tail of every pixel of one map (h, w)."""
    for y_index, y_weight, x_index, x_weight in (
        (rows.first_index, rows.first_weight, columns.first_index, columns.first_weight),
        (rows.second_index, rows.second_weight, columns.second_index, columns.second_weight),
    ):
        with np.errstate(over="ignore", invalid="ignore"):
            a, b, c, d = (cells[:, x_index[:, k]] * x_weight[:, k] for k in range(TAPS))
            cells = ((a + b) + c) + d
            a, b, c, d = (cells[y_index[:, k]] * y_weight[:, k, None] for k in range(TAPS))
            cells = a + (b + (c + d))
    return cells
