# SPDX-License-Identifier: Apache-2.0
"""Both people of a box are found, each once. The original's numbers are in test_eval.py."""

from common.skeleton import COCO, CROWDPOSE
from MIPNet.merging import merge_modes

import numpy as np


def far_people(count: int, modes: int) -> np.ndarray:
    """(N, M, 17, 3): one person a box, in the same place for each mode, so far apart that none is like another."""
    keypoints = np.ones((count, modes, 17, 3)) * (np.arange(count)[:, None, None, None] * 500)
    keypoints[..., 2] = 0.8
    return keypoints


def merged(keypoints: np.ndarray, box_scores, image_ids, **rules):
    areas = np.full(len(keypoints), 1e4)
    return merge_modes(keypoints, np.array(box_scores, float), areas, np.array(image_ids), COCO.sigmas, **rules)


def test_who_both_modes_found_is_found_once_and_the_other_person_stays() -> None:
    keypoints = far_people(2, 2)
    keypoints[0, 0] += 0.1
    keypoints[1, 0, :, :2] += 250
    found = merged(keypoints, [[0.5, 1]] * 2, [5, 5])
    assert (found.modes.tolist(), found.boxes.tolist()) == ([1, 1, 0], [1, 0, 1])
    np.testing.assert_allclose(found.detections.scores, [0.8, 0.8, 0.4])
    np.testing.assert_array_equal(found.detections.keypoints[2], keypoints[1, 0])
    everybody = merged(far_people(2, 2), [[0.3, 0.3], [0.4, 0.4]], [1, 1], oks_threshold=None)
    assert everybody.boxes.tolist() == [1, 1, 0, 0]


def test_people_of_other_images_are_other_people() -> None:
    found = merged(np.ones((3, 1, 17, 3)), [[0.1], [0.2], [0.3]], [3, 1, 3])
    assert (found.detections.image_ids.tolist(), found.boxes.tolist()) == ([3, 1], [2, 1])


def test_no_people_and_other_skeletons() -> None:
    for count in (0, 1):
        people = np.ones((count, 2, 14, 3)), np.ones((count, 2)), np.ones(count), np.ones(count, np.int64)
        assert merge_modes(*people, CROWDPOSE.sigmas).modes.tolist() == [1] * count
