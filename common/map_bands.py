# SPDX-License-Identifier: Apache-2.0
"""From map cells to pixels: a separable enlargement (and smoothing) of maps as one small operator an axis.

Along an axis a pixel is a fixed sum over a few adjacent cells, its band: pixel = sum over k of band[k] * cells[base +
k]. Which enlargement that is (cubic, bilinear and a Gaussian) its owner says; the owner's NamedTuple of an axis has
the fields of `Bands`, and others.

Hot functions take whole arrays and unsigned indices: a slice costs a count of references, a signed index a test.
"""

from typing import Any, NamedTuple

from common.compiled import U0, U1, U2, U3, U4, inlined, kernel, subroutine

import numpy as np

USUAL_BAND = 5  # cells below one pixel, of either decoder where a cell has eight pixels; `blend` unrolls this width
NEGLIGIBLE = 0.03  # a weight below this never decides whether a tile can hold a peak; see `gain`


class Bands(NamedTuple):
    """One axis.

    `base` (pixels,) uintp and `band` (pixels, K) float32: the sum. `tile` (cells - K + 2,) int64: pixels
    tile[i]:tile[i + 1] have base i. `reach` (K, cells - K + 1) float32: 1 where cell i + k has a real positive weight
    in tile i, else 0. `gain` (3,) float64: the largest sum of positive weights within reach, of those outside it, and
    of negative weights.
    """

    base: Any
    band: Any
    tile: Any
    reach: Any
    gain: Any

    @classmethod
    def of(cls, axis: Any) -> "Bands":
        """The fields of an owner's axis. What is compiled here is kept with the types that it was called with, and an
        owner's own would have to be there whenever it is loaded."""
        return cls(*(getattr(axis, name) for name in cls._fields))


@subroutine
def banded(full: Any, start: Any, cells: Any) -> Any:
    """The sums of all pixels as bands of one width.

    `full` (pixels, S) float64: weights of the cells start[x] + 0 .. S - 1, most of them 0. Returns base (pixels,)
    uintp, never falling, and the weights (pixels, K) float64, K at least USUAL_BAND where there are so many cells.
    """
    pixels, span = full.shape
    base, lowest, width = np.empty(pixels, np.uintp), cells, USUAL_BAND
    for x in range(pixels - 1, -1, -1):
        highest = 0
        for place in range(span):
            if full[x, place] != 0:
                lowest, highest = min(lowest, start[x] + place), start[x] + place
        width = max(width, highest - lowest + 1)
        base[x] = lowest
    width = min(width, cells)
    band = np.zeros((pixels, width), np.float64)
    for x in range(pixels):
        begin = min(np.int64(base[x]), cells - width)
        base[x] = begin
        for k in range(width):
            if 0 <= begin + k - start[x] < span:
                band[x, k] = full[x, begin + k - start[x]]
    return base, band


@subroutine
def tiles(base: Any, count: int) -> Any:
    """(count + 1,) int64: where the pixels of each of `count` bases begin."""
    tile = np.empty(count + 1, np.int64)
    x = 0
    for i in range(len(tile)):
        while x < len(base) and np.int64(base[x]) < i:
            x += 1
        tile[i] = x
    return tile


@subroutine
def reach_and_gain(band: Any, tile: Any) -> Any:
    """What bounds a pixel's value by the cells below it, see the top of this file: (K, tiles) float32, (3,) float64."""
    width, count = band.shape[1], len(tile) - 1
    reach = np.zeros((width, count), np.float32)
    inside, outside, negative = 0.0, 0.0, 0.0
    for i in range(count):
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
