# SPDX-License-Identifier: Apache-2.0
"""The evaluation of a network that knows the answers, one set a lambda, see `common.test.top_down_oracle`.

`python -m common.launch --ranks=N --log_dir=L -m MIPNet.test.oracle COCO_FOLDER` writes metrics and people to
<COCO_FOLDER>/oracle.json.
"""

import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import common.distributed
from common.coco.evaluate import EvaluationSet
from common.runtime.session import Session
from common.test import top_down_oracle
from common.topdown.crops import PersonBoxes
from common.topdown.pipeline import Evaluation
from MIPNet.config import Config, parse
from MIPNet.data import neighbours
from MIPNet.eval import Evaluator
from MIPNet.predict import MergedPeople, PoseEstimator, normalise_crops

import numpy as np

SIGMA = 2.0
PAIRS = ("MODEL.NAME", "pose_hrnet_se_lambda")


def config_of(folder: Path, *words: object) -> Config:
    """Settings of an evaluation without flip test, unless `words` say something else."""
    sizes = ("--image_size=128,96", "--heatmap_size=32,24")
    return parse(
        [f"--data_path={folder}", *sizes, "TEST.FLIP_TEST", "false", "MODEL.NUM_JOINTS", "0", *map(str, words)]
    )


def oracle(config: Config, images: EvaluationSet, boxes: PersonBoxes, people: Sequence[np.ndarray]) -> Session:
    """`people`: for each mode, the rows of who is in each box."""
    seen = functools.partial(normalise_crops, color_rgb=config.yaml.DATASET.COLOR_RGB)
    return top_down_oracle.session(images, boxes, people, config.size_in, seen, config.load_skeleton(), SIGMA)


def evaluate_oracle(config: Config) -> Evaluation[MergedPeople]:
    """The evaluation of a perfect network in given boxes; for lambda 0 it finds the nearest other person."""
    evaluator = Evaluator(config)
    images, boxes = evaluator.validation, evaluator.boxes
    others = boxes.person_rows[neighbours(boxes)]
    people = [others, boxes.person_rows] if config.takes_lambda else [boxes.person_rows]
    estimator = PoseEstimator.of_session(oracle(config, images, boxes, people), config)
    estimator.batch_size = 4
    return evaluator(estimator)


def main(folder: Path) -> None:
    with common.distributed.process_group("cpu"):
        result = evaluate_oracle(config_of(folder, *PAIRS))
        if common.distributed.is_main():
            (folder / "oracle.json").write_text(json.dumps([result.metrics, result.detections.to_json()]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
