# SPDX-License-Identifier: Apache-2.0
"""All of an evaluation but the network: the flags that decide on whom and by which rules AP is measured."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import common.coco.images
import common.distributed
import common.skeleton
from common.coco.evaluate import EvaluationSet
from common.coco.images import Exif
from common.runtime.session import Session
from common.skeleton import Skeleton
from common.topdown.boxes import PersonBoxes
from common.topdown.pipeline import Estimator
from MIPNet.config import Config, flag
from MIPNet.evaluation import (
    Evaluation,
    Nms,
    Protocol,
    batch_size_of,
    detections_of,
    evaluate,
    load_validation,
    looked_for,
    protocol_of,
)
from MIPNet.inference import LAMBDAS, InputRule, check_lambdas, estimator, fitting, recipe_of, rule_of
from MIPNet.preparation import check_joints

import torch

ALIASES = {"dataDir": "data_dir", "workers": "num_workers"}
PLACES = ("data_path", "data_dir", "val_labels", "val_images_folder", "skeleton")  # flags that are fields of a recipe


@dataclass(frozen=True)
class Conditions:
    """The flags of every program that measures AP."""

    cfg: str = flag("recipe file; empty: that of the checkpoint's training, or w48_384x288_adam_lr1e-3", "")
    data_path: str = flag("folder of the data set, or `mini` for the embedded one; empty: DATASET.ROOT of --cfg", "")
    detections: str = flag("boxes of a detector; empty: given boxes, unless TEST.USE_GT_BBOX is false", "")
    lambdas: tuple[float, ...] = flag("of the people in a box, for a network that takes lambda", LAMBDAS)
    nms: Nms = flag("of people found twice; recipe: OKS-NMS, on CrowdPose as published", "recipe")
    refinement: Literal["recipe", "none", "quarter", "dark"] = flag("of peaks; recipe: TEST.POST_PROCESS", "recipe")
    flip_test: bool = flag("mean of an image's maps and its mirror image's, where TEST.FLIP_TEST says so too", True)
    batch_size: int = flag("people at once; 0: TEST.BATCH_SIZE_PER_GPU, on a CPU 8", 0, most=10**6)
    data_dir: str = flag("DATA_DIR: DATASET.ROOT is in it", "")
    skeleton: str = flag("built-in name or YAML file of one's own keypoints; empty: that of the data set", "")
    val_labels: str = flag("in data_path; empty: DATASET.TEST_ANNOTATION_FILE of --cfg", "")
    val_images_folder: str = flag("in data_path; empty: DATASET.TEST_IMAGE_DIR of --cfg", "")
    val_images: int = flag("so many images; 0: all", 0)
    num_workers: int = flag("threads that read", 4, least=1, most=1024)
    exif: Exif = flag("images as they are stored (so COCO is annotated), or turned as EXIF says", "ignore")
    on_bad_image: Literal["error", "skip"] = flag("an unreadable image: stop, or count it as without people", "error")

    def check_conditions(self) -> None:
        """Raises UserError where values cannot be meant."""
        check_lambdas(self.lambdas)

    def fields(self, *more: str) -> dict[str, Any]:
        """The fields of a recipe that the flags give, those named `more` among them."""
        given = {name: getattr(self, name) for name in (*PLACES, *more) if getattr(self, name)}
        return given | ({"detections": self.detections, "given_boxes": False} if self.detections else {})

    def recipe(self, source: Path, given: dict[str, Any], pairs: dict[str, Any]) -> Config:
        """What recipe file, checkpoint `source`, the fields `given` and KEY VALUE words (`pairs`) say together.

        The data set is drawn or found.
        """
        recipe = recipe_of(self.cfg, source, given, pairs)
        folder = common.distributed.main_process_first(
            lambda: common.coco.images.data_folder(recipe.data_path, recipe.root)
        )
        flip_test = self.flip_test and recipe.flip_test
        return dataclasses.replace(recipe, data_path=str(folder), flip_test=flip_test, exif=self.exif)


@dataclass(frozen=True)
class Examination:
    """Boxes of people in annotated images, and the rules by which a network's keypoints in them count."""

    conditions: Conditions
    recipe: Config
    skeleton: Skeleton
    validation: EvaluationSet
    boxes: PersonBoxes

    def rule(self, session: Session) -> InputRule:
        """What goes into the network of a session, and which lambdas it is asked for."""
        asked = self.conditions
        rule = fitting(rule_of(self.recipe, asked.lambdas), session, asked.lambdas)
        return rule if asked.refinement == "recipe" else dataclasses.replace(rule, refinement=asked.refinement)

    def estimator(self, session: Session) -> Estimator:
        """The network of a session as it finds keypoints."""
        return estimator(session, self.rule(session), self.skeleton)

    def protocol(self, session: Session) -> Protocol:
        """What people count as, whom the network of a session finds."""
        return protocol_of(self.recipe, self.rule(session), self.conditions.nms)

    def evaluate(self, session: Session, device: torch.device) -> Evaluation:
        """What a network reaches, see `evaluation.evaluate`."""
        asked = self.conditions
        return evaluate(
            self.estimator(session), self.validation, self.boxes, self.skeleton,
            asked.batch_size or batch_size_of(self.recipe, device), self.protocol(session),
            asked.on_bad_image == "skip", asked.num_workers,
        )  # fmt: skip

    def facts(self, session: Session) -> dict[str, Any]:
        """How AP is measured, as it stands in the output: without it two numbers cannot be compared."""
        rule, protocol = self.rule(session), self.protocol(session)
        return {
            "boxes": str(detections_of(self.recipe) or "given"),
            "data_set": self.recipe.people_of,
            "annotations": str(self.validation.annotations),
            "images": len(self.validation.rows),
            "lambdas": protocol.lambdas or "none",
            "nms": protocol.nms_of(rule.modes),
            "flip_test": rule.flip_test,
            "refinement": rule.refinement,
            "input_size": rule.size_in,
        }


def skeleton_of(recipe: Config) -> Skeleton:
    """Whose keypoints. Raises UserError where the recipe has another number of them."""
    skeleton = common.skeleton.load(recipe.skeleton_name)
    check_joints(recipe, skeleton)
    return skeleton


def prepare(conditions: Conditions, recipe: Config, skeleton: Skeleton) -> Examination:
    """Reads annotations and boxes. Raises UserError where they are not, or hold nobody."""
    validation = load_validation(recipe, skeleton, conditions.val_images)
    return Examination(conditions, recipe, skeleton, validation, looked_for(recipe, validation))
