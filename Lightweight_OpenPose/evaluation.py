# SPDX-License-Identifier: Apache-2.0
"""AP of a network on annotated images: the same during training, from `eval.sh`, on one rank or several."""

from collections.abc import Sequence
from pathlib import Path

import common.coco.images
import common.skeleton
from common.bottomup import pipeline
from common.bottomup.pipeline import Evaluation, Finder, Maps
from common.coco.evaluate import EvaluationSet
from common.media.sheets import leave_sheet
from common.runtime.session import of_module
from common.train.log import Log
from Lightweight_OpenPose.config import Config
from Lightweight_OpenPose.decode import DecodeRules, People, decode_scales, to_coco
from Lightweight_OpenPose.inference import SINGLE_SCALE, Estimator, Frame, InputRule, to_input

import torch
from torch import nn

ACCELERATOR_BATCH, CPU_BATCH = 32, 2  # images at once; a CPU gains nothing from more
MAX_PEAKS_IN_TRAINING = 100  # of one type: early maps are noise with thousands; no picture has so many people
SHEET_ROWS = 6  # images shown at each evaluation while training


def evaluate(
    estimator: Estimator,
    validation: EvaluationSet,
    rule: InputRule,
    batch_size: int,
    scales: tuple[float, ...] = SINGLE_SCALE,
    skip_bad: bool = False,
    readers: int = pipeline.READERS,
) -> Evaluation:
    """AP over all images of `validation`; every rank takes its share of them and gets the whole result.

    Reading, the network and decoding work side by side. Raises ImageError for an unreadable image, unless `skip_bad`:
    then it is counted and has no people.
    """
    finder = Finder[Frame](
        estimator.skeleton,
        frames=lambda size_img: [rule.frame(size_img, scale) for scale in scales],
        size_in=lambda place: place.input_size,
        to_input=to_input,
        maps=estimator.maps,
        people=lambda maps, frames: _people(estimator, maps, frames),
        to_coco=lambda people: to_coco(people, estimator.skeleton, estimator.rules),
    )
    return pipeline.evaluate(finder, validation, batch_size, skip_bad, readers)


def _people(estimator: Estimator, maps: Sequence[Maps], frames: Sequence[Sequence[Frame]]) -> list[People]:
    """The people of each image; those of several scales are found in the mean of their maps."""
    if len(maps) == 1:
        return estimator.people(maps[0], frames[0])
    return [_people_of_scales(estimator, maps, frames, position) for position in range(len(frames[0]))]


def _people_of_scales(
    estimator: Estimator, maps: Sequence[Maps], frames: Sequence[Sequence[Frame]], position: int
) -> People:
    scales = [
        (heatmaps[position], fields[position], places[position].geometry)
        for (heatmaps, fields), places in zip(maps, frames, strict=True)
    ]
    return decode_scales(scales, estimator.skeleton, estimator.rules)


def load_validation(config: Config, skeleton: common.skeleton.Skeleton) -> EvaluationSet:
    """The images that a training is evaluated on. Raises UserError where they are not there."""
    annotations, images = config.val_labels, config.val_images_folder
    validation = EvaluationSet.load(
        Path(annotations) if annotations else common.coco.images.annotation_file(config.data_path, "val"),
        Path(images) if images else common.coco.images.image_folder(config.data_path, "val"),
        skeleton,
        num_images=config.val_images,
        exif=config.exif,
    )
    validation.check()
    return validation


def evaluate_while_training(
    model: nn.Module,
    validation: EvaluationSet,
    base_height: int,
    skeleton: common.skeleton.Skeleton,
    device: torch.device,
    dtype: torch.dtype | None,
    log: Log,
    pictures: Path,
) -> dict[str, float]:
    """Metrics of the weights as they are now; a sheet of predictions goes to TensorBoard and `pictures`."""
    rules = DecodeRules(max_peaks=MAX_PEAKS_IN_TRAINING)
    session = of_module(model.eval(), device, dtype)
    result = evaluate(Estimator(session, skeleton, rules), validation, InputRule(base_height), default_batch(device))
    log.line(f"evaluate elapsed time : {result.seconds['total']:.1f} s, {result.num_images} images")
    leave_sheet(log, pictures, validation, result.detections, skeleton, SHEET_ROWS)
    return result.metrics


def default_batch(device: torch.device) -> int:
    """Images of one size that are worth taking at once."""
    return CPU_BATCH if device.type == "cpu" else ACCELERATOR_BATCH
