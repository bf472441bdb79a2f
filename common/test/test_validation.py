# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from common.coco.evaluate import Detections, EvaluationSet
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
