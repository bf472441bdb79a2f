# SPDX-License-Identifier: Apache-2.0
"""One pose a person: the original's numbers, and what must hold for any people."""

import json
from pathlib import Path

from AlphaPose.pose_nms import pose_nms

import numpy as np
import pytest

CASES = (
    "two_duplicates_one_far",
    "single",
    "two_people_many_jitters",
    "low_scores_dropped",
    "crowd_20",
    "zero_scores_partial_overlap",
)


def people(num_images: int, crowd: int, size: float = 400.0, jitter: float = 2.5):
    """Keypoints, longer sides of boxes, box scores and images; every second is about a copy of the one before."""
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0, size, (num_images * crowd, 17, 3))
    for row in np.flatnonzero(rng.random(len(keypoints)) < 0.5):
        keypoints[row] = keypoints[row - 1] + rng.normal(0, jitter, (17, 3))
    keypoints[..., 2] = rng.uniform(0, 1, keypoints.shape[:2]).round(1)
    sides = np.ptp(keypoints[..., :2], axis=1).max(axis=1)
    return keypoints, sides, rng.random(len(keypoints)), np.repeat(np.arange(num_images), crowd)


@pytest.mark.parametrize("min_area", [0, 4000])
@pytest.mark.parametrize("name", CASES)
def test_people_are_the_originals(shared: Path, name: str, min_area: int) -> None:
    cases = json.loads((shared / "golden" / "topdown" / "nms_cases.json").read_text())
    case = next(one for one in cases if one["name"] == name)
    keypoints, boxes = np.dstack([case["poses"], case["kp_scores"]]), np.array(case["boxes"])
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    found, expected = pose_nms(keypoints, sides, case["box_scores"], None, min_area), case[f"pose_nms_area{min_area}"]
    assert found.picks.tolist() == expected["pick_ids"] and found.members == expected["merged_ids"]
    np.testing.assert_allclose(found.keypoints_img[..., :2], expected["poses"], rtol=5e-7)
    np.testing.assert_allclose(found.keypoints_img[..., 2], expected["kp_scores"], rtol=5e-7)
    np.testing.assert_allclose(found.scores, expected["proposal_scores"], rtol=5e-7)


@pytest.mark.parametrize(("size", "jitter", "min_area"), [(400, 2.5, 0), (400, 2.5, 300_000), (5, 0.6, 0), (9, 0.5, 0)])
def test_many_images_at_once_are_each_image_alone(size: float, jitter: float, min_area: int) -> None:
    """Among tiny people matching keypoints are rare, and likeness decides."""
    keypoints, sides, box_scores, images = people(8, 5, size, jitter)
    found = pose_nms(keypoints, sides, box_scores, images, min_area)
    assert 0 < len(found.picks) < len(keypoints)
    assert sum(len(group) > 1 for group in found.members) > 2
    for image in range(8):
        mine, rows = np.flatnonzero(images[found.picks] == image), slice(5 * image, 5 * image + 5)
        alone = pose_nms(keypoints[rows], sides[rows], box_scores[rows], None, min_area)
        assert found.picks[mine].tolist() == [5 * image + pick for pick in alone.picks]
        members = [[5 * image + row for row in group] for group in alone.members]
        assert [found.members[person] for person in mine] == members
        np.testing.assert_allclose(found.keypoints_img[mine], alone.keypoints_img, rtol=1e-5)


def test_no_people() -> None:
    found = pose_nms(np.zeros((0, 17, 3)), np.zeros(0), np.zeros(0), np.zeros(0, np.int64))
    assert (found.keypoints_img.shape, found.scores.shape, found.members) == ((0, 17, 3), (0,), [])


@pytest.mark.parametrize(("score", "count"), [(0.31, 1), (0.29, 0), (0.0, 0)])
def test_people_of_whom_nothing_is_sure_leave(score: float, count: int) -> None:
    keypoints, sides, box_scores, _ = people(1, 1)
    keypoints[..., 2] = score
    assert len(pose_nms(keypoints, sides, box_scores).picks) == count


def test_a_box_without_size_merges_nothing_else_and_divides_by_nothing() -> None:
    keypoints, _, box_scores, _ = people(1, 3)
    keypoints[..., 0] += 400 * np.arange(3)[:, None]
    keypoints[..., 2] += 0.4
    found = pose_nms(keypoints, [0, -15, 0], box_scores)
    assert sorted(found.members) == [[0], [1], [2]]
    np.testing.assert_allclose(found.keypoints_img, keypoints[found.picks], rtol=1e-6)


@pytest.mark.parametrize(("score", "is_same"), [(0.8, True), (0.31, False)])
def test_scores_decide_where_all_keypoints_are_near_but_none_matches(score: float, is_same: bool) -> None:
    """A box of 5 pixels: keypoints match within half a pixel; these are 0.9 apart, their nearness is 20.6."""
    keypoints = np.zeros((2, 17, 3))
    keypoints[1, :, 0] = 0.9
    keypoints[..., 2] = score
    assert pose_nms(keypoints, [5, 5], [0.5, 0.5]).members == ([[0, 1]] if is_same else [[0], [1]])


def test_far_keypoints_of_a_group_are_left_out_of_the_mean() -> None:
    keypoints, sides, _, _ = people(1, 1)
    keypoints = keypoints.repeat(2, 0)
    keypoints[0, :, 2], keypoints[1, :, 2] = 0.9, 0.6
    keypoints[1, :10, 0] += 16
    keypoints[1, 10:, 0] += 5
    [pose] = pose_nms(keypoints, sides.repeat(2), [0.5, 0.5]).keypoints_img
    np.testing.assert_allclose(pose[:10], keypoints[0, :10], rtol=1e-5)
    np.testing.assert_allclose(pose[10:, 0], keypoints[0, 10:, 0] + 2, rtol=1e-5)
    np.testing.assert_allclose(pose[10:, 2], (0.9**2 + 0.6**2) / 1.5, rtol=1e-5)
