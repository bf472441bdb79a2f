# SPDX-License-Identifier: Apache-2.0
"""AP of a network on annotated images: the same during training, from `eval.py`, on one rank or several."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import common.coco.images
import common.distributed
import common.media.drawing
import common.skeleton
from common.bottomup import pipeline
from common.bottomup.pipeline import Evaluation, Finder
from common.cli import UserError
from common.coco.evaluate import COCO_METRICS, Detections, EvaluationSet
from common.media.sheets import leave_sheet
from common.runtime.session import of_module
from common.train.log import Log
from OpenPose_MindSpore_port.config import Config
from OpenPose_MindSpore_port.decode import DecodeRules, to_coco
from OpenPose_MindSpore_port.inference import Estimator, Frame, InputRule, LastMaps, to_input

import numpy as np
import torch
from torch import nn

ACCELERATOR_BATCH, CPU_BATCH = 16, 2  # images at once; a CPU gains nothing from more
SHEET_ROWS = 6  # images shown at each evaluation while training
PUBLISHED_NAMES = ("AP", "Ap .5", "AP .75", "AP (M)", "AP (L)", "AR", "AR .5", "AR .75", "AR (M)", "AR (L)")  # spec A7
NOBODY_FOUND = "Predict poses size is zero."  # as published


def evaluate(
    estimator: Estimator,
    validation: EvaluationSet,
    rule: InputRule,
    batch_size: int,
    skip_bad: bool = False,
    readers: int = pipeline.READERS,
) -> Evaluation:
    """AP over all images of `validation`; every rank takes its share of them and gets the whole result.

    Reading, the network and decoding work side by side. Raises ImageError for an unreadable image, unless `skip_bad`:
    then it is counted and has no people.
    """
    finder = Finder[Frame](
        estimator.skeleton,
        frames=lambda size_img: [rule.frame(size_img)],
        size_in=lambda place: place.size_in,
        to_input=to_input,
        maps=estimator.maps,
        people=lambda maps, frames: estimator.people(maps[0], frames[0]),
        to_coco=lambda people: to_coco(people, estimator.skeleton, estimator.rules),
    )
    return pipeline.evaluate(finder, validation, batch_size, skip_bad, readers)


def with_people(validation: EvaluationSet) -> EvaluationSet:
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


def load_validation(
    config: Config, skeleton: common.skeleton.Skeleton, note: Callable[[str], None]
) -> EvaluationSet | None:
    """The images that a training is evaluated on; None where it never is, which `note` is told where nobody asked.

    Raises UserError where named images are not there.
    """
    if not config.eval_freq:
        return None
    try:
        validation = validation_of(
            config.data_dir, config.imgpath_val, config.ann, skeleton, config.val_images, config.exif
        )
    except UserError as error:
        if (config.imgpath_val, config.ann) != (Config.imgpath_val, Config.ann):
            raise
        note(f"note: no evaluation while training: {error}")  # the published commands name no validation images
        return None
    validation.check()
    return validation


def evaluate_while_training(
    model: nn.Module,
    validation: EvaluationSet,
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
    leave_sheet(log, pictures, validation, result.detections, skeleton, SHEET_ROWS)
    return result.metrics


def default_batch(device: torch.device) -> int:
    """Images of one size that are worth taking at once."""
    return CPU_BATCH if device.type == "cpu" else ACCELERATOR_BATCH


def draw_images(
    validation: EvaluationSet, detections: Detections, skeleton: common.skeleton.Skeleton, folder: Path, num_images: int
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
        except common.coco.images.ImageError:
            continue
        image_id = validation.index.image_ids[row]
        people = detections.keypoints[detections.image_ids == image_id]
        common.media.drawing.save_png(
            folder / f"{image_id}.png", common.media.drawing.draw_people(image, people, skeleton)
        )
        drawn += 1
    return drawn


def validation_of(
    data_dir: str,
    images: str,
    annotations: str,
    skeleton: common.skeleton.Skeleton,
    num_images: int,
    exif: common.coco.images.Exif = "ignore",
) -> EvaluationSet:
    """Annotated images of `<data_dir>/<images>` and `<data_dir>/annotations/<annotations>`, or paths as they stand.

    Raises UserError where one of them is neither.
    """
    root = Path(data_dir)
    labels = _place("--ann", annotations, (root / "annotations" / annotations, Path(annotations)), Path.is_file)
    folder = _place("--imgpath_val", images, (root / images, root / "images" / images, Path(images)), Path.is_dir)
    return EvaluationSet.load(labels, folder, skeleton, num_images, exif)


def _place(flag: str, value: str, places: tuple[Path, ...], there: Any) -> Path:
    found = next((place for place in places if there(place)), None)
    if found is None:
        tried = " and ".join(str(place) for place in dict.fromkeys(places))
        raise UserError(
            f"{flag}={value}: {tried} not there; --data_path is needed, a COCO folder or `mini`; else "
            "COCO_HOME, DATA_PATH, ./dataset or ./data/coco are taken"
        )
    return found
