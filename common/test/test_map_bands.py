# SPDX-License-Identifier: Apache-2.0
"""Bands, windows of peaks and greedy pairs: the compiled parts of the decoders of part affinity fields."""

from typing import Any, NamedTuple

from common.greedy_matching import choose, rank
from common.map_bands import USUAL_BAND, Bands, banded, extremes, reach_and_gain, tiles
from common.peak_windows import candidates, find_candidates

import numpy as np
import pytest


class Axis(NamedTuple):
    base: Any
    band: Any
    tile: Any
    reach: Any
    gain: Any


def linear(cells: int, scale: int) -> tuple[Axis, np.ndarray]:
    """A linear enlargement, as an axis and as a matrix (pixels, cells)."""
    position = np.clip((np.arange(cells * scale) + 0.5) / scale - 0.5, 0, cells - 1)
    start = np.minimum(position.astype(np.int64), max(cells - 2, 0))
    full = np.stack((1 - position + start, position - start), axis=1)
    matrix = np.zeros((len(position), cells + 1))
    np.put_along_axis(matrix, np.stack((start, start + 1), axis=1), full, axis=1)
    base, exact = banded(full, start, cells)
    band = exact.astype(np.float32)
    tile = tiles(base, cells - band.shape[1] + 1)
    return Axis(base, band, tile, *reach_and_gain(band, tile)), matrix[:, :cells]


@pytest.mark.parametrize("cells", [1, 2, 4, 5, 11])
def test_bands_are_the_matrix(cells: int) -> None:
    axis, matrix = linear(cells, 4)
    assert axis.band.shape == (4 * cells, min(cells, USUAL_BAND)) and (np.diff(axis.base.astype(int)) >= 0).all()
    for pixel, (first, band) in enumerate(zip(axis.base.astype(int), axis.band, strict=True)):
        np.testing.assert_allclose(band, matrix[pixel, first : first + len(band)], atol=1e-7)
        assert abs(band.sum() - 1) < 1e-6 and axis.tile[first] <= pixel < axis.tile[first + 1]
    assert axis.tile[0] == 0 and axis.tile[-1] == 4 * cells


@pytest.mark.parametrize("cells", [(3, 7), (6, 9), (23, 31)])
def test_candidates_are_the_peaks(cells: tuple[int, int]) -> None:
    """Every certain candidate is a peak of the enlarged map, and every peak a candidate."""
    maps = np.random.default_rng(0).standard_normal((4, *cells)).astype(np.float32)
    maps[3] = -1
    (rows, y), (columns, x) = linear(cells[0], 5), linear(cells[1], 5)
    points, certain, starts, flat = candidates(maps, extremes(maps), rows, columns, 0.3, 1e-6)
    assert not flat.any() and starts[4] == starts[3]
    for c in range(3):
        image = np.pad(y @ maps[c].astype(np.float64) @ x.T, 1, constant_values=-np.inf)
        around = np.stack((image[1:-1, :-2], image[1:-1, 2:], image[:-2, 1:-1], image[2:, 1:-1]))
        lead = (image[1:-1, 1:-1] > 0.3) & (image[1:-1, 1:-1] - around.max(axis=0) > 1e-9)
        found = points[starts[c] : starts[c + 1]].astype(int).tolist()
        peaks = np.argwhere(lead.T).tolist()
        sure = [point for point, is_sure in zip(found, certain[starts[c] : starts[c + 1]], strict=True) if is_sure]
        assert found == sorted(found) and all(point in found for point in peaks) and all(one in peaks for one in sure)


def test_more_candidates_than_expected() -> None:
    random = np.random.default_rng(1)
    maps = random.uniform(0.1, 1, (2, 90, 200)).astype(np.float32)
    axes = linear(90, 1)[0], linear(200, 1)[0]
    points, _, starts, _ = candidates(maps, extremes(maps), *axes, 0.05, 1e-6)
    assert len(points) == starts[-1] > 4096


def test_constant_maps_are_flat() -> None:
    maps = np.full((1, 20, 20), 0.5, np.float32)
    _, _, starts, flat = candidates(maps, extremes(maps), linear(20, 8)[0], linear(20, 8)[0], 0.1, 1e-6)
    assert flat.tolist() == [True] and starts.tolist() == [0, 0]


def test_extremes_show_what_is_not_finite() -> None:
    maps = np.array([[[-3, 2]], [[0, np.nan]], [[-np.inf, 1]]], np.float32)
    limits = extremes(maps)
    assert limits[0].tolist() == [-3, 2] and (np.isfinite(limits).all(axis=1) == [True, False, False]).all()


def test_rank_is_a_stable_sort() -> None:
    values = np.random.default_rng(2).integers(0, 9, 100).astype(np.float64)
    for n in (0, 1, 2, 63, 100):
        np.testing.assert_array_equal(rank(values, n), np.argsort(values[:n], kind="stable"))


def test_each_end_is_chosen_once() -> None:
    found = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [2, 1]])
    chosen, total = choose(np.array([1, 0, 2, 3, 4]), found, 3, 2)
    assert chosen[:total].tolist() == [1, 3]


def test_what_is_kept_on_disk_needs_no_owner() -> None:
    """A kept function is loaded with the types of all its callers; one that is gone would end the program."""
    axis, _ = linear(4, 3)
    maps = np.zeros((1, 4, 4), np.float32)
    candidates(maps, extremes(maps), axis, axis, 0.3, 1e-6)
    types = [one for signature in find_candidates.signatures for one in signature if hasattr(one, "instance_class")]
    assert types and all(one.instance_class is Bands for one in types)
