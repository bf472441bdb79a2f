# SPDX-License-Identifier: Apache-2.0
import dataclasses
from pathlib import Path

from common.coco.evaluate import Detections, EvaluationSet, no_detections
from common.media.sheets import draw_sheet
from common.skeleton import COCO

import numpy as np


def validation_in(folder: Path) -> EvaluationSet:
    return EvaluationSet.load(folder / "annotations" / "person_keypoints_val2017.json", folder / "val2017", COCO, 0)


def test_a_sheet_shows_what_is_above_the_threshold(tiny_coco: Path) -> None:
    validation = validation_in(tiny_coco)
    row = int(validation.index.image_rows([0])[0])
    keypoints = np.array(validation.index.keypoints[:1])
    keypoints[..., 2] = 0.2
    unsure = Detections(validation.index.image_ids[[row]], keypoints, np.ones(1))
    empty, drawn = (draw_sheet(validation, unsure, COCO, 1, threshold) for threshold in (0.3, 0.1))
    assert empty.shape == drawn.shape and (empty != drawn).any() and drawn.dtype == np.uint8


def test_a_sheet_shows_labelled_people_first_and_else_the_first_images(tiny_coco: Path) -> None:
    validation = validation_in(tiny_coco)
    nobody = no_detections(COCO.num_keypoints)
    counts = validation.index.num_keypoints.copy()
    first = int(validation.rows[0])
    counts[validation.index.people(first)] = 0
    without_first = dataclasses.replace(validation, index=dataclasses.replace(validation.index, num_keypoints=counts))
    from_second = dataclasses.replace(validation, rows=validation.rows[1:])
    expected = draw_sheet(from_second, nobody, COCO, 1)
    np.testing.assert_array_equal(draw_sheet(without_first, nobody, COCO, 1), expected)
    unlabelled = dataclasses.replace(validation.index, num_keypoints=np.zeros_like(counts))
    shown = draw_sheet(dataclasses.replace(validation, index=unlabelled), nobody, COCO, 2)
    np.testing.assert_array_equal(shown, draw_sheet(validation, nobody, COCO, 2))
