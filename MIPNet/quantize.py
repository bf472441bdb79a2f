# SPDX-License-Identifier: Apache-2.0
"""An exported network in INT8 that finds the same keypoints, or no file at all.

python -m MIPNet.quantize --model=mipnet.onnx --data_path=/data/coco
python -m MIPNet.quantize --lambda --model=mipnet.onnx --data_path=/data/coco --lambdas=0,1 TEST.FLIP_TEST false
python -m MIPNet.quantize --cfg experiments/crowdpose/hrnet/w48_384x288_adam_lr1e-3_lambda.yaml \
    --model=mipnet.onnx --data_path=/data/crowdpose

Quantised after training, from annotated training people, with every lambda that the network will be asked for, see
`common.quantization`. AP is measured as `eval.py` does, with every runtime that is installed. The file, an ONNX with
QDQ nodes, serves ONNX Runtime and OpenVINO; a report in JSON lies beside it. Where AP falls by more than
`--max_ap_drop`, nothing is written and the program ends with exit code 2.
"""

import dataclasses
import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import common.cli
from common import qdq, quantization, top_down_quantization
from common.cli import UserError
from common.coco.evaluation_set import Validation
from common.qdq import Inputs
from common.runtime.session import Array
from common.top_down_quantization import TopDownFlags
from common.topdown.boxes import PersonBoxes
from MIPNet import config as recipes
from MIPNet import examination, recipe_file
from MIPNet.evaluation import boxes_of, load_validation
from MIPNet.examination import Conditions, Examination
from MIPNet.inference import InputRule, with_lambda
from MIPNet.preparation import located

import torch

EXPORTER = "python -m MIPNet.export"
MOST_INPUTS = 2  # images and lambda vectors


@dataclass(frozen=True)
class Config(TopDownFlags, Conditions):
    """Quantises an exported network of MIPNet to INT8 and keeps it only where it finds the same people.

    KEY VALUE words change the recipe, such as TEST.FLIP_TEST false.
    """

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        self.check_top_down(EXPORTER)
        self.check_conditions()


def main() -> None:
    """Reads the flags, quantises, says what was written."""
    flags, pairs = recipe_file.split(sys.argv[1:])
    config = common.cli.parse(Config, {}, flags, examination.ALIASES, {}, recipe_file.published_words)
    config.check()
    qdq.check(config.source)
    recipe = config.recipe(config.source, config.fields(), recipe_file.fields_of(recipe_file.COMMAND_LINE, pairs))
    skeleton = examination.skeleton_of(recipe)
    session = top_down_quantization.opened(config.source, skeleton.num_keypoints, MOST_INPUTS, EXPORTER)
    examined = examination.prepare(config, recipe, skeleton)
    network, rule = examined.estimator(session), examined.rule(session)
    task = top_down_quantization.task(
        config, calibration_people(examined), network, lambda images: calls(images, rule), examined.facts(session)
    )
    evaluate = functools.partial(examined.evaluate, device=torch.device("cpu"))
    judge = top_down_quantization.judge(config, evaluate, examined.validation, examined.boxes)
    quantization.run(config, judge, task)


def calls(images: Array, rule: InputRule) -> Sequence[Inputs]:
    """How a network is asked about a batch: once, or once for each lambda."""
    return [with_lambda(images, value) for value in rule.lambdas] or [(images,)]


def calibration_people(examined: Examination) -> tuple[Validation, PersonBoxes]:
    """The annotated training people of the data set, where it has such; else those of its validation images."""
    recipe = examined.recipe
    train = dataclasses.replace(recipe, val_labels=recipe.train_labels, val_images_folder=recipe.train_images_folder)
    validation = load_validation(train if _is_there(train) else recipe, examined.skeleton, 0)
    return validation, boxes_of(validation, recipe.people_of, None)


def _is_there(recipe: recipes.Config) -> bool:
    """Whether the data set has what a recipe validates on; OCHuman, for one, has no training people."""
    try:
        return all(located(recipe, place, "") for place in (recipe.val_labels, recipe.val_images_folder))
    except UserError:
        return False


if __name__ == "__main__":
    common.cli.run(main)
