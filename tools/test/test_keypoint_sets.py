# SPDX-License-Identifier: Apache-2.0
"""People of one set of keypoints as people of another, with what is missing said."""

from common.cli import UserError
from tools.convert.keypoint_sets import SETS, convert

import numpy as np
import pytest

COUNTS = {"coco": 17, "openpose": 18, "body_25": 25, "halpe_26": 26, "h36m": 17, "mpii": 16, "crowdpose": 14}


def people(names) -> np.ndarray:
    """Two people; each point has a place of its own."""
    places = [(10.0 * number, 5.0 + number, 0.5 + number / 100) for number in range(len(names))]
    return np.array([places, places])


def test_sets_have_the_published_numbers_of_points():
    assert {name: len(points) for name, points in SETS.items()} == COUNTS
    assert all(len(set(points)) == len(points) for points in SETS.values())


@pytest.mark.parametrize("source", SETS)
@pytest.mark.parametrize("target", SETS)
def test_points_of_the_same_name_stay_and_missing_ones_are_named(source, target):
    given = people(SETS[source])
    found = convert(given, source, target)
    assert found.keypoints.shape == (2, COUNTS[target], 3)
    for place, name in enumerate(SETS[target]):
        if name in SETS[source]:
            np.testing.assert_array_equal(found.keypoints[:, place], given[:, SETS[source].index(name)])
        assert (found.keypoints[:, place, 2] == 0).all() == (name in found.missing)
    assert source != target or not found.missing


def test_body_25_to_coco_loses_nothing_and_back_lacks_feet():
    there = convert(people(SETS["body_25"]), "body_25", "coco")
    assert there.missing == ()
    back = convert(there.keypoints, "coco", "body_25")
    assert back.missing == tuple(name for name in SETS["body_25"] if "toe" in name or "heel" in name)


def test_a_mean_is_there_only_where_all_its_points_are():
    given = np.zeros((1, 17, 3))
    names = SETS["coco"]
    given[0, names.index("left_hip")], given[0, names.index("right_hip")] = (10, 20, 0.9), (30, 40, 0.4)
    given[0, names.index("left_shoulder")] = (1, 1, 1)
    found = convert(given, "coco", "h36m").keypoints[0]
    np.testing.assert_allclose(found[SETS["h36m"].index("pelvis")], (20, 30, 0.4))
    assert not found[SETS["h36m"].index("thorax")].any() and not found[SETS["h36m"].index("spine")].any()


def test_unknown_sets_and_other_counts_are_one_line():
    with pytest.raises(UserError, match="choose from coco"):
        convert(np.zeros((1, 17, 3)), "smpl", "coco")
    with pytest.raises(UserError, match=r"coco has \(people, 17, 3\)"):
        convert(np.zeros((1, 16, 3)), "coco", "mpii")
