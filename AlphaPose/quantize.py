# SPDX-License-Identifier: Apache-2.0
"""An exported network in INT8 that finds the same keypoints, or no file at all.

python -m AlphaPose.quantize --model=fast_pose.onnx --data_path=/data/coco
python -m AlphaPose.quantize --model=fast_pose.onnx --data_path=/data/coco --detections=boxes.json --nms=pose

Quantised after training, from annotated training people, see `common.quantization`. AP is measured as `eval.py` does,
with every runtime that is installed. The file, an ONNX with QDQ nodes, serves ONNX Runtime and OpenVINO; a report in
JSON lies beside it. Where AP falls by more than `--max_ap_drop`, nothing is written and the program ends with exit
code 2.
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

import common.cli
from AlphaPose import examination
from AlphaPose.evaluation import boxes_of, load_validation
from AlphaPose.examination import Conditions, Examination
from common import qdq, quantization, top_down_quantization
from common.coco.evaluation_set import Validation
from common.top_down_quantization import TopDownFlags
from common.topdown.boxes import PersonBoxes

import torch

EXPORTER = "python -m AlphaPose.export"
MOST_INPUTS = 1  # images


@dataclass(frozen=True)
class Config(TopDownFlags, Conditions):
    """Quantises an exported network of AlphaPose to INT8 and keeps it only where it finds the same people."""

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        self.check_top_down(EXPORTER)
        self.check_conditions()


def main() -> None:
    """Reads the flags, quantises, says what was written."""
    config = common.cli.parse(Config, {}, aliases=examination.ALIASES)
    config.check()
    qdq.check(config.source)
    recipe = config.recipe(config.source)
    skeleton = examination.skeleton_of(recipe)
    session = top_down_quantization.opened(config.source, skeleton.num_keypoints, MOST_INPUTS, EXPORTER)
    examined = examination.prepare(config, recipe, skeleton)
    network = examined.estimator(session)
    task = top_down_quantization.task(
        config, calibration_people(examined), network, lambda images: [(images,)], examined.protocol(network)
    )
    evaluate = functools.partial(examined.evaluate, device=torch.device("cpu"))
    judge = top_down_quantization.judge(config, evaluate, examined.validation, examined.boxes)
    quantization.run(config, judge, task)


def calibration_people(examined: Examination) -> tuple[Validation, PersonBoxes]:
    """The annotated training people of the data set, where it has such; else those of its validation images."""
    recipe = examined.recipe
    train = dataclasses.replace(recipe, val_labels=recipe.train_labels, val_images_folder=recipe.train_images_folder)
    is_there = all((Path(recipe.root) / place).exists() for place in (train.val_labels, train.val_images_folder))
    validation = load_validation(train if is_there else recipe, examined.skeleton, 0)
    return validation, boxes_of(validation, None)


if __name__ == "__main__":
    common.cli.run(main)
