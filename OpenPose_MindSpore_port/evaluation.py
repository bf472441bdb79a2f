# SPDX-License-Identifier: Apache-2.0
"""AP of a network on annotated images: the same during training, from `eval.py`, on one rank or several."""

import dataclasses
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import common.coco
import common.coco_eval
import common.distributed
import common.drawing
import common.skeleton
from common.cli import UserError
from common.coco_eval import COCO_METRICS, Detections
from common.log import Log
from common.pipeline import in_order
from common.session import of_module
from common.validation import Validation
from OpenPose_MindSpore_port.decode import DecodeRules, People, to_coco
from OpenPose_MindSpore_port.inference import Estimator, Frame, InputRule, LastMaps, to_input

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

ACCELERATOR_BATCH, CPU_BATCH = 16, 2  # images at once; a CPU gains nothing from more
READ_AHEAD, DECODE_BEHIND = 2, 1  # batches read, and decoded, while the network works
SHEET_ROWS = 6  # images shown at each evaluation while training
PUBLISHED_NAMES = ("AP", "Ap .5", "AP .75", "AP (M)", "AP (L)", "AR", "AR .5", "AR .75", "AR (M)", "AR (L)")  # spec A7
NOBODY_FOUND = "Predict poses size is zero."  # as published


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
    frames: list[Frame]  # of each image
    inputs: npt.NDArray[np.float32] | None  # (B, 3, H, W); None where no image could be read
    problems: list[common.coco.ImageError]
    seconds: dict[str, float]
    maps: tuple[Any, Any] | None = None  # heatmaps, fields
    people: list[People] = field(default_factory=list)


def evaluate(
    estimator: Estimator, validation: Validation, rule: InputRule, batch_size: int, skip_bad: bool = False
) -> Evaluation:
    """AP over all images of `validation`; every rank takes its share of them and gets the whole result.

    Reading, the network and decoding work side by side. Raises ImageError for an unreadable image, unless `skip_bad`:
    then it is counted and has no people.
    """
    began = time.perf_counter()
    clock = dict.fromkeys(("read", "resize", "network", "decode"), 0.0)
    found, skipped = [common.coco_eval.no_detections(estimator.skeleton.num_keypoints)], []
    for batch in _batches(estimator, validation, _share(validation, rule, batch_size), rule):
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
        by_size.setdefault(rule.frame((height, width)).size_in, []).append(row)
    batches = [
        rows[first : first + batch_size] for rows in by_size.values() for first in range(0, len(rows), batch_size)
    ]
    return batches[common.distributed.rank() :: common.distributed.world_size()]


def _batches(estimator: Estimator, validation: Validation, shares: list[list[int]], rule: InputRule) -> Iterator[Batch]:
    """The batches with their people: read ahead in threads, through the network here, decoded behind in a thread."""
    with ThreadPoolExecutor(READ_AHEAD) as readers, ThreadPoolExecutor(1) as decoder:
        read = in_order(readers, lambda rows: _read(validation, rows, rule), shares, READ_AHEAD)
        through = (_through_network(estimator, batch) for batch in read)
        yield from in_order(decoder, lambda batch: _decoded(estimator, batch), through, DECODE_BEHIND)


def _read(validation: Validation, rows: list[int], rule: InputRule) -> Batch:
    began = time.perf_counter()
    images, problems = {}, []
    for row in rows:
        try:
            images[row] = validation.read(row)
        except common.coco.ImageError as error:
            problems.append(error)
    read = time.perf_counter()
    frames = [rule.frame(image.shape[:2]) for image in images.values()]
    inputs = np.stack(list(map(to_input, images.values(), frames))) if images else None
    seconds = {"read": read - began, "resize": time.perf_counter() - read}
    return Batch(list(images), frames, inputs, problems, seconds)


def _through_network(estimator: Estimator, batch: Batch) -> Batch:
    began = time.perf_counter()
    if batch.inputs is not None:
        batch.maps = estimator.maps(batch.inputs)
    batch.inputs = None
    batch.seconds["network"] = time.perf_counter() - began
    return batch


def _decoded(estimator: Estimator, batch: Batch) -> Batch:
    began = time.perf_counter()
    if batch.maps is not None:
        batch.people = estimator.people(batch.maps, batch.frames)
    batch.maps = None
    batch.seconds["decode"] = time.perf_counter() - began
    return batch


def _detections(validation: Validation, row: int, people: People, estimator: Estimator) -> Detections:
    keypoints, scores = to_coco(people, estimator.skeleton, estimator.rules)
    ids = np.full(len(scores), validation.index.image_ids[row])
    return Detections(ids, keypoints, scores)


def with_people(validation: Validation) -> Validation:
    """Only the images that have an annotated person or crowd: those of the original (spec A7).

    People found in the others then never count as false, so AP comes out higher than by COCO's protocol.
    """
    index = validation.index
    counts = np.diff(index.person_offsets)
    return dataclasses.replace(validation, rows=validation.rows[counts[validation.rows] > 0])


def result_line(metrics: Mapping[str, float]) -> str:
    """The published line: COCO's ten numbers under the original's names, in its order."""
    named = {published: float(metrics[name]) for published, name in zip(PUBLISHED_NAMES, COCO_METRICS, strict=True)}
    return f"result:  {named}"


def result_lines(result: Evaluation) -> list[str]:
    """What is said of a result, as published; an evaluation that found nobody has an AP of 0."""
    return [*([] if len(result.detections) else [NOBODY_FOUND]), result_line(result.metrics)]


def evaluate_while_training(
    model: nn.Module,
    validation: Validation,
    rule: InputRule,
    rules: DecodeRules,
    skeleton: common.skeleton.Skeleton,
    device: torch.device,
    dtype: torch.dtype | None,
    log: Log,
    pictures: Path,
) -> dict[str, float]:
    """Metrics of the weights as they are now; a sheet of predictions goes to TensorBoard and `pictures`."""
    session = of_module(LastMaps(model).eval(), device, dtype)
    result = evaluate(Estimator(session, skeleton, rules), validation, rule, default_batch(device))
    for line in result_lines(result):
        log.line(line)
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
    """Input, ground truth and prediction side by side, first of images with labelled people: (h, w, 3) uint8 BGR."""
    index, sheet = validation.index, []
    rows = validation.rows.tolist()
    with_labels = [row for row in rows if (index.num_keypoints[index.people(row)] > 0).any()]
    for row in (with_labels or rows)[:num_images]:
        image = validation.read(row)
        mine = detections.image_ids == index.image_ids[row]
        truth = common.drawing.draw_people(image, index.keypoints[index.people(row)], skeleton)
        sheet.append([image, truth, common.drawing.draw_people(image, detections.keypoints[mine], skeleton)])
    return common.drawing.contact_sheet(sheet, ["input", "ground truth", "prediction"])


def draw_images(
    validation: Validation, detections: Detections, skeleton: common.skeleton.Skeleton, folder: Path, num_images: int
) -> int:
    """Writes `<image_id>.png`, as published, with the people found, for the first `num_images` (negative: all).

    Every rank draws its share; returns how many that were. An image that cannot be read is left out: the evaluation
    has said so already.
    """
    rows = validation.rows[:num_images] if num_images >= 0 else validation.rows
    drawn = 0
    for row in rows[common.distributed.rank() :: common.distributed.world_size()].tolist():
        try:
            image = validation.read(row)
        except common.coco.ImageError:
            continue
        image_id = validation.index.image_ids[row]
        people = detections.keypoints[detections.image_ids == image_id]
        common.drawing.save_png(folder / f"{image_id}.png", common.drawing.draw_people(image, people, skeleton))
        drawn += 1
    return drawn


def validation_of(
    data_dir: str, images: str, annotations: str, skeleton: common.skeleton.Skeleton, num_images: int
) -> Validation:
    """Annotated images of `<data_dir>/<images>` and `<data_dir>/annotations/<annotations>`, or paths as they stand.

    Raises UserError where one of them is neither.
    """
    root = Path(data_dir)
    labels = _place("--ann", annotations, (root / "annotations" / annotations, Path(annotations)), Path.is_file)
    folder = _place("--imgpath_val", images, (root / images, Path(images)), Path.is_dir)
    return Validation.load(labels, folder, skeleton, num_images)


def _place(flag: str, value: str, places: tuple[Path, Path], there: Any) -> Path:
    found = next((place for place in places if there(place)), None)
    if found is None:
        tried = " and ".join(str(place) for place in dict.fromkeys(places))
        raise UserError(
            f"{flag}={value}: {tried} not there; --data_path must be a COCO folder, or `mini`, which draws a data set"
        )
    return found
