# SPDX-License-Identifier: Apache-2.0
"""Evaluates a network that knows the answers: `python -m common.launch --ranks=N --log_dir=L -m ...oracle COCO_FOLDER`.

It returns the ideal maps of the image it is shown, so the AP of the whole evaluation must be that of decoded ground
truth, on any number of ranks. Writes metrics and the number of detections to <COCO_FOLDER>/oracle_<ranks>.json.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import common.distributed
from common.bottomup.pipeline import evaluate
from common.coco.evaluate import EvaluationSet
from common.runtime.session import Session
from common.skeleton import OPENPOSE
from Lightweight_OpenPose.config import DataFlags
from Lightweight_OpenPose.eval import load_validation
from Lightweight_OpenPose.predict import InputRule, ValidationEstimator
from Lightweight_OpenPose.test import ideal_maps

import numpy as np

RULE = InputRule(128)


class Oracle:
    """Answers as a network: [images (B, 3, H, W)] -> [heatmaps, pafs]."""

    def __init__(self, validation: EvaluationSet) -> None:
        self.maps = {}
        for row in validation.rows.tolist():
            *maps, place = ideal_maps.of_image(validation.index, row, RULE)
            self.maps[ValidationEstimator.to_input(validation.read(row), place).tobytes()] = maps

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        found = [self.maps[image.tobytes()] for image in inputs[0]]
        return [np.stack([maps[kind] for maps in found]) for kind in (0, 1)]


def validation_of(folder: Path) -> EvaluationSet:
    """The validation images of a COCO folder."""
    return load_validation(DataFlags(str(folder)), OPENPOSE)


def main(folder: Path) -> None:
    with common.distributed.process_group("cpu"):
        validation = validation_of(folder)
        session = Session("oracle", "memory", Oracle(validation))
        result = evaluate(ValidationEstimator.of_session(session, OPENPOSE, input_rule=RULE), validation, batch_size=2)
        if common.distributed.is_main():
            content = {"metrics": result.metrics, "detections": len(result.detections), "images": result.num_images}
            (folder / f"oracle_{common.distributed.world_size()}.json").write_text(json.dumps(content))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
