# SPDX-License-Identifier: Apache-2.0
"""Evaluates a network that knows the answers: `python -m common.launch --ranks=N --log_dir=L -m ...oracle COCO_FOLDER`.

It returns the ideal maps of the image it is shown, so the AP of the whole evaluation must be that of decoded ground
truth, on any number of ranks. Writes metrics and the number of detections to <COCO_FOLDER>/oracle_<ranks>.json.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import common.coco.images
import common.distributed
from common.coco.evaluate import EvaluationSet
from common.runtime.session import Session
from common.skeleton import OPENPOSE
from Lightweight_OpenPose.eval import evaluate
from Lightweight_OpenPose.predict import InputRule, PoseEstimator, scaled_letterbox, to_input
from Lightweight_OpenPose.test.ideal_maps import encoded

import numpy as np

BASE_HEIGHT = 128


class Oracle:
    """Answers as a network: [images (B, 3, H, W)] -> [heatmaps, pafs]."""

    def __init__(self, validation: EvaluationSet) -> None:
        self.maps = {}
        for row in validation.rows.tolist():
            image = validation.read(row)
            place = scaled_letterbox(image.shape[:2], BASE_HEIGHT)
            people = validation.index.people(row)
            labelled = (validation.index.num_keypoints[people] > 0) & ~validation.index.is_crowd[people]
            maps = encoded(validation.index.keypoints[people][labelled], place, OPENPOSE)
            self.maps[to_input(image, place).tobytes()] = maps

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        found = [self.maps[image.tobytes()] for image in inputs[0]]
        return [np.stack([maps[kind] for maps in found]) for kind in (0, 1)]

    def session(self) -> Session:
        """As a network."""
        return Session("oracle", "memory", self)


def main(folder: Path) -> None:
    with common.distributed.process_group("cpu"):
        validation = EvaluationSet.load(
            common.coco.images.annotation_file(folder, "val"),
            common.coco.images.image_folder(folder, "val"),
            OPENPOSE,
            0,
        )
        result = evaluate(
            PoseEstimator.of_session(Oracle(validation).session(), OPENPOSE),
            validation,
            InputRule(BASE_HEIGHT),
            batch_size=2,
        )
        if common.distributed.is_main():
            content = {"metrics": result.metrics, "detections": len(result.detections), "images": result.num_images}
            (folder / f"oracle_{common.distributed.world_size()}.json").write_text(json.dumps(content))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
