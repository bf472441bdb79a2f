# SPDX-License-Identifier: Apache-2.0
"""An exported network in INT8 that finds the same keypoints, or no file at all.

python -m MIPNet.quantize --model=mipnet.onnx --data_path=/data/coco
python -m MIPNet.quantize --lambda --model=mipnet.onnx --data_path=/data/coco --lambdas=0,1 TEST.FLIP_TEST false
python -m MIPNet.quantize --cfg experiments/crowdpose/hrnet/w48_384x288_adam_lr1e-3_lambda.yaml \
    --model=mipnet.onnx --data_path=/data/crowdpose

Calibrated with annotated training people and every lambda that the network will be asked for, see
`common.runtime.quantize`. AP is measured as `eval.py` does, with ONNX Runtime and OpenVINO where it is installed: both
run the file. A report in JSON lies beside it. Where AP falls by more than `--max_ap_drop`, nothing is written and the
program ends with exit code 2.
"""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import common.cli
from common.arrays import Float32Array
from common.cli import UserError, flag
from common.runtime import quantize
from common.runtime.quantize import Flags, Inputs, Score, Task
from common.runtime.session import Session
from common.topdown import pipeline
from common.topdown.nms import CONFIDENT
from MIPNet import config as recipes
from MIPNet import examination, recipe_file
from MIPNet.evaluation import boxes_of, load_validation
from MIPNet.examination import Conditions, Examination
from MIPNet.inference import InputRule, with_lambda
from MIPNet.preparation import located

import torch

EXPORTER = "python -m MIPNet.export"
MOST_INPUTS = 2  # images and lambda vectors
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Config(Flags, Conditions):
    """Quantizes an exported network of MIPNet to INT8 and keeps it only where it finds the same people.

    KEY VALUE words change the recipe, such as TEST.FLIP_TEST false.
    """

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
    flags, pairs = recipe_file.split(sys.argv[1:])
    config = common.cli.parse(Config, {}, flags, examination.ALIASES, quantize.RETIRED, recipe_file.published_words)
    config.check()
    quantize.check(config.source)
    recipe = config.recipe(config.source, config.fields(), recipe_file.fields_of(recipe_file.COMMAND_LINE, pairs))
    skeleton = examination.skeleton_of(recipe)
    session = quantize.open_on_cpu(config.source)
    maps = session.outputs[-1].shape
    if (
        len(session.inputs) > MOST_INPUTS or len(maps) != 4 or maps[1] not in (None, skeleton.num_keypoints)
    ):  # (B, K, h, w)
        raise UserError(f"{config.source}: is another network: it must draw a map for each of {skeleton.num_keypoints} "
                        f"keypoints; export it with {EXPORTER}, and name its skeleton with --skeleton")  # fmt: skip
    examined = examination.prepare(config, recipe, skeleton)
    quantize.run(config, task_of(examined, session, config.calibration_people))


def task_of(examined: Examination, session: Session, calibration_people: int) -> Task:
    """Annotated training people to calibrate with, where the data set has such; the evaluation that scores."""
    recipe, estimator, rule = examined.recipe, examined.estimator(session), examined.rule(session)
    train = dataclasses.replace(recipe, val_labels=recipe.train_labels, val_images_folder=recipe.train_images_folder)
    images = load_validation(train if _is_there(train) else recipe, examined.skeleton, 0)
    boxes = boxes_of(images, recipe.people_of, None)
    boxes = boxes.select(quantize.spread(len(boxes), calibration_people))

    def score(network: Session) -> Score:
        result = examined.evaluate(network, CPU)
        return Score(result.metrics["AP"], int((result.detections.keypoints[..., 2] > CONFIDENT).any(axis=1).sum()))

    def inputs() -> Iterator[Inputs]:
        crops = pipeline.network_inputs(pipeline.pictures_of(images, boxes, boxes.by_image()), estimator)
        return (arrays for batch in crops for arrays in calls(batch, rule))

    return Task(score, inputs, f"{len(boxes)} people of {images.annotations}", examined.facts(session))


def calls(images: Float32Array, rule: InputRule) -> Sequence[Inputs]:
    """How a network is asked about a batch: once, or once for each lambda."""
    return [with_lambda(images, value) for value in rule.lambdas] or [(images,)]


def _is_there(recipe: recipes.Config) -> bool:
    """Whether the data set has what a recipe validates on; OCHuman, for one, has no training people."""
    try:
        return all(located(recipe, place, "") for place in (recipe.val_labels, recipe.val_images_folder))
    except UserError:
        return False


if __name__ == "__main__":
    common.cli.run(main)
