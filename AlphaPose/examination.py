# SPDX-License-Identifier: Apache-2.0
"""All of an evaluation but the network: the flags that decide on whom and by which rules AP is measured."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import common.skeleton
from AlphaPose.config import DEFAULT_CFG, Config, flag
from AlphaPose.evaluation import Evaluation, Nms, Protocol, Scores, boxes_of, default_batch, evaluate, load_validation
from AlphaPose.inference import estimator, recipe_of, rule_of
from AlphaPose.preparation import check_joints
from common.cli import UserError
from common.coco.evaluate import EvaluationSet
from common.coco.images import Exif
from common.runtime.session import Session
from common.skeleton import Skeleton
from common.topdown.boxes import PersonBoxes
from common.topdown.pipeline import Estimator

import torch

ALIASES = {"batch": "batch_size", "det_file": "detections", "nThreads": "num_workers", "workers": "num_workers"}


@dataclass(frozen=True)
class Conditions:
    """The flags of every program that measures AP."""

    cfg: str = flag("recipe file; what a checkpoint says of its own network stands above it", DEFAULT_CFG)
    data_path: str = flag("COCO folder, or `mini` for the embedded data set; empty: DATASET.TRAIN.ROOT of --cfg", "")
    boxes: Literal["given", "detected"] = flag("where people are: as annotated, or as a detector found them", "given")
    detections: str = flag("boxes of a detector, means --boxes=detected; empty: DATASET.TEST.DET_FILE of --cfg", "")
    min_score: float = flag("detected boxes below it are not taken", 0.0)
    nms: Nms = flag("of people in detected boxes, once their keypoints are known", "none")
    scores: Scores = flag("of people in detected boxes: AlphaPose's own, or the detector's as in the Ascend version",
                          "proposal")  # fmt: skip
    flip_test: bool = flag("mean of an image's maps and its mirror image's", False)
    batch_size: int = flag("people at once; 0: 64, on a CPU 8", 0, most=10**6)
    skeleton: str = flag("built-in name or YAML file of one's own keypoints; empty: the checkpoint's, or coco", "")
    val_labels: str = flag("inside data_path; empty: DATASET.VAL.ANN of --cfg", "")
    val_images_folder: str = flag("inside data_path; empty: DATASET.VAL.IMG_PREFIX of --cfg", "")
    val_images: int = flag("so many images; 0: all", 0)
    num_workers: int = flag("threads that read", 4, least=1, most=1024)
    exif: Exif = flag("images as they are stored (so COCO is annotated), or turned as EXIF says", "ignore")
    on_bad_image: Literal["error", "skip"] = flag("an unreadable image: stop, or count it as without people", "error")

    def check_conditions(self) -> None:
        """Raises UserError where values cannot be meant."""
        if not self.detected and (self.nms != "none" or self.scores != "proposal"):
            raise UserError("--nms and --scores are for detected boxes: add --detections=FILE or --boxes=detected")

    @property
    def detected(self) -> bool:
        """Whether boxes come from a detector."""
        return self.boxes == "detected" or bool(self.detections)

    @property
    def split(self) -> Literal["VAL", "TEST"]:
        """The section of DATASET that says where images and annotations are."""
        return "TEST" if self.detected else "VAL"

    def recipe(self, source: Path, **own: Any) -> Config:
        """What the file, the checkpoint `source`, the flags and `own` say together."""
        places = (("ANN", self.val_labels), ("IMG_PREFIX", self.val_images_folder), ("DET_FILE", self.detections))
        opts = [word for name, value in places if value for word in (f"DATASET.{self.split}.{name}", value)]
        flags = {"skeleton": self.skeleton} if self.skeleton else {}
        return recipe_of(
            self.cfg, source, opts, data_path=self.data_path, exif=self.exif, flip_test=self.flip_test, **flags, **own
        )


@dataclass(frozen=True)
class Examination:
    """Boxes of people in annotated images, and the rules by which a network's keypoints in them count."""

    conditions: Conditions
    recipe: Config
    skeleton: Skeleton
    validation: EvaluationSet
    boxes: PersonBoxes

    @property
    def detections(self) -> Path | None:
        """The file of a detector's boxes, None where they are given."""
        return Path(self.recipe.yaml.DATASET.TEST.DET_FILE) if self.conditions.detected else None

    def estimator(self, session: Session) -> Estimator:
        """The network of a session as it finds keypoints."""
        return estimator(session, rule_of(self.recipe), self.skeleton)

    def evaluate(self, session: Session, device: torch.device) -> Evaluation:
        """What a network reaches, see `evaluation.evaluate`."""
        asked = self.conditions
        return evaluate(
            self.estimator(session), self.validation, self.boxes, self.skeleton,
            asked.batch_size or default_batch(device), Protocol(asked.detected, asked.scores, asked.nms),
            asked.on_bad_image == "skip", asked.num_workers,
        )  # fmt: skip

    def protocol(self, network: Estimator) -> dict[str, Any]:
        """How AP is measured: without it two numbers cannot be compared."""
        return {
            "boxes": str(self.detections or "given"), "people": len(self.boxes), "images": len(self.validation.rows),
            "scores": self.conditions.scores if self.detections else "given box", "nms": self.conditions.nms,
            "flip_test": self.conditions.flip_test, "annotations": str(self.validation.annotations),
            "input_size": network.size_in,
        }  # fmt: skip


def skeleton_of(recipe: Config) -> Skeleton:
    """Whose keypoints. Raises UserError where the recipe has another number of them."""
    skeleton = common.skeleton.load(recipe.skeleton)
    check_joints(recipe, skeleton)
    return skeleton


def prepare(conditions: Conditions, recipe: Config, skeleton: Skeleton) -> Examination:
    """Reads annotations and boxes. Raises UserError where they are not, or hold nobody."""
    validation = load_validation(recipe, skeleton, conditions.val_images, conditions.split)
    detections = Path(recipe.yaml.DATASET.TEST.DET_FILE) if conditions.detected else None
    boxes = boxes_of(validation, detections, conditions.min_score)
    return Examination(conditions, recipe, skeleton, validation, boxes)
