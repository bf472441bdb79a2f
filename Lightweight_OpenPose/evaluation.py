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
from Lightweight_OpenPose import labels, weights
from Lightweight_OpenPose.decode import DecodeRules, People, decode_scales, to_coco
from Lightweight_OpenPose.inference import SINGLE_SCALE, Estimator, Frame, frame, to_input

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

ACCELERATOR_BATCH, CPU_BATCH = 32, 2  # images at once; a CPU gains nothing from more
READ_AHEAD = 2  # batches read while the network works
MAX_PEAKS_IN_TRAINING = 100  # of one type: early maps are noise with thousands; no picture has so many people
SHEET_ROWS = 6  # images shown at each evaluation while training


@dataclass(frozen=True)
class Validation:
    """Annotated images to evaluate on."""

    annotations: Path
    folder: Path
    index: common.coco.CocoIndex
    rows: npt.NDArray[np.int64]  # images of the index

    @staticmethod
    def load(annotations: Path, folder: Path, skeleton: common.skeleton.Skeleton, num_images: int) -> "Validation":
        """All images of a file, or `num_images` of them by the publication's rule. Raises UserError."""
        index = common.coco.load(annotations, skeleton.num_keypoints)
        rows = np.arange(index.num_images)
        if 0 < num_images < index.num_images:
            rows = np.array(labels.val_subset(index.num_images, num_images))
        return Validation(annotations, folder, index, rows)

    def read(self, row: int) -> npt.NDArray[np.uint8]:
        """(h, w, 3) uint8 BGR. Raises ImageError, also where the file has another size than its annotation says."""
        name = self.index.file_name(row)
        image = common.coco.read_image(self.folder, name)
        height, width = self.index.image_sizes[row].tolist()
        if image.shape[:2] != (height, width):
            found = f"{image.shape[0]} x {image.shape[1]}"
            raise common.coco.ImageError(f"{self.folder / name}: {found} pixels, annotated as {height} x {width}")
        return image


@dataclass
class Evaluation:
    """What an evaluation found, and where its time went."""

    metrics: dict[str, float]
    detections: Detections
    num_images: int
    seconds: dict[str, float]  # of this rank: read, network, decode, evaluation, total
    skipped: list[str] = field(default_factory=list)


def evaluate(
    estimator: Estimator,
    validation: Validation,
    base_height: int,
    batch_size: int,
    scales: tuple[float, ...] = SINGLE_SCALE,
    skip_bad: bool = False,
) -> Evaluation:
    """AP over all images of `validation`; every rank takes its share of them and gets the whole result.

    Raises ImageError for an unreadable image, unless `skip_bad`: then it is counted and has no people.
    """
    began = time.perf_counter()
    clock = {"read": 0.0, "network": 0.0, "decode": 0.0}
    nobody = common.coco_eval.no_detections(estimator.skeleton.num_keypoints)
    found, skipped = [], []
    for rows, images, problems in _read_batches(validation, _share(validation, base_height, batch_size), clock):
        if problems and not skip_bad:
            raise problems[0]
        skipped += [str(problem) for problem in problems]
        if images:
            people = _people(estimator, images, base_height, scales, clock)
            found += [_detections(validation, row, one, estimator) for row, one in zip(rows, people, strict=True)]
    detections = common.coco_eval.gather(common.coco_eval.concatenate([nobody, *found]))
    image_ids = validation.index.image_ids[validation.rows]
    measured = time.perf_counter()
    metrics = common.distributed.from_main(
        common.coco_eval.average_precision(validation.annotations, detections, estimator.skeleton.sigmas, image_ids)
        if common.distributed.is_main() else {}
    )  # fmt: skip
    seconds = {**clock, "evaluation": time.perf_counter() - measured, "total": time.perf_counter() - began}
    skipped = [line for lines in common.distributed.gather_objects(skipped) for line in lines]
    return Evaluation(metrics, detections, len(validation.rows), seconds, skipped)


def _share(validation: Validation, base_height: int, batch_size: int) -> list[list[int]]:
    """Batches of images with the same input size, every world-size-th of them: those of this rank."""
    by_size: dict[tuple[int, int], list[int]] = {}
    for row in validation.rows.tolist():
        height, width = validation.index.image_sizes[row].tolist()
        by_size.setdefault(frame((height, width), base_height).input_size, []).append(row)
    batches = [
        rows[first : first + batch_size] for rows in by_size.values() for first in range(0, len(rows), batch_size)
    ]
    return batches[common.distributed.rank() :: common.distributed.world_size()]


def _read_batches(validation: Validation, batches: list[list[int]], clock: dict[str, float]) -> Iterator[Any]:
    """(rows, images, problems) of each batch, read ahead while the network works."""

    def read(rows: list[int]) -> Any:
        images, problems = {}, []
        for row in rows:
            try:
                images[row] = validation.read(row)
            except common.coco.ImageError as error:
                problems.append(error)
        return list(images), list(images.values()), problems

    with ThreadPoolExecutor(READ_AHEAD) as readers:
        waiting = [readers.submit(read, rows) for rows in batches[:READ_AHEAD]]
        for position in range(len(batches)):
            began = time.perf_counter()
            ready = waiting.pop(0).result()
            clock["read"] += time.perf_counter() - began
            if position + READ_AHEAD < len(batches):
                waiting.append(readers.submit(read, batches[position + READ_AHEAD]))
            yield ready


def _people(
    estimator: Estimator, images: list[Any], base_height: int, scales: tuple[float, ...], clock: dict[str, float]
) -> list[People]:
    """People in images of one input size."""
    by_scale = []
    for scale in scales:
        frames = [frame(image.shape[:2], base_height, scale) for image in images]
        by_scale.append((_maps(estimator, images, frames, clock), frames))
    began = time.perf_counter()
    if len(scales) == 1:
        people = estimator.people(*by_scale[0])
    else:
        people = [
            decode_scales(
                [(maps[0][row], maps[1][row], frames[row].geometry) for maps, frames in by_scale],
                estimator.skeleton,
                estimator.rules,
            )
            for row in range(len(images))
        ]
    clock["decode"] += time.perf_counter() - began
    return people


def _maps(estimator: Estimator, images: list[Any], frames: list[Frame], clock: dict[str, float]) -> Any:
    began = time.perf_counter()
    inputs = [to_input(image, place) for image, place in zip(images, frames, strict=True)]
    clock["read"] += time.perf_counter() - began
    began = time.perf_counter()
    maps = estimator.maps(inputs)
    clock["network"] += time.perf_counter() - began
    return maps


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
    estimator = Estimator(weights.for_inference(model, device), device, dtype, skeleton, rules)
    result = evaluate(estimator, validation, base_height, default_batch(device))
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
