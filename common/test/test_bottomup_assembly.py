# SPDX-License-Identifier: Apache-2.0

from common.bottomup.assembly import DecodedPeople, checked_maps
from common.bottomup.maps import Axis, LimbRule, Peaks, axis_of, find_pairs, find_peaks
from common.cli import UserError
from common.skeleton import Skeleton

import numpy as np
import pytest

PAIR = Skeleton("pair", ("a", "b", "c"), (0.05,) * 3, (), limbs=(("a", "b"), ("b", "c"), ("a", "c")))
PEOPLE = DecodedPeople(
    np.array([[1, 2, 0.5, 0], [3, 4, 0.6, 1], [5, 6, 0.7, 2]]),
    np.array([[0, 1, -1], [-1, -1, 2]]),
    np.array([1.5, 0.7]),
    np.array([2, 1]),
)


def as_they_are(pixels: int) -> Axis:
    return axis_of(np.eye(pixels))


def peaks_of(points) -> Peaks:
    """[[x, y, type]], sorted by type."""
    candidates = np.insert(np.array(points, np.float64), 2, 1.0, axis=1)
    starts = np.searchsorted(candidates[:, 3], np.arange(4)).tolist()
    return Peaks(candidates, np.zeros((len(points), 4)), starts)


def test_points_and_keypoints() -> None:
    assert PEOPLE.points().tolist() == [[[1, 2, 0.5], [3, 4, 0.6], [0, 0, 0]], [[0, 0, 0], [0, 0, 0], [5, 6, 0.7]]]
    assert PEOPLE.keypoints(PAIR)[0].tolist() == [[1, 2, 1], [3, 4, 1], [0, 0, 0]]
    nobody = DecodedPeople(np.zeros((0, 4)), np.zeros((0, 3), np.int64), np.zeros(0), np.zeros(0, np.int64))
    assert nobody.points().shape == nobody.keypoints(PAIR).shape == (0, 3, 3)


def test_maps_that_do_not_fit_are_named() -> None:
    heatmaps, pafs = np.zeros((PAIR.num_heatmaps, 3, 4), np.float32), np.zeros((PAIR.num_pafs, 3, 4), np.float32)
    assert checked_maps(heatmaps, pafs.astype(np.float64), PAIR)[1].dtype == np.float32
    for bad in ((heatmaps[1:], pafs), (heatmaps, pafs[0]), (heatmaps, pafs[:, 1:]), (heatmaps[:, :0], pafs[:, :0])):
        with pytest.raises(UserError, match="do not belong together"):
            checked_maps(*bad, PAIR)


def test_cells_that_are_not_finite_become_nothing() -> None:
    heatmaps, pafs = np.ones((PAIR.num_heatmaps, 2, 2), np.float32), np.ones((PAIR.num_pafs, 2, 2), np.float32)
    heatmaps[0, 0] = np.nan, np.inf
    pafs[1, 1, 1] = -np.inf
    clean_heatmaps, clean_pafs = checked_maps(heatmaps, pafs, PAIR)
    assert clean_heatmaps[0].tolist() == [[0, 0], [1, 1]] and clean_pafs[1].tolist() == [[1, 1], [1, 0]]
    assert np.isnan(heatmaps[0, 0, 0]), "the caller's maps stay as they are"


def test_peaks_of_a_map() -> None:
    """Values around a peak, the border, the threshold, the radius and the best few."""
    maps = np.zeros((2, 6, 9), np.float32)
    maps[0, 2, 3:6] = 0.5, 0.9, 0.7
    maps[0, 0, 0], maps[0, 4, 4], maps[1, 5, 8] = 0.4, 0.3, 0.2
    axes = as_they_are(6), as_they_are(9)
    found = find_peaks(maps, axes, 0.25, 0.0, 0)
    np.testing.assert_allclose(found.candidates, [[0, 0, 0.4, 0], [4, 2, 0.9, 0], [4, 4, 0.3, 0]])
    np.testing.assert_allclose(found.around[:2], [[-np.inf, -np.inf, 0, 0], [0.5, 0, 0.7, 0]])
    assert found.starts == [0, 3, 3]
    assert find_peaks(maps, axes, 0.25, 2.5, 0).candidates[:, 1].tolist() == [0, 2]
    assert find_peaks(maps, axes, 0.1, 0.0, 1).candidates[:, [0, 3]].tolist() == [[4, 0], [8, 1]]


def test_pairs_are_those_of_the_best_scores() -> None:
    """A paf to the right: of two firsts in a row the nearer one is taken only where the better one is gone."""
    paf = np.zeros((2, 20, 20), np.float32)
    paf[0, 5], paf[0, 9] = 1.0, 0.5
    axes, rule = (as_they_are(20), as_they_are(20)), LimbRule(10, 0.05, 9)
    peaks = peaks_of([[2, 5, 0], [2, 9, 0], [3, 9, 0], [12, 5, 1], [12, 9, 1]])
    pairs = find_pairs(paf, axes, peaks, (0, 1), rule)
    assert [(a, b) for a, (b, _) in pairs.items()] == [(0, 3), (1, 4)], "of equal scores the first one counts"
    np.testing.assert_allclose([score for _, score in pairs.values()], [1.0, 0.5])
    assert find_pairs(paf, axes, peaks, (1, 0), rule) == {}, "the paf points the other way"
    assert find_pairs(paf, axes, peaks, (0, 2), rule) == {}, "no peak of that type"
    short = rule._replace(mean_of_all=True, longest=5.0, penalty=1.0)
    np.testing.assert_allclose(find_pairs(paf, axes, peaks, (0, 1), short)[0][1], 1.0 - 0.5)
