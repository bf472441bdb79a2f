# SPDX-License-Identifier: Apache-2.0
"""Damage of maps that are known; people to calibrate with are prepared as an evaluation prepares them."""

from pathlib import Path
from types import SimpleNamespace

from common import top_down_quantization as quantization
from common.coco.evaluate import Detections
from common.coco.evaluation_set import Validation
from common.coco.images import annotation_file, image_folder
from common.judgement import Score
from common.skeleton import COCO
from common.topdown import boxes, heatmap_decoding, pipeline
from common.topdown.heatmap_decoding import decode
from common.topdown.pipeline import Estimator

import numpy as np
import pytest

NO_FLAGS = quantization.TopDownFlags(calibration_people=4, sensitivity_people=2)


def test_damage_of_maps_that_are_known():
    maps = np.zeros((1, 3, 16, 12), np.float32)
    maps[0, 0, 4, 4], maps[0, 1, 8, 8], maps[0, 2, 10, 3] = 0.8, 0.5, 0.1  # the last one is no confident keypoint
    other = np.roll(maps, 1, axis=3)  # by a cell: kept
    other[0, 1], other[0, 1, 12, 5] = 0, 0.5  # by 5: another place
    damage = quantization.compare([(maps,)], [[maps]], lambda _: [other], decode)
    assert (damage.peaks, damage.peaks_kept) == (2, 1) and damage.part_lost == 0.5
    assert damage.cells_moved == pytest.approx((1 + 5) / 2) and damage.heatmaps_largest == pytest.approx(1)
    assert damage.mean_difference == pytest.approx((2 * 0.8 + 2 * 0.5 + 2 * 0.1) / maps.size / 0.8)
    nothing = quantization.compare([(maps,)], [[0 * maps]], lambda _: [0 * maps], decode)
    assert (nothing.peaks, nothing.part_lost, nothing.harm) == (0, 0, (0, 0))


@pytest.mark.parametrize("flip", [None, COCO.keypoint_flip])
@pytest.mark.parametrize("fixed_batch", [None, 3])
def test_calibration_sees_what_an_evaluation_shows(tiny_coco: Path, flip, fixed_batch):
    validation = Validation.load(annotation_file(tiny_coco, "val"), image_folder(tiny_coco, "val"), COCO, 0)
    people = boxes.annotated(validation, boxes.PeopleRule())
    seen = []

    def forward(inputs: np.ndarray) -> np.ndarray:
        seen.append(inputs)
        return np.zeros((len(inputs), COCO.num_keypoints, 8, 6), np.float32)

    estimator = Estimator((32, 24), COCO.num_keypoints, lambda crops: crops.transpose(0, 3, 1, 2) / np.float32(255),
                          forward, heatmap_decoding.decode, flip, fixed_batch=fixed_batch)  # fmt: skip
    task = quantization.task(NO_FLAGS, (validation, people), estimator, lambda images: [(images,)], {"boxes": "given"})
    assert len(task.names) == 4 and task.described == f"4 people of {validation.annotations}"
    given = [arrays for (arrays,) in task.inputs()]
    chosen = people.select(np.unique(np.linspace(0, len(people) - 1, 4).round().astype(int)))
    pipeline.estimate_boxes(estimator, validation, chosen, batch_size=1)
    assert len(given) == len(seen) == (2 if fixed_batch else 4) * (1 if flip is None else 2)
    for mine, theirs in zip(given, seen, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    facts = {"annotations": str(validation.annotations)}
    again = quantization.task(NO_FLAGS, (validation, people), estimator, lambda images: [(images,)], facts)
    assert again.described == f"{task.described} (on which AP is measured, too)"
    assert task.protocol == {"boxes": "given", "calibrated_on": str(validation.annotations)}


def test_people_with_a_confident_keypoint_are_counted():
    keypoints = np.zeros((3, 2, 3))
    keypoints[0, 1, 2], keypoints[1, :, 2] = 0.9, 0.1
    people = Detections(np.array([1, 1, 2]), keypoints, np.ones(3))
    found = SimpleNamespace(metrics={"AP": 0.5}, detections=people)
    assert quantization.score(found) == Score(0.5, 1)
