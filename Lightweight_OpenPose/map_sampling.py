# SPDX-License-Identifier: Apache-2.0
"""From map cells to result pixels: two successive cubic enlargements as one small operator an axis.

The original enlarges a map by the stride, cuts the padding off and resizes the rest to the image (spec A7, OpenCV's
INTER_CUBIC). Both steps are separable and linear, so along an axis a result pixel is a fixed sum over a few adjacent
cells. `axis_operator` gives that composed sum, for fast values that are right to a few 1e-7, and the taps of the two
steps, from which `exact_value` computes the original's value to the last bit.

Hot functions take whole arrays and unsigned indices: a slice costs a count of references, a signed index a test.
"""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

CUBIC_SHARPNESS = -0.75  # OpenCV's cubic kernel
TAPS = 4
USUAL_BAND = 5  # cells below one pixel where the first enlargement is at least threefold; `blend` unrolls this width
# Largest difference between a banded sum and the original's value, as a share of the map's largest magnitude. Four
# cubic passes, each a sum of magnitudes of at most 1.375 with four float32 roundings: 16 * 6e-8 * 1.375**4 = 3.4e-6;
# the banded sums add 2.6e-6.
ROUNDING = 8e-6
NEGLIGIBLE = 0.03  # a weight below this never decides whether a tile can hold a peak; see Axis.gain
SCRATCH = (8, TAPS)  # map rows under four pixels of the first enlargement: at most seven

U0, U1, U2, U3, U4, U5, U6 = (np.uintp(i) for i in range(7))

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
COMPILED_FILES = ("map_sampling.py", "peak_windows.py", "peak_selection.py", "limb_matching.py", "person_assembly.py")


@lru_cache(maxsize=1)
def _source_digest() -> str:
    """Eight hexadecimal digits that change with the source of any compiled function."""
    sources = [Path(__file__).with_name(name).read_bytes() for name in COMPILED_FILES]
    return hashlib.sha256(b"".join(sources)).hexdigest()[:8]


def kernel(function: Callable[..., Any]) -> Any:
    """numba for a function that Python calls: without the global lock, kept on disk where a folder can be written.

    The cache looks at a function's own file only, so a change in a file that it calls would go unseen: the name under
    which it is kept carries the digest of all files.
    """
    function.__qualname__ += f"_{_source_digest()}"
    try:
        return numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:
        return numba.njit(**OPTIONS)(function)


def subroutine(function: Callable[..., Any]) -> Any:
    """numba for a function that kernels call; it is kept as a part of them."""
    return numba.njit(**OPTIONS)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """A subroutine that becomes part of its callers: a call of its own counts the references of each array argument."""
    return numba.njit(forceinline=True, **OPTIONS)(function)


class Axis(NamedTuple):
    """One axis of the way from `cells` map cells to `pixels` result pixels.

    `first_index` (m, 4) int64 cells, `first_weight` (m, 4) float32: the enlargement by the stride, m pixels after the
    cut. `second_index` (pixels, 4) int64 of those m, `second_weight`: the resize. `cell` (pixels, 4, 4) uintp and
    `weight` (pixels, 4, 5) float32: both in one, the cells under each of a pixel's four taps, their weights, and last
    the tap's own. `base` (pixels,) uintp and `band` (pixels, K) float32: the composed sum, pixel = sum over k of
    band[k] * cells[base + k]. `tile` (cells - K + 2,) int64: pixels tile[i]:tile[i + 1] have base i. `reach`
    (K, cells - K + 1) float32: 1 where cell i + k has a real positive weight in tile i, else 0. `gain` (3,) float64:
    the largest sum of positive weights within reach, of those outside it, and of negative weights.
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
    base, band = _compose(cell, weight, cells)
    tile = np.empty(cells - band.shape[1] + 2, np.int64)
    x = 0
    for i in range(len(tile)):
        while x < pixels and np.int64(base[x]) < i:
            x += 1
        tile[i] = x
    reach, gain = _reach_and_gain(band, tile)
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
def _compose(cell: Any, weight: Any, cells: int) -> Any:
    """(pixels,) uintp first cell of each pixel's band, never falling, and (pixels, K) float32 weights."""
    pixels = len(cell)
    full = np.zeros((pixels, TAPS * TAPS), np.float64)  # counted from the lowest cell that a pixel's taps name
    base, start = np.empty(pixels, np.uintp), np.empty(pixels, np.int64)
    lowest, width = cells, USUAL_BAND
    for x in range(pixels - 1, -1, -1):
        start[x] = cell[x, 0, 0]
        highest = 0
        for j in range(TAPS):
            for k in range(TAPS):
                place = np.int64(cell[x, j, k]) - start[x]
                full[x, place] += np.float64(weight[x, j, k]) * np.float64(weight[x, j, TAPS])
        for place in range(TAPS * TAPS):
            if full[x, place] != 0:
                lowest, highest = min(lowest, start[x] + place), start[x] + place
        width = max(width, highest - lowest + 1)
        base[x] = lowest
    width = min(width, cells)
    band = np.zeros((pixels, width), np.float32)
    for x in range(pixels):
        begin = min(np.int64(base[x]), cells - width)
        base[x] = begin
        for k in range(width):
            if 0 <= begin + k - start[x] < TAPS * TAPS:
                band[x, k] = full[x, begin + k - start[x]]
    return base, band


@subroutine
def _reach_and_gain(band: Any, tile: Any) -> Any:
    """What bounds a pixel's value by the cells below it, see Axis: (K, tiles) float32 and (3,) float64."""
    width, tiles = band.shape[1], len(tile) - 1
    reach = np.zeros((width, tiles), np.float32)
    inside, outside, negative = 0.0, 0.0, 0.0
    for i in range(tiles):
        for x in range(tile[i], tile[i + 1]):
            for k in range(width):
                if band[x, k] > NEGLIGIBLE:
                    reach[k, i] = 1
        for x in range(tile[i], tile[i + 1]):
            sum_inside, sum_outside, sum_negative = 0.0, 0.0, 0.0
            for k in range(width):
                weight = np.float64(band[x, k])
                if weight < 0:
                    sum_negative -= weight
                elif reach[k, i] > 0:
                    sum_inside += weight
                else:
                    sum_outside += weight
            inside, outside = max(inside, sum_inside), max(outside, sum_outside)
            negative = max(negative, sum_negative)
    return reach, np.array([inside, outside, negative]) * (1 + 1e-6)


@kernel
def extremes(maps: Any) -> Any:
    """(C, 2) float32: smallest and largest value of each map of (C, h, w) float32; finite only if the map is.

    Read as integers of the same order, because those loops vectorise; a NaN shows up as one of the extremes.
    """
    bits = maps.reshape(len(maps), maps.shape[1] * maps.shape[2]).view(np.int32)
    keys = np.empty((len(maps), 2), np.int32)
    for c in range(len(maps)):
        low, high = np.int32(0x7FFFFFFF), np.int32(-0x80000000)
        for i in range(bits.shape[1]):
            key = bits[c, i] ^ ((bits[c, i] >> np.int32(31)) & np.int32(0x7FFFFFFF))
            low, high = min(low, key), max(high, key)
        keys[c, 0], keys[c, 1] = low, high
    return (keys ^ ((keys >> np.int32(31)) & np.int32(0x7FFFFFFF))).view(np.float32)


@inlined
def blend(
    table: Any, base: int, band: Any, pixel: int, start: int, out: Any, row: int, column: int, count: int
) -> None:
    """out[row, column + i] = sum over k of band[pixel, k] * table[base + k, start + i], i < count. All indices uintp.

    One function for each width of the band: with both loops in one, the compiler makes code of half the speed.
    """
    if band.shape[1] == USUAL_BAND:
        _blend_usual(table, base, band, pixel, start, out, row, column, count)
    else:
        _blend_any(table, base, band, pixel, start, out, row, column, count)


@inlined
def _blend_usual(
    table: Any, base: int, band: Any, pixel: int, start: int, out: Any, row: int, column: int, count: int
) -> None:
    w0, w1, w2 = band[pixel, U0], band[pixel, U1], band[pixel, U2]
    w3, w4 = band[pixel, U3], band[pixel, U4]
    for i in range(count):
        j = start + i
        part = w0 * table[base, j] + w1 * table[base + U1, j] + w2 * table[base + U2, j]
        out[row, column + i] = part + w3 * table[base + U3, j] + w4 * table[base + U4, j]


@inlined
def _blend_any(
    table: Any, base: int, band: Any, pixel: int, start: int, out: Any, row: int, column: int, count: int
) -> None:
    for i in range(count):
        out[row, column + i] = np.float32(0)
    for k in range(np.uintp(band.shape[1])):
        for i in range(count):
            out[row, column + i] += band[pixel, k] * table[base + k, start + i]


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
