# SPDX-License-Identifier: Apache-2.0
"""AP of a network on people in given or detected boxes: the same during training, from `eval.py`, on any ranks.

COCO, CrowdPose and OCHuman (spec A1.7, A3). A network with lambda finds several people in a box: the modes are merged,
and each mode alone counts too. Numbers of different protocols cannot be compared, so each says its own.
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import common.coco.evaluate
import common.distributed
from common.arrays import FloatArray
from common.coco.evaluate import Detections, EvaluationSet
from common.media.sheets import leave_sheet
from common.runtime.session import of_module
from common.skeleton import Skeleton
from common.topdown import boxes, crops, pipeline
from common.topdown.boxes import PeopleRule, PersonBoxes
from common.topdown.nms import CONFIDENT, OKS_THRESHOLD
from common.topdown.pipeline import Estimator
from common.train.log import Log
from MIPNet.config import Config
from MIPNet.data import WITHOUT_AREAS
from MIPNet.inference import InputRule, estimator, for_inference, rule_of
from MIPNet.merging import BoxPeople, MergedPeople, MergeRules, decay_modes, merge_modes
from MIPNet.model import GatedNetwork
from MIPNet.preparation import located

import numpy as np
import torch
from torch import nn

Nms = Literal["recipe", "none", "oks", "soft"]
ACCELERATOR_BATCH, CPU_BATCH = 48, 8  # people at once; a CPU gains nothing from more
SHEET_ROWS, DRAWN_ABOVE = 6, 0.3  # images shown at each evaluation while training; score of a keypoint that is drawn
NOBODY = -1  # in place of an annotation's id (published)
WITHOUT_NMS = "crowdpose"  # the original suppresses nobody there, which finds each person of merged modes twice
# as the publication heads the columns of its table
TITLES = {
    "AP": "AP", "AP50": "AP .5", "AP75": "AP .75", "APm": "AP (M)", "APl": "AP (L)",
    "AR": "AR", "AR50": "AR .5", "AR75": "AR .75", "ARm": "AR (M)", "ARl": "AR (L)",
    "APeasy": "AP (easy)", "APmed": "AP (medium)", "APhard": "AP (hard)",
}  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """What people count as, once their keypoints are found."""

    people_of: Any = "coco"  # whose rules: "coco", "crowdpose" or "ochuman"
    lambdas: tuple[float, ...] = ()  # the modes; none for a network without lambda
    nms: Nms = "recipe"  # OKS-NMS; on CrowdPose, as the original, none but for merged modes
    joint_threshold: float = CONFIDENT  # of a keypoint's score, to count in the person's
    oks_threshold: float = OKS_THRESHOLD
    decay: float = 0.5  # what a box counts for lambda 0

    def nms_of(self, modes: int) -> Nms:
        """How people are suppressed who were found by so many modes."""
        if self.nms != "recipe":
            return self.nms
        return "none" if self.people_of == WITHOUT_NMS and modes == 1 else "oks"

    def rules(self, modes: int) -> MergeRules:
        """Those of people who were found by so many modes."""
        nms = self.nms_of(modes)
        return MergeRules(self.joint_threshold, None if nms == "none" else self.oks_threshold, nms == "soft")


def protocol_of(config: Config, rule: InputRule, nms: Nms = "recipe") -> Protocol:
    """The protocol of a recipe for a network's modes."""
    nms = "soft" if config.soft_nms and nms == "recipe" else nms
    return Protocol(
        config.people_of, rule.lambdas, nms, config.joint_threshold, config.oks_threshold, config.other_decay
    )


@dataclass
class Evaluation:
    """What an evaluation found, and where its time went. `by_lambda`: of each mode alone, where there are several."""

    metrics: dict[str, float]
    people: MergedPeople
    num_images: int
    num_boxes: int
    seconds: dict[str, float]  # of this rank: read, crop, network, decode (side by side), merge, evaluation; total
    by_lambda: dict[float, dict[str, float]] = field(default_factory=dict)
    people_by_lambda: dict[float, MergedPeople] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    found: PersonBoxes | None = None  # the boxes whose images could be read: the rows of `MergedPeople.boxes`

    @property
    def detections(self) -> Detections:
        """The people of all modes."""
        return self.people.detections


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

    Raises ImageError for an unreadable image, unless `skip_bad`: then it is counted and has no people. UserError for
    CrowdPose annotations without `crowdIndex`.
    """
    began = time.perf_counter()
    estimates = pipeline.estimate_boxes(network, validation, looked_for, batch_size, skip_bad, readers)
    estimated = time.perf_counter()
    found = looked_for.select(estimates.found)
    modes = people_of_modes(estimates.keypoints_img[estimates.found], found, validation, network, protocol)
    people = merge_modes(modes, skeleton.sigmas, protocol.rules(len(modes)))
    alone = {
        value: merge_modes([mode], skeleton.sigmas, protocol.rules(1))
        for value, mode in zip(protocol.lambdas, modes, strict=False) if len(modes) > 1
    }  # fmt: skip
    merged = time.perf_counter()
    metrics, *others = _precisions(validation, [people, *alone.values()], skeleton, protocol)
    ended = time.perf_counter()
    seconds = {"merge": merged - estimated, "evaluation": ended - merged, "total": ended - began}
    return Evaluation(
        metrics, people, len(validation.rows), len(looked_for), {**estimates.seconds, **seconds},
        dict(zip(alone, others, strict=True)), alone, estimates.skipped, found,
    )  # fmt: skip


def people_of_modes(
    keypoints_img: FloatArray, found: PersonBoxes, validation: EvaluationSet, network: Estimator, protocol: Protocol
) -> list[BoxPeople]:
    """(N, modes * K, 3) keypoints of N boxes -> the people of each mode, as they are merged.

    Their areas are those of the crops, their boxes' scores those of the detector; with lambda 0 times the decay.
    """
    count = max(1, len(protocol.lambdas))
    _, sizes = crops.fit_boxes(found.boxes_img, network.size_in, network.padding)
    by_mode = keypoints_img.reshape(len(found), count, network.num_maps // count, 3)
    ids, areas = validation.index.image_ids[found.image_rows], sizes.prod(axis=1)
    modes = [BoxPeople(ids, by_mode[:, mode], found.scores, areas) for mode in range(count)]
    return decay_modes(modes, protocol.lambdas, protocol.decay) if protocol.lambdas else modes


def _precisions(
    validation: EvaluationSet, people: Sequence[MergedPeople], skeleton: Skeleton, protocol: Protocol
) -> list[dict[str, float]]:
    everybody = people if common.distributed.is_main() else []
    return common.distributed.broadcast_object(
        [validation.average_precision(found.detections, skeleton.sigmas, protocol.people_of) for found in everybody]
    )


def boxes_of(validation: EvaluationSet, people_of: str, detections: Path | None, min_score: float = 0.0) -> PersonBoxes:
    """The boxes of a detection file, or None: those of the annotated people whom MIPNet counts. Raises UserError."""
    if detections is not None:
        return boxes.detected(detections, validation, min_score)
    rule = PeopleRule(
        crops.push_boxes_inside, allow_lines=True, needs_area=people_of != WITHOUT_AREAS, needs_visible=False
    )
    return boxes.annotated(validation, rule)


def table(metrics: dict[str, dict[str, float]]) -> list[str]:
    """The publication's table, a line each: a header, a rule, a network's name and its numbers."""
    columns = list(next(iter(metrics.values())))
    lines = ["| Arch " + " ".join(f"| {TITLES[name]}" for name in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    return lines + [
        f"| {arch} " + " ".join(f"| {value:.3f}" for value in numbers.values()) + " |"
        for arch, numbers in metrics.items()
    ]


def table_of(result: Evaluation, arch: str, protocol: Protocol) -> list[str]:
    """The table of a network: all people, first, and those of each lambda, as the publication names them."""
    if not protocol.lambdas:
        return table({arch: result.metrics})
    rows = {protocol.lambdas: result.metrics} | {(value,): numbers for value, numbers in result.by_lambda.items()}
    return table({f"{lambda_name(lambdas)}:{arch}": numbers for lambdas, numbers in rows.items()})


def lambda_name(lambdas: Sequence[float]) -> str:
    """What people are called that were found with these: l0,1."""
    return "l" + ",".join(f"{value:g}" for value in lambdas)


def published_rows(
    people: MergedPeople, found: PersonBoxes, validation: EvaluationSet, network: Estimator
) -> list[dict[str, Any]]:
    """People as the publication writes them: COCO's fields, and centre, scale (of 200 pixels), scores, annotation."""
    centres, sizes = crops.fit_boxes(found.boxes_img[people.boxes], network.size_in, network.padding)
    known = np.append(validation.index.annotation_ids, NOBODY)[found.person_rows[people.boxes]]
    rows = zip(people.detections.to_json(), centres.tolist(), (sizes / 200).tolist(), known.tolist(),
               people.box_scores.tolist(), people.keypoint_scores.tolist(), strict=True)  # fmt: skip
    return [
        {**row, "center": centre, "scale": scale, "annotation_id": person, "box_score": box, "keypoint_score": score}
        for row, centre, scale, person, box, score in rows
    ]


def evaluate_while_training(
    model: GatedNetwork,
    validation: EvaluationSet,
    looked_for: PersonBoxes,
    rule: InputRule,
    protocol: Protocol,
    arch: str,
    skeleton: Skeleton,
    device: torch.device,
    dtype: torch.dtype | None,
    log: Log,
    pictures: Path,
    batch_size: int,
) -> dict[str, float]:
    """Metrics of the weights as they are now; a sheet of predictions goes to the log and `pictures`."""
    session = of_module(for_inference(model, rule.lambdas), device, dtype)
    network = estimator(session, rule, skeleton)
    result = evaluate(network, validation, looked_for, skeleton, batch_size, protocol)
    log.line(f"evaluate elapsed time : {result.seconds['total']:.1f} s, {result.num_boxes} boxes")
    for line in table_of(result, arch, protocol):
        log.line(line)
    leave_sheet(log, pictures, validation, result.detections, skeleton, SHEET_ROWS, DRAWN_ABOVE)
    return result.metrics


def while_training(
    config: Config, skeleton: Skeleton, device: torch.device, dtype: torch.dtype | None, log: Log, folder: Path
) -> Callable[[nn.Module], dict[str, float]] | None:
    """What the training loop calls at every `eval_freq` epochs; None where it never does. `folder`: of the run.

    Raises UserError.
    """
    if not config.eval_freq:
        return None
    validation = load_validation(config, skeleton, config.val_images)
    validation.check(config.people_of)
    rule = rule_of(config)
    return functools.partial(
        evaluate_while_training, validation=validation, looked_for=looked_for(config, validation), rule=rule,
        protocol=protocol_of(config, rule), arch=config.model, skeleton=skeleton, device=device, dtype=dtype, log=log,
        pictures=folder / "pictures", batch_size=batch_size_of(config, device),
    )  # fmt: skip


def looked_for(config: Config, validation: EvaluationSet) -> PersonBoxes:
    """The boxes that a recipe evaluates in: given ones, or those of its detection file. Raises UserError."""
    return boxes_of(validation, config.people_of, detections_of(config), config.image_threshold)


def detections_of(config: Config) -> Path | None:
    """The detection file of a recipe, None where boxes are given. Raises UserError where it is not there."""
    return None if config.given_boxes else located(config, config.detections, "detections")


def load_validation(config: Config, skeleton: Skeleton, num_images: int) -> EvaluationSet:
    """The validation images of a recipe, `num_images` of them or 0 for all. Raises UserError where they are not."""
    annotations = located(config, config.val_labels, "val_labels")
    folder = located(config, config.val_images_folder, "val_images_folder")
    return EvaluationSet.load(annotations, folder, skeleton, num_images, config.exif)


def batch_size_of(config: Config, device: torch.device) -> int:
    """People that are worth taking at once, at most those of the recipe."""
    return min(config.val_batch_size, CPU_BATCH if device.type == "cpu" else config.val_batch_size)
