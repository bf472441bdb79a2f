# SPDX-License-Identifier: Apache-2.0
"""An exported network in INT8 that finds the same keypoints, or no file at all.

python -m AlphaPose.quantize --model=fast_pose.onnx --data_path=/data/coco
python -m AlphaPose.quantize --model=fast_pose.onnx --data_path=/data/coco --detections=boxes.json --nms=pose

Calibrated with annotated training people, see `common.runtime.quantize`. AP is measured as `eval.py` does, with ONNX
Runtime and OpenVINO where it is installed: both run the file. A report in JSON lies beside it. Where AP falls by more
than `--max_ap_drop`, nothing is written and the program ends with exit code 2.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import common.cli
from AlphaPose import examination
from AlphaPose.evaluation import boxes_of, load_validation
from AlphaPose.examination import Conditions, Examination
from common.cli import UserError, flag
from common.runtime import quantize
from common.runtime.quantize import Flags, Inputs, Score, Task
from common.runtime.session import Session
from common.topdown import pipeline
from common.topdown.nms import CONFIDENT

import torch

EXPORTER = "python -m AlphaPose.export"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Config(Flags, Conditions):
    """Quantizes an exported network of AlphaPose to INT8 and keeps it only where it finds the same people."""

    data_path: str = flag("folder of the data set to calibrate and to measure AP on, or `mini`", "")
    calibration_people: int = flag(
        "spread evenly over the training people, else over those of the validation", 64, least=1
    )

    def check(self) -> None:
        """Raises UserError for values that make no sense."""
        self.check_flags(EXPORTER)
        self.check_conditions()
        if not self.data_path:
            raise UserError("--data_path is needed to calibrate and to measure AP: a data set's folder, or `mini`")


def main() -> None:
    """Reads the flags, quantizes, says what was written."""
    config = common.cli.parse(Config, {}, aliases=examination.ALIASES, retired=quantize.RETIRED)
    config.check()
    quantize.check(config.source)
    recipe = config.recipe(config.source)
    skeleton = examination.skeleton_of(recipe)
    session = quantize.open_on_cpu(config.source)
    maps = session.outputs[-1].shape
    if len(session.inputs) != 1 or len(maps) != 4 or maps[1] not in (None, skeleton.num_keypoints):  # (B, K, h, w)
        raise UserError(f"{config.source}: is another network: it must draw a map for each of {skeleton.num_keypoints} "
                        f"keypoints; export it with {EXPORTER}, and name its skeleton with --skeleton")  # fmt: skip
    examined = examination.prepare(config, recipe, skeleton)
    quantize.run(config, task_of(examined, session, config.calibration_people))


def task_of(examined: Examination, session: Session, calibration_people: int) -> Task:
    """Annotated training people to calibrate with, where the data set has such; the evaluation that scores."""
    recipe, estimator = examined.recipe, examined.estimator(session)
    try:
        images = load_validation(recipe, examined.skeleton, 0, "TRAIN")
    except UserError:  # a data set without training people
        images = load_validation(recipe, examined.skeleton, 0, examined.conditions.split)
    boxes = boxes_of(images, None)
    boxes = boxes.select(quantize.spread(len(boxes), calibration_people))

    def score(network: Session) -> Score:
        result = examined.evaluate(network, CPU)
        return Score(result.metrics["AP"], int((result.detections.keypoints[..., 2] > CONFIDENT).any(axis=1).sum()))

    def inputs() -> Iterator[Inputs]:
        crops = pipeline.network_inputs(pipeline.pictures_of(images, boxes, boxes.by_image()), estimator)
        return ((batch,) for batch in crops)

    return Task(score, inputs, f"{len(boxes)} people of {images.annotations}", examined.protocol(estimator))


if __name__ == "__main__":
    common.cli.run(main)
