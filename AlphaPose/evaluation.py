# SPDX-License-Identifier: Apache-2.0
"""AP of a network on people in given or detected boxes: the same during training, from `eval.py`, on any ranks.

The protocols are those of spec A2.4. They give numbers that cannot be compared with each other.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import common.coco.evaluate
import common.distributed
import common.topdown.nms
from AlphaPose.config import BOX_PADDING, Config
from AlphaPose.inference import InputRule, estimator, rule_of
from AlphaPose.pose_nms import pose_nms
from AlphaPose.preparation import Split, located
from AlphaPose.scoring import given_box_scores, proposal_scores
from common.arrays import FloatArray, Int64Array
from common.coco.evaluate import Detections, EvaluationSet
from common.media.sheets import leave_sheet
from common.runtime.session import of_module
from common.skeleton import Skeleton
from common.topdown import boxes, crops, pipeline
from common.topdown.boxes import PeopleRule, PersonBoxes
from common.topdown.pipeline import Estimator
from common.train.log import Log

import numpy as np
import torch
from torch import nn

Nms = Literal["none", "oks", "pose"]
Scores = Literal["proposal", "box"]
ACCELERATOR_BATCH, CPU_BATCH = 64, 8  # people at once; a CPU gains nothing from more
PEOPLE_RULE = PeopleRule(crops.clip_boxes)
SHEET_ROWS, DRAWN_ABOVE = 6, 0.3  # images shown at each evaluation while training; score of a keypoint that is drawn


@dataclass(frozen=True)
class Protocol:
    """What people count as, once their keypoints are found."""

    detected: bool = False  # boxes of a detector; else those of annotated people
    scores: Scores = "proposal"  # of people in detected boxes: AlphaPose's own; "box": the Ascend version's
    nms: Nms = "none"


@dataclass
class Evaluation:
    """What an evaluation found, and where its time went."""

    metrics: dict[str, float]
    detections: Detections
    num_images: int
    num_boxes: int
    seconds: dict[str, float]  # of this rank: read, crop, network, decode (side by side), nms, evaluation; total
    skipped: list[str] = field(default_factory=list)


def evaluate(
    network: Estimator,
    validation: EvaluationSet,
    looked_for: PersonBoxes,
    skeleton: Skeleton,
    batch_size: int,
    protocol: Protocol = Protocol(),
    skip_bad: bool = False,
    readers: int = pipeline.READERS,
) -> Evaluation:
    """AP over all images of `validation`; every rank takes its share of them and gets the whole result.

    Raises ImageError for an unreadable image, unless `skip_bad`: then it is counted and has no people.
    """
    began = time.perf_counter()
    estimates = pipeline.estimate_boxes(network, validation, looked_for, batch_size, skip_bad, readers)
    estimated = time.perf_counter()
    found = looked_for.select(estimates.found)
    keypoints = estimates.keypoints_img[estimates.found]
    detections = count_people(keypoints, found, validation.index.image_ids, network.size_in, skeleton, protocol)
    measured = time.perf_counter()
    metrics = common.distributed.broadcast_object(
        validation.average_precision(detections, skeleton.sigmas) if common.distributed.is_main() else {}
    )
    ended = time.perf_counter()
    seconds = {"nms": measured - estimated, "evaluation": ended - measured, "total": ended - began}
    images, people = len(validation.rows), len(looked_for)
    return Evaluation(metrics, detections, images, people, {**estimates.seconds, **seconds}, estimates.skipped)


def count_people(
    keypoints_img: FloatArray, found: PersonBoxes, image_ids: Int64Array, size_in: crops.Size, skeleton: Skeleton,
    protocol: Protocol,
) -> Detections:  # fmt: skip
    """Keypoints (N, K, 3) of N boxes -> people with a score, suppressed as the protocol says.

    `image_ids`: of the index that the boxes are of. Areas and reach of the suppressions are those of the crops.
    """
    ids = image_ids[found.image_rows]
    if not protocol.detected:
        return Detections(ids, keypoints_img, _float64(given_box_scores(keypoints_img[..., 2])))
    centres, sizes = crops.fit_boxes(found.boxes_img, size_in, BOX_PADDING)
    if protocol.nms == "pose":
        merged = pose_nms(keypoints_img, crops.crop_corners(centres, sizes), found.scores, found.image_rows)
        return Detections(ids[merged.picks], merged.keypoints_img, _float64(merged.scores))
    proposal = protocol.scores == "proposal"
    scores = proposal_scores(keypoints_img[..., 2], found.scores) if proposal else found.scores
    if protocol.nms == "none":
        return Detections(ids, keypoints_img, _float64(scores))
    scores = common.topdown.nms.confident_mean(keypoints_img[..., 2]) * scores
    kept = common.topdown.nms.oks_nms(
        keypoints_img, sizes.prod(axis=1), scores, skeleton.sigmas, images=found.image_rows
    )
    return Detections(ids[kept], keypoints_img[kept], _float64(scores[kept]))


def _float64(scores: FloatArray) -> np.ndarray:
    return scores.astype(np.float64)


def boxes_of(validation: EvaluationSet, detections: Path | None, min_score: float = 0.0) -> PersonBoxes:
    """The boxes of a detection file, or None: those of the annotated people whom AlphaPose counts. Raises UserError."""
    if detections is None:
        return boxes.annotated(validation, PEOPLE_RULE)
    return boxes.detected(detections, validation, min_score)


def evaluate_while_training(
    model: nn.Module,
    validation: EvaluationSet,
    given: PersonBoxes,
    rule: InputRule,
    skeleton: Skeleton,
    device: torch.device,
    dtype: torch.dtype | None,
    log: Log,
    pictures: Path,
) -> dict[str, float]:
    """Metrics of the weights as they are now, in given boxes; a sheet of predictions goes to the log and `pictures`."""
    session = of_module(model.eval(), device, dtype)
    result = evaluate(estimator(session, rule, skeleton), validation, given, skeleton, default_batch(device))
    log.line(f"evaluate elapsed time : {result.seconds['total']:.1f} s, {result.num_boxes} people in given boxes")
    leave_sheet(log, pictures, validation, result.detections, skeleton, SHEET_ROWS, DRAWN_ABOVE)
    return result.metrics


def while_training(
    config: Config, skeleton: Skeleton, device: torch.device, dtype: torch.dtype | None, log: Log, folder: Path
) -> Callable[[nn.Module], dict[str, float]]:
    """What the training loop calls at every `snapshot` epochs. `folder`: of the run. Raises UserError."""
    validation = load_validation(config, skeleton, config.val_images)
    validation.check()
    return functools.partial(
        evaluate_while_training, validation=validation, given=boxes_of(validation, None), rule=rule_of(config),
        skeleton=skeleton, device=device, dtype=dtype, log=log, pictures=folder / "pictures",
    )  # fmt: skip


def load_validation(config: Config, skeleton: Skeleton, num_images: int, split: Split = "VAL") -> EvaluationSet:
    """The images of a part of the data, `num_images` of them or 0 for all. Raises UserError where they are not."""
    annotations, folder = located(config, split, "ANN"), located(config, split, "IMG_PREFIX")
    return EvaluationSet.load(annotations, folder, skeleton, num_images, config.exif)


def default_batch(device: torch.device) -> int:
    """People that are worth taking at once."""
    return CPU_BATCH if device.type == "cpu" else ACCELERATOR_BATCH
