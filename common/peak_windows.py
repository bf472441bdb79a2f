# SPDX-License-Identifier: Apache-2.0
"""Where the enlarged heatmaps can have peaks: fast values, in those windows only that can pass the threshold.

A candidate is certain, or so close to a tie that its owner decides it by exact values.
"""

from typing import Any

from common.compiled import inlined, kernel, subroutine
from common.map_bands import Bands, blend

import numpy as np

USUAL_CAPACITY = 4096  # candidates; where there are more, the search is done again
GAP = 96  # pixels; windows closer than this are filled as one, which is faster than two short ones
SEGMENT = 32  # pixels first looked at together: most such pieces lie below the threshold
MOST_UNCERTAIN = 4096  # more near ties than this in one map (a plateau): its exact map is cheaper than single values


def candidates(maps: Any, extremes: Any, rows: Any, columns: Any, threshold: float, rounding: float) -> Any:
    """`find_candidates` with room for as many as there are; the axes have the fields of `map_bands.Bands`."""
    capacity, bands = USUAL_CAPACITY, (Bands.of(rows), Bands.of(columns))
    while True:
        found = find_candidates(maps, extremes, *bands, threshold, rounding, capacity)
        if found[2][-1] >= 0:
            return found
        capacity *= 4


@kernel
def find_candidates(
    maps: Any, extremes: Any, rows: Any, columns: Any, threshold: float, rounding: float, capacity: int
) -> Any:
    """Candidates for peaks of `maps` (C, h, w) float32, finite, enlarged by the operators of both axes.

    `extremes` (C, 2) float32: smallest and largest value of each map. `rounding`: the largest error of a banded sum, as
    a share of the map's largest magnitude. Returns points (N, 2) uintp x, y in result pixels
    and certain (N,) bool, map by map, in a map by x, then y; starts (C + 1,) int64 into them; flat (C,) bool: maps
    with too many near ties, whose candidates are left out. The last of `starts` is -1 if there are
    more than `capacity`.
    """
    count, height, width = maps.shape
    lifted = np.empty((width, len(rows.base)), np.float32)  # enlarged along y only, stored column by column
    block = np.full((_widest(columns.tile) + 2, len(rows.base) + 2), -np.inf, np.float32)  # with a border of one pixel
    active = np.empty((len(columns.tile) - 1, len(rows.tile) - 1), np.bool_)
    runs = np.empty((len(rows.tile), 2), np.int64)
    points, certain = np.empty((capacity, 2), np.uintp), np.empty(capacity, np.bool_)
    starts, flat = np.zeros(count + 1, np.int64), np.zeros(count, np.bool_)
    total = 0
    for c in range(count):
        tolerance = rounding * np.float64(max(abs(extremes[c, 0]), abs(extremes[c, 1])))
        if extremes[c, 1] > 0 and _mark(maps[c], rows, columns, threshold - tolerance, active):
            _lift(maps[c], rows, columns, active, lifted)
            unsure = 0
            for tile in range(len(active)):
                n = _find_runs(active, tile, rows.tile, runs)
                if n > 0 and unsure <= MOST_UNCERTAIN:
                    _fill_block(lifted, columns, tile, runs, n, block)
                    total, new = _scan_block(
                        block, columns.tile[tile], columns.tile[tile + 1], runs, n, threshold, tolerance,
                        points, certain, total,
                    )  # fmt: skip
                    unsure += new
                    if total > capacity:
                        starts[count] = -1
                        return points, certain, starts, flat
            if unsure > MOST_UNCERTAIN:
                flat[c], total = True, starts[c]
        starts[c + 1] = total
    return points[:total], certain[:total], starts, flat


@subroutine
def _widest(tile: Any) -> int:
    widest = 0
    for i in range(len(tile) - 1):
        widest = max(widest, tile[i + 1] - tile[i])
    return widest


@subroutine
def _mark(cells: Any, rows: Any, columns: Any, threshold: float, active: Any) -> bool:
    """active[x, y]: whether a pixel of that tile can reach the threshold; whether any can.

    Along an axis a value is at most inside * (best cell within reach) + outside * (best) + negative * -(lowest), and at
    least -((inside + outside) * -(lowest) + negative * (best)), with best and -lowest taken as 0 at least.
    """
    tiles_x, tiles_y = np.uintp(active.shape[0]), np.uintp(active.shape[1])
    high, low = np.empty((len(cells), tiles_x), np.float32), np.empty((len(cells), tiles_x), np.float32)
    near, best, depth = np.empty(tiles_x, np.float32), np.empty(tiles_x, np.float32), np.empty(tiles_x, np.float32)
    reach, gain = columns.reach, columns.gain
    inside, outside, negative = np.float32(gain[0]), np.float32(gain[1]), np.float32(gain[2])
    for row in range(np.uintp(len(cells))):
        for i in range(tiles_x):
            near[i], best[i], depth[i] = 0, 0, 0
        for k in range(np.uintp(len(reach))):
            for i in range(tiles_x):
                value = cells[row, k + i]
                near[i] = max(near[i], value * reach[k, i])
                best[i] = max(best[i], value)
                depth[i] = max(depth[i], -value)
        for i in range(tiles_x):
            high[row, i] = inside * near[i] + outside * best[i] + negative * depth[i]
            low[row, i] = (inside + outside) * depth[i] + negative * best[i]
    reach, gain = rows.reach, rows.gain
    inside, outside, negative = np.float32(gain[0]), np.float32(gain[1]), np.float32(gain[2])
    least, found = np.float32(threshold * (1 - 1e-5)), False
    for j in range(tiles_y):
        for i in range(tiles_x):
            near[i], best[i], depth[i] = 0, 0, 0
        for k in range(np.uintp(len(reach))):
            share = reach[k, j]
            for i in range(tiles_x):
                near[i] = max(near[i], share * high[j + k, i])
                best[i] = max(best[i], high[j + k, i])
                depth[i] = max(depth[i], low[j + k, i])
        for i in range(tiles_x):
            active[i, j] = inside * near[i] + outside * best[i] + negative * depth[i] >= least
            found |= active[i, j]
    return found


@subroutine
def _lift(cells: Any, rows: Any, columns: Any, active: Any, lifted: Any) -> None:
    """Enlarges along y: lifted[column, y], for the rectangle around the active tiles, and one pixel around it.

    Where there are fewer pixels than cells, the pixel beside a tile may be one of a tile further on.
    """
    left, right, top, bottom = len(active), 0, active.shape[1], 0
    for i in range(len(active)):
        for j in range(active.shape[1]):
            if active[i, j]:
                left, right, top, bottom = min(left, i), max(right, i), min(top, j), max(bottom, j)
    beside, last = max(columns.tile[left] - 1, 0), min(columns.tile[right + 1], len(columns.base) - 1)
    left, right = columns.base[beside], columns.base[last] + np.uintp(columns.band.shape[1])
    first, width, zero = np.uintp(left), np.uintp(right - left), np.uintp(0)
    line = np.empty((1, cells.shape[1]), np.float32)
    base, band, tile = rows.base, rows.band, rows.tile
    for y in range(np.uintp(max(tile[top] - 1, 0)), np.uintp(min(tile[bottom + 1] + 1, len(base)))):
        blend(cells, base[y], band, y, first, line, zero, zero, width)
        for column in range(width):
            lifted[first + column, y] = line[zero, column]


@subroutine
def _find_runs(active: Any, tile: int, tile_y: Any, runs: Any) -> int:
    """Fills `runs` with the ranges start:stop of y that cover the active tiles of a column; how many."""
    n = 0
    for j in range(active.shape[1]):
        if active[tile, j]:
            if n > 0 and tile_y[j] - runs[n - 1, 1] < GAP:
                runs[n - 1, 1] = tile_y[j + 1]
            else:
                runs[n, 0], runs[n, 1] = tile_y[j], tile_y[j + 1]
                n += 1
    return n


@subroutine
def _fill_block(lifted: Any, columns: Any, tile: int, runs: Any, n: int, block: Any) -> None:
    """Enlarges along x: the pixels of a column of tiles and one pixel around them, -inf outside the image.

    block[1 + x - first x of the tile, 1 + y]; only the n `runs` of y and one pixel around them are filled.
    """
    pixels_x, pixels_y = len(columns.base), lifted.shape[1]
    first, last = columns.tile[tile], columns.tile[tile + 1]
    base, band = columns.base, columns.band
    for y in range(pixels_y):
        if first == 0:
            block[0, 1 + y] = -np.inf
        if last == pixels_x:
            block[last - first + 1, 1 + y] = -np.inf
    for x in range(max(first - 1, 0), min(last + 1, pixels_x)):
        pixel, row = np.uintp(x), np.uintp(1 + x - first)
        for i in range(n):
            top, bottom = max(runs[i, 0] - 1, 0), min(runs[i, 1] + 1, pixels_y)
            blend(
                lifted, base[pixel], band, pixel, np.uintp(top), block, row, np.uintp(1 + top), np.uintp(bottom - top)
            )


@subroutine
def _scan_block(
    block: Any, first: int, last: int, runs: Any, n: int, threshold: float, tolerance: float,
    points: Any, certain: Any, total: int,
) -> Any:  # fmt: skip
    """Appends the candidates of one column of tiles; how many there are now (more than fit: one more), how many unsure.

    A candidate is certain if no error within `tolerance` can put it below the threshold or a neighbour.
    """
    unsure, least, slack, one = 0, np.float32(threshold - tolerance), np.float32(2 * tolerance), np.uintp(1)
    for x in range(first, last):
        row = np.uintp(1 + x - first)
        for i in range(n):
            column, stop = np.uintp(runs[i, 0] + 1), np.uintp(runs[i, 1] + 1)
            while True:
                column = _next_candidate(block, row, column, stop, least, slack)
                if column >= stop:
                    break
                if total == len(certain):
                    return total + 1, unsure
                points[total, 0], points[total, 1] = x, column - one
                certain[total] = _is_certain(block, row, column, threshold + tolerance, 2 * tolerance)
                unsure += not certain[total]
                total += 1
                column += one
    return total, unsure


@subroutine
def _next_candidate(block: Any, row: Any, column: Any, stop: Any, least: Any, slack: Any) -> Any:
    """The first column from `column` on whose value is at least `least` and above its neighbours less `slack`."""
    one, segment = np.uintp(1), np.uintp(SEGMENT)
    above, below = row - one, row + one
    while column < stop:
        end = min(column + segment, stop)
        found = np.int32(0)
        for i in range(end - column):
            found |= np.int32(block[row, column + i] >= least)
        if found != 0:
            for i in range(column, end):
                if block[row, i] >= least:
                    value = block[row, i] + slack
                    beside = (value >= block[row, i - one]) & (value >= block[row, i + one])
                    if beside & (value >= block[above, i]) & (value >= block[below, i]):
                        return i
        column = end
    return stop


@inlined
def _is_certain(block: Any, row: Any, column: Any, threshold: Any, lead: Any) -> Any:
    one, value = np.uintp(1), np.float64(block[row, column])
    beside = max(block[row, column - one], block[row, column + one])
    neighbour = max(beside, max(block[row - one, column], block[row + one, column]))
    return value > threshold and value - np.float64(neighbour) > lead
