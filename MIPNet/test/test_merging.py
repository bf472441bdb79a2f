# SPDX-License-Identifier: Apache-2.0
"""Both people of a box are found, each once. The original's numbers are in test_eval.py."""

from common.skeleton import COCO, CROWDPOSE
from MIPNet.merging import BoxPeople, MergedPeople, MergeRules, merge_modes

import numpy as np

RULES = MergeRules()


def far_people(image_ids, *box_scores, offset: float = 0.0) -> BoxPeople:
    """One person a box in the same place for each mode, so far apart that nobody is like another; equal keypoints."""
    count = len(image_ids)
    keypoints = np.ones((count, 17, 3)) * (np.arange(count)[:, None, None] * 500 + offset)
    keypoints[..., 2] = 0.8
    modes = np.stack([keypoints] * len(box_scores))
    return BoxPeople(np.array(image_ids), modes, np.array(box_scores, float), np.full(count, 1e4))


def merged(people: BoxPeople, rules: MergeRules = RULES) -> MergedPeople:
    return merge_modes(people, COCO.sigmas, rules)


def test_who_both_modes_found_is_found_once_and_the_other_person_stays() -> None:
    people = far_people([5, 5], [0.5, 0.5], [1.0, 1.0])
    other = people.keypoints_img[0, 1] + (250, 250, 0)
    people.keypoints_img[0] = np.stack([people.keypoints_img[0, 0] + 0.1, other])
    found = merged(people)
    assert (found.modes.tolist(), found.boxes.tolist()) == ([1, 1, 0], [1, 0, 1])
    np.testing.assert_allclose(found.detections.scores, [0.8, 0.8, 0.4])
    np.testing.assert_array_equal(found.detections.keypoints[2], other)


def test_people_of_other_images_are_other_people() -> None:
    people = far_people([3, 1, 3], [0.1, 0.2, 0.3])
    people.keypoints_img[:] = people.keypoints_img[:, :1]
    found = merged(people)
    assert (found.detections.image_ids.tolist(), found.boxes.tolist()) == ([3, 1], [2, 1])


def test_without_a_threshold_all_stay_and_softly_the_second_copy_comes_last() -> None:
    people = far_people([1, 1], [0.3, 0.4], [0.3, 0.4])
    assert merged(people, MergeRules(oks_threshold=None)).boxes.tolist() == [1, 1, 0, 0]
    assert len(merged(people).boxes) == 2
    softly = merged(far_people([1, 1], [0.9, 0.5], [0.9, 0.5]), MergeRules(soft=True))
    assert softly.boxes.tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(softly.detections.scores, [0.72, 0.4, 0.72, 0.4])


def test_nobody_and_other_skeletons() -> None:
    for count in (0, 1):
        people = BoxPeople(np.ones(count, np.int64), np.ones((2, count, 14, 3)), np.ones((2, count)), np.ones(count))
        assert merge_modes(people, CROWDPOSE.sigmas, RULES).modes.tolist() == [1] * count
        assert people.mode(0).keypoints_img.shape == (1, count, 14, 3)
