# SPDX-License-Identifier: Apache-2.0
import dataclasses
import threading

from common.bottomup.pafs import People, best_of_each_type, checked, finite, limb_table, of_each, sample_order
from common.cli import UserError
from common.skeleton import OPENPOSE, Skeleton

import numpy as np
import pytest

PAIR = Skeleton("pair", ("a", "b", "c"), (0.05,) * 3, (), limbs=(("a", "b"), ("b", "c"), ("a", "c")))
PEOPLE = People(
    np.array([[1, 2, 0.5, 0], [3, 4, 0.6, 1], [5, 6, 0.7, 2]]),
    np.array([[0, 1, -1], [-1, -1, 2]]),
    np.array([1.5, 0.7]),
    np.array([2, 1]),
)


def test_points_and_keypoints() -> None:
    assert PEOPLE.points().tolist() == [[[1, 2, 0.5], [3, 4, 0.6], [0, 0, 0]], [[0, 0, 0], [0, 0, 0], [5, 6, 0.7]]]
    assert PEOPLE.keypoints(PAIR)[0].tolist() == [[1, 2, 1], [3, 4, 1], [0, 0, 0]]


def test_keypoints_have_the_order_of_annotations() -> None:
    turned = dataclasses.replace(PAIR, points=("c", "a", "b"))
    assert PEOPLE.keypoints(turned)[0].tolist() == [[3, 4, 1], [0, 0, 0], [1, 2, 1]]


def test_the_originals_arrays() -> None:
    assert PEOPLE.all_keypoints().tolist() == [[1, 2, 0.5, 0], [3, 4, 0.6, 1], [5, 6, 0.7, 2]]
    assert PEOPLE.pose_entries().tolist() == [[0, 1, -1, 1.5, 2], [-1, -1, 2, 0.7, 1]]
    nobody = People(np.zeros((0, 4)), np.zeros((0, 3), np.int64), np.zeros(0), np.zeros(0, np.int64))
    assert nobody.all_keypoints().shape == nobody.pose_entries().shape == (0,)
    assert nobody.points().shape == nobody.keypoints(PAIR).shape == (0, 3, 3)


def test_limbs_in_an_order() -> None:
    limbs, closing = limb_table(PAIR, (2, 0, 1))
    assert limbs.tolist() == [[0, 2, 4], [0, 1, 0], [1, 2, 2]]
    assert closing.tolist() == [True, False, False], "limb 2 closes the loop in the skeleton's own order"
    assert len(limb_table(OPENPOSE, OPENPOSE.assembly)[0]) == len(OPENPOSE.limbs)


def test_best_of_each_type() -> None:
    kept, starts = best_of_each_type(np.array([0.1, 0.9, 0.5, 0.5, 0.2]), np.array([0, 4, 4, 5]), 2)
    assert kept.tolist() == [1, 2, 4] and starts.tolist() == [0, 2, 2, 3]


def test_samples_are_all_looked_at() -> None:
    for count in (2, 3, 10, 24):
        order = sample_order(count)
        assert sorted(order.tolist()) == list(range(count)) and order[-2:].tolist() == [0, count - 1]


def test_cells_that_are_not_finite_become_nothing() -> None:
    maps = np.array([[[1, np.nan], [-2, 3]], [[np.inf, 0.5], [0, -np.inf]]], np.float32)
    clean, limits = finite(maps)
    assert clean.tolist() == [[[1, 0], [-2, 3]], [[0, 0.5], [0, 0]]] and limits.tolist() == [[-2, 3], [0, 0.5]]
    assert np.isnan(maps[0, 0, 1]) and finite(clean)[0] is clean


def test_maps_that_do_not_fit_are_named() -> None:
    heatmaps, fields = np.zeros((PAIR.num_heatmaps, 3, 4), np.float32), np.zeros((PAIR.num_fields, 3, 4), np.float32)
    assert checked(heatmaps, fields.astype(np.float64), PAIR)[1].dtype == np.float32
    for bad, message in (
        ((heatmaps[1:], fields), "do not belong together"),
        ((heatmaps, fields[0]), "do not belong together"),
        ((heatmaps, fields[:, 1:]), "cells"),
        ((heatmaps[:, :0], fields[:, :0]), "do not belong together"),
    ):
        with pytest.raises(UserError, match=message):
            checked(*bad, PAIR)


def test_of_each_keeps_the_order_on_threads() -> None:
    seen = set()

    def one(i: int) -> int:
        seen.add(threading.get_ident())
        return i * i

    for threads in (1, 3):
        assert of_each(one, 5, threads) == [0, 1, 4, 9, 16]
    assert len(seen) > 1
