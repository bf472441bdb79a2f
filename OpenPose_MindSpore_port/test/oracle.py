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
from common.coco.evaluate import EvaluationSet
from common.runtime.session import Session
from common.skeleton import OPENPOSE
from OpenPose_MindSpore_port.config import DataFlags, Inference
from OpenPose_MindSpore_port.data import to_points
from OpenPose_MindSpore_port.eval import evaluate, evaluation_set
from OpenPose_MindSpore_port.predict import PoseEstimator, input_size, to_input
from OpenPose_MindSpore_port.test.ideal_maps import drawn

import numpy as np

SETTINGS = Inference(inference_img_size=128)


class Oracle:
    """Answers as a network: [images (B, 3, H, W)] -> [pafs, heatmaps]."""

    def __init__(self, validation: EvaluationSet) -> None:
        self.maps = {}
        for row in validation.rows.tolist():
            image = validation.read(row)
            size_img = image.shape[:2]
            size_in = input_size(size_img, SETTINGS.inference_img_size)
            people = validation.index.people(row)
            labelled = (validation.index.num_keypoints[people] > 0) & ~validation.index.is_crowd[people]
            points = to_points(validation.index.keypoints[people][labelled], OPENPOSE)
            points[..., :2] *= np.array(size_in[::-1]) / size_img[::-1]
            self.maps[to_input(image, size_in).tobytes()] = drawn(points, size_in, OPENPOSE)[::-1]

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        found = [self.maps[image.tobytes()] for image in inputs[0]]
        return [np.stack([maps[kind] for maps in found]) for kind in (0, 1)]

    def estimator(self) -> PoseEstimator:
        """As a network."""
        return PoseEstimator.of_session(Session("oracle", "memory", self), settings=SETTINGS)


def validation_in(folder: Path) -> EvaluationSet:
    """The validation images of a COCO folder."""
    return evaluation_set(DataFlags(data_dir=str(folder)), OPENPOSE)


def main(folder: Path) -> None:
    with common.distributed.process_group("cpu"):
        validation = validation_in(folder)
        result = evaluate(Oracle(validation).estimator(), validation, batch_size=2)
        if common.distributed.is_main():
            content = {"metrics": result.metrics, "detections": len(result.detections), "images": result.num_images}
            (folder / f"oracle_{common.distributed.world_size()}.json").write_text(json.dumps(content))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
