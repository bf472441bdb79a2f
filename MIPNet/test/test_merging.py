# SPDX-License-Identifier: Apache-2.0
"""Both people of a box are found, each once. The original's numbers are in test_eval.py."""

import dataclasses

from common.skeleton import COCO, CROWDPOSE
from MIPNet.merging import PUBLISHED_RULES, BoxPeople, decay_modes, merge_modes

import numpy as np
import pytest


def far_people(images, scores, offset: float = 0.0) -> BoxPeople:
    """One person a box, so far apart that nobody is like another; all keypoints of equal score."""
    count = len(images)
    keypoints = np.ones((count, 17, 3)) * (np.arange(count)[:, None, None] * 500 + offset)
    keypoints[..., 2] = 0.8
    return BoxPeople(np.array(images), keypoints, np.array(scores, float), np.full(count, 1e4))


def test_the_other_persons_box_counts_half() -> None:
    mode = far_people([1, 1], [0.9, 0.4])
    decayed, kept = decay_modes([mode, mode], (0, 1), 0.5)
    np.testing.assert_array_equal(decayed.box_scores, [0.45, 0.2])
    assert kept is mode
    np.testing.assert_array_equal(mode.box_scores, [0.9, 0.4])


def test_who_both_modes_found_is_found_once_and_the_other_person_stays() -> None:
    first = far_people([5, 5], [1.0, 1.0])
    other = far_people([5, 5], [1.0, 1.0], offset=250)
    same = dataclasses.replace(other, keypoints_img=np.stack([first.keypoints_img[0] + 0.1, other.keypoints_img[1]]))
    merged = merge_modes(decay_modes([same, first], (0, 1), 0.5), COCO.sigmas)
    assert merged.modes.tolist() == [1, 1, 0]
    assert merged.boxes.tolist() == [1, 0, 1]
    np.testing.assert_allclose(merged.detections.scores, [0.8, 0.8, 0.4])
    np.testing.assert_array_equal(merged.detections.keypoints[2], other.keypoints_img[1])


def test_people_of_other_images_are_other_people() -> None:
    mode = far_people([3, 1, 3], [0.1, 0.2, 0.3])
    alike = dataclasses.replace(mode, keypoints_img=np.repeat(mode.keypoints_img[:1], 3, 0))
    merged = merge_modes([alike], COCO.sigmas)
    assert merged.detections.image_ids.tolist() == [3, 1]
    assert merged.boxes.tolist() == [2, 1]


def test_without_a_threshold_everybody_stays() -> None:
    mode = far_people([1, 1], [0.3, 0.4])
    rules = dataclasses.replace(PUBLISHED_RULES, oks_threshold=None)
    assert merge_modes([mode, mode], COCO.sigmas, rules).boxes.tolist() == [1, 1, 0, 0]
    assert len(merge_modes([mode, mode], COCO.sigmas).boxes) == 2


def test_softly_everybody_stays_and_the_second_copy_comes_last() -> None:
    mode = far_people([1, 1], [0.9, 0.5])
    merged = merge_modes([mode, mode], COCO.sigmas, dataclasses.replace(PUBLISHED_RULES, soft=True))
    assert merged.boxes.tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(merged.detections.scores, [0.72, 0.4, 0.72, 0.4])


def test_nobody_and_other_skeletons() -> None:
    nobody = BoxPeople(np.zeros(0, np.int64), np.zeros((0, 14, 3)), np.zeros(0), np.zeros(0))
    assert len(merge_modes([nobody, nobody], CROWDPOSE.sigmas).detections) == 0
    somebody = BoxPeople(np.ones(1, np.int64), np.ones((1, 14, 3)), np.ones(1), np.ones(1))
    assert merge_modes([nobody, somebody], CROWDPOSE.sigmas).modes.tolist() == [1]
    with pytest.raises(ValueError, match="different lengths"):
        BoxPeople(np.ones(2, np.int64), np.ones((1, 14, 3)), np.ones(1), np.ones(1))
