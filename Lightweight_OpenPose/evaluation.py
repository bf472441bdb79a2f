# SPDX-License-Identifier: Apache-2.0
"""AP of a network on annotated images: the same during training, from `eval.sh`, on one rank or several."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import common.coco
import common.coco_eval
import common.device
import common.distributed
import common.drawing
import common.skeleton
from common.coco_eval import Detections
from common.log import Log
from common.pipeline import in_order
from common.session import of_module
from common.validation import Validation
from Lightweight_OpenPose import weights
from Lightweight_OpenPose.decode import DecodeRules, People, decode_scales, to_coco
from Lightweight_OpenPose.inference import SINGLE_SCALE, Estimator, Frame, InputRule, to_input

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

ACCELERATOR_BATCH, CPU_BATCH = 32, 2  # images at once; a CPU gains nothing from more
READ_AHEAD, DECODE_BEHIND = 2, 1  # batches read, and decoded, while the network works
MAX_PEAKS_IN_TRAINING = 100  # of one type: early maps are noise with thousands; no picture has so many people
SHEET_ROWS = 6  # images shown at each evaluation while training


@dataclass
class Evaluation:
    """What an evaluation found, and where its time went."""

    metrics: dict[str, float]
    detections: Detections
    num_images: int
    seconds: dict[str, float]  # of this rank: read, resize, network, decode (side by side), evaluation; total
    skipped: list[str] = field(default_factory=list)


@dataclass
class Batch:
    """Images of one input size on their way from files to people; `seconds` says what each part took."""

    rows: list[int]  # of the index
    frames: list[list[Frame]]  # of each scale, of each image
    inputs: list[npt.NDArray[np.float32]]  # of each scale (B, 3, H, W)
    problems: list[common.coco.ImageError]
    seconds: dict[str, float]
    maps: list[tuple[Any, Any]] = field(default_factory=list)  # of each scale: heatmaps, fields
    people: list[People] = field(default_factory=list)


def evaluate(
    estimator: Estimator,
    validation: Validation,
    rule: InputRule,
    batch_size: int,
    scales: tuple[float, ...] = SINGLE_SCALE,
    skip_bad: bool = False,
) -> Evaluation:
    """AP over all images of `validation`; every rank takes its share of them and gets the whole result.

    Reading, the network and decoding work side by side. Raises ImageError for an unreadable image, unless `skip_bad`:
    then it is counted and has no people.
    """
    began = time.perf_counter()
    clock = dict.fromkeys(("read", "resize", "network", "decode"), 0.0)
    found, skipped = [common.coco_eval.no_detections(estimator.skeleton.num_keypoints)], []
    for batch in _batches(estimator, validation, _share(validation, rule, batch_size), rule, scales):
        if batch.problems and not skip_bad:
            raise batch.problems[0]
        skipped += [str(problem) for problem in batch.problems]
        found += [_detections(validation, *one, estimator) for one in zip(batch.rows, batch.people, strict=True)]
        clock = {name: spent + batch.seconds.get(name, 0.0) for name, spent in clock.items()}
    detections = common.coco_eval.gather(common.coco_eval.concatenate(found))
    image_ids = validation.index.image_ids[validation.rows]
    measured = time.perf_counter()
    metrics = common.distributed.from_main(
        common.coco_eval.average_precision(validation.annotations, detections, estimator.skeleton.sigmas, image_ids)
        if common.distributed.is_main() else {}
    )  # fmt: skip
    seconds = {**clock, "evaluation": time.perf_counter() - measured, "total": time.perf_counter() - began}
    skipped = [line for lines in common.distributed.gather_objects(skipped) for line in lines]
    return Evaluation(metrics, detections, len(validation.rows), seconds, skipped)


def _share(validation: Validation, rule: InputRule, batch_size: int) -> list[list[int]]:
    """Batches of images with the same input size, every world-size-th of them: those of this rank."""
    by_size: dict[tuple[int, int], list[int]] = {}
    for row in validation.rows.tolist():
        height, width = validation.index.image_sizes[row].tolist()
        by_size.setdefault(rule.frame((height, width)).input_size, []).append(row)
    batches = [
        rows[first : first + batch_size] for rows in by_size.values() for first in range(0, len(rows), batch_size)
    ]
    return batches[common.distributed.rank() :: common.distributed.world_size()]


def _batches(
    estimator: Estimator, validation: Validation, shares: list[list[int]], rule: InputRule, scales: tuple[float, ...]
) -> Iterator[Batch]:
    """The batches with their people: read ahead in threads, through the network here, decoded behind in a thread."""
    with ThreadPoolExecutor(READ_AHEAD) as readers, ThreadPoolExecutor(1) as decoder:
        read = in_order(readers, lambda rows: _read(validation, rows, rule, scales), shares, READ_AHEAD)
        through = (_through_network(estimator, batch) for batch in read)
        yield from in_order(decoder, lambda batch: _decoded(estimator, batch), through, DECODE_BEHIND)


def _read(validation: Validation, rows: list[int], rule: InputRule, scales: tuple[float, ...]) -> Batch:
    began = time.perf_counter()
    images, problems = {}, []
    for row in rows:
        try:
            images[row] = validation.read(row)
        except common.coco.ImageError as error:
            problems.append(error)
    read = time.perf_counter()
    frames = [[rule.frame(image.shape[:2], scale) for image in images.values()] for scale in scales]
    inputs = [np.stack(list(map(to_input, images.values(), places))) for places in frames if places]
    seconds = {"read": read - began, "resize": time.perf_counter() - read}
    return Batch(list(images), frames, inputs, problems, seconds)


def _through_network(estimator: Estimator, batch: Batch) -> Batch:
    began = time.perf_counter()
    batch.maps = [estimator.maps(inputs) for inputs in batch.inputs]
    batch.inputs = []
    batch.seconds["network"] = time.perf_counter() - began
    return batch


def _decoded(estimator: Estimator, batch: Batch) -> Batch:
    began = time.perf_counter()
    if len(batch.maps) == 1:
        batch.people = estimator.people(batch.maps[0], batch.frames[0])
    elif batch.maps:
        batch.people = [_people_of_scales(estimator, batch, position) for position in range(len(batch.rows))]
    batch.maps = []
    batch.seconds["decode"] = time.perf_counter() - began
    return batch


def _people_of_scales(estimator: Estimator, batch: Batch, position: int) -> People:
    scales = [
        (heatmaps[position], fields[position], frames[position].geometry)
        for (heatmaps, fields), frames in zip(batch.maps, batch.frames, strict=True)
    ]
    return decode_scales(scales, estimator.skeleton, estimator.rules)


def _detections(validation: Validation, row: int, people: People, estimator: Estimator) -> Detections:
    keypoints, scores = to_coco(people, estimator.skeleton, estimator.rules)
    ids = np.full(len(scores), validation.index.image_ids[row])
    return Detections(ids, keypoints, scores)


def evaluate_while_training(
    model: nn.Module,
    validation: Validation,
    base_height: int,
    skeleton: common.skeleton.Skeleton,
    device: torch.device,
    dtype: torch.dtype | None,
    log: Log,
    pictures: Path,
) -> dict[str, float]:
    """Metrics of the weights as they are now; a sheet of predictions goes to TensorBoard and `pictures`."""
    rules = DecodeRules(max_peaks=MAX_PEAKS_IN_TRAINING)
    session = of_module(weights.fuse_batch_norm(model.eval()), device, dtype)
    result = evaluate(Estimator(session, skeleton, rules), validation, InputRule(base_height), default_batch(device))
    log.line(f"evaluate elapsed time : {result.seconds['total']:.1f} s, {result.num_images} images")
    if common.distributed.is_main():
        sheet = draw_sheet(validation, result.detections, skeleton, SHEET_ROWS)
        pictures.mkdir(parents=True, exist_ok=True)
        common.drawing.save_png(pictures / "predictions.png", sheet)
        log.picture("predictions", sheet, 0)
    return result.metrics


def default_batch(device: torch.device) -> int:
    """Images of one size that are worth taking at once."""
    return CPU_BATCH if device.type == "cpu" else ACCELERATOR_BATCH


def draw_sheet(
    validation: Validation, detections: Detections, skeleton: common.skeleton.Skeleton, num_images: int
) -> npt.NDArray[np.uint8]:
    """Input, ground truth and prediction side by side, for the first images with people: (h, w, 3) uint8 BGR."""
    index, sheet = validation.index, []
    with_people = [row for row in validation.rows.tolist() if (index.num_keypoints[index.people(row)] > 0).any()]
    for row in with_people[:num_images]:
        image = validation.read(row)
        mine = detections.image_ids == index.image_ids[row]
        truth = common.drawing.draw_people(image, index.keypoints[index.people(row)], skeleton)
        sheet.append([image, truth, common.drawing.draw_people(image, detections.keypoints[mine], skeleton)])
    return common.drawing.contact_sheet(sheet, ["input", "ground truth", "prediction"])
