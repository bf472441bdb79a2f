# SPDX-License-Identifier: Apache-2.0
"""Flags -> all that a training run needs, decided before it starts and said aloud."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import common.coco.images
import common.coco.mini.dataset
import common.distributed
import common.skeleton
from common.cli import UserError
from common.coco.evaluation_set import Validation
from common.distributed import main_first
from common.train.loader import divide, workers_for
from common.train.log import Log
from common.train.setup import Setup
from common.train.state import Plan
from Lightweight_OpenPose import labels, weights
from Lightweight_OpenPose.config import (
    CPU_IMAGES_PER_PART,
    IMAGES_PER_RANK,
    LEARNING_RATE_PER_IMAGE,
    NETWORK,
    STEP_NAMES,
    Config,
)  # fmt: skip
from Lightweight_OpenPose.data import Augmentation, TrainSamples, collate
from Lightweight_OpenPose.evaluation import evaluate_while_training

import torch
from torch import nn

PREPARED_LABELS = "prepared_train_annotation.pkl"


def evaluation(
    setup: Setup, skeleton: common.skeleton.Skeleton, device: torch.device, dtype: torch.dtype | None, log: Log
) -> Callable[[nn.Module], dict[str, float]] | None:
    """What the training loop calls at every `eval_freq` epochs; None where it never does."""
    config = setup.config
    if not config.eval_freq:
        return None
    annotations, images = config.val_labels, config.val_images_folder
    validation = Validation.load(
        Path(annotations) if annotations else common.coco.images.annotation_file(config.data_path, "val"),
        Path(images) if images else common.coco.images.image_folder(config.data_path, "val"),
        skeleton,
        num_images=config.val_images,
        exif=config.exif,
    )
    validation.check()
    return functools.partial(
        evaluate_while_training,
        validation=validation, base_height=config.base_height, skeleton=skeleton, device=device,
        dtype=dtype, log=log, pictures=setup.folder / "pictures",
    )  # fmt: skip


def prepare(flags: Config, skeleton: common.skeleton.Skeleton, device: torch.device) -> Setup:
    """Decides what the flags left open. Raises UserError, naming flag or file, where the run cannot be."""
    ranks = common.distributed.world_size()
    name = flags.experiment_name or (f"perf_{ranks}p" if flags.case == "perf" else STEP_NAMES[flags.step])
    own = Path(flags.data_path) if flags.train_images_folder else None
    data_path = main_first(lambda: common.coco.mini.dataset.resolve(flags.data_path, otherwise=own))
    config = dataclasses.replace(flags, data_path=str(data_path), experiment_name=name)
    samples = _train_samples(config, skeleton)
    limit = config.part_size or (CPU_IMAGES_PER_PART if device.type == "cpu" else 0)
    part_size, parts = divide(config.batch_size or IMAGES_PER_RANK * ranks, len(samples), ranks, limit)
    images_per_step = part_size * parts * ranks
    base_lr = config.base_lr or LEARNING_RATE_PER_IMAGE * images_per_step
    config = dataclasses.replace(config, base_lr=base_lr, batch_size=images_per_step)
    return Setup(
        network=NETWORK,
        config=config,
        samples=samples,
        collate=collate,
        plan=_plan(config, parts, len(samples) // images_per_step),
        part_size=part_size,
        num_workers=workers_for(config.num_workers, device),
        folder=weights.run_folder(config.output_dir, name),
        log_folder=Path(config.log_dir or Path(config.output_dir) / "test" / "output" / "0"),
    )


def _plan(config: Config, parts: int, steps_per_epoch: int) -> Plan:
    """What the training loop is told."""
    return Plan(
        epochs=config.epochs,
        steps_per_epoch=steps_per_epoch,
        images_per_step=config.batch_size,
        parts=parts,
        clip_norm=config.clip_norm,
        log_every=config.print_freq,
        evaluate_every=config.eval_freq,
        save_every=config.save_every,
        keep_every=config.keep_every,
    )


def _train_samples(config: Config, skeleton: common.skeleton.Skeleton) -> TrainSamples:
    images = config.train_images_folder
    folder = Path(images) if images else common.coco.images.image_folder(config.data_path, "train")
    prepared = Path(config.prepared_train_labels or Path(config.output_dir) / PREPARED_LABELS)
    if not config.prepared_train_labels:
        annotations = common.coco.images.annotation_file(config.data_path, "train")
        main_first(lambda: _prepare_labels(prepared, annotations, config.net_input_size, skeleton.num_keypoints))
    train_labels = labels.read(prepared)
    if train_labels.index.keypoints.shape[1] != skeleton.num_keypoints:
        raise UserError(
            f"{prepared}: people have {train_labels.index.keypoints.shape[1]} keypoints, those of --skeleton="
            f"{config.skeleton} {skeleton.num_keypoints}: name the skeleton of these labels"
        )
    augmentation = Augmentation(
        config.net_input_size, config.person_height, config.scale_min, config.scale_max, config.rotation, config.shift,
        config.flip,
    )  # fmt: skip
    skip_bad = config.on_bad_image == "skip"
    return TrainSamples(train_labels, folder, skeleton, augmentation, config.seed, skip_bad, config.exif)


def _prepare_labels(prepared: Path, annotations: Path, net_input_size: int, num_keypoints: int) -> None:
    """Prepares labels where they are missing, or were made from another annotation file than this one."""
    if not labels.is_current(prepared, annotations, net_input_size):
        labels.write(labels.build(annotations, net_input_size, num_keypoints), prepared)
