# SPDX-License-Identifier: Apache-2.0
"""The evaluation of a network that knows the answers, see `common.test.top_down_oracle`.

`python -m common.launch --ranks=N --log_dir=L -m AlphaPose.test.oracle COCO_FOLDER` writes metrics and people to
<COCO_FOLDER>/oracle.json.
"""

import json
import sys
from pathlib import Path

import common.distributed
from AlphaPose.config import Config
from AlphaPose.eval import EvaluationSettings, Evaluator
from AlphaPose.predict import PoseEstimator, normalise_crops
from common.coco.evaluate import Detections, EvaluationSet
from common.skeleton import COCO
from common.test import top_down_oracle
from common.topdown.crops import PersonBoxes
from common.topdown.pipeline import Evaluation

import numpy as np

SMALL = ("DATA_PRESET.IMAGE_SIZE", (128, 96), "DATA_PRESET.HEATMAP_SIZE", (32, 24))


def estimator(
    config: Config, images: EvaluationSet, boxes: PersonBoxes, people: np.ndarray, sigma=1.0
) -> PoseEstimator:
    """`people`: the rows of who is in each box."""
    session = top_down_oracle.session(images, boxes, [people], config.size_in, normalise_crops, COCO, sigma)
    return PoseEstimator.of_session(session, config)


def small(folder: Path, *opts: object, flip_test: bool = False) -> Config:
    """Settings for a COCO folder, with small crops."""
    return Config(data_path=str(folder), opts=(*SMALL, *opts), flip_test=flip_test)


def evaluate_oracle(config: Config, sigma: float = 1.0, batch_size: int = 4) -> Evaluation[Detections]:
    """The evaluation of a perfect network in given boxes."""
    evaluator = Evaluator(config, EvaluationSettings())
    oracle = estimator(config, evaluator.validation, evaluator.boxes, evaluator.boxes.person_rows, sigma)
    oracle.batch_size = batch_size
    return evaluator(oracle)


def main(folder: Path) -> None:
    with common.distributed.process_group("cpu"):
        result = evaluate_oracle(small(folder))
        if common.distributed.is_main():
            (folder / "oracle.json").write_text(json.dumps([result.metrics, result.detections.to_json()]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
