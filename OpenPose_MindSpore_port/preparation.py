# SPDX-License-Identifier: Apache-2.0
"""Flags -> all that a training run needs, decided before it starts and said aloud."""

import dataclasses
import functools
import os
import stat
import zlib
from collections.abc import Callable
from pathlib import Path

import common.coco.images
import common.coco.mini.dataset
import common.distributed
from common import files
from common.cli import UserError
from common.distributed import main_first
from common.skeleton import Skeleton
from common.train.loader import divide, workers_for
from common.train.log import Log
from common.train.setup import Setup
from common.train.state import Plan
from OpenPose_MindSpore_port import ignore_masks, labels, learning_rate
from OpenPose_MindSpore_port.config import CPU_IMAGES_PER_PART, DATA_FOLDER, NETWORK, PROFILED_STEPS, Config
from OpenPose_MindSpore_port.data import TrainSamples, collate
from OpenPose_MindSpore_port.evaluation import evaluate_while_training, validation_of
from OpenPose_MindSpore_port.inference import InputRule, decode_rules
from OpenPose_MindSpore_port.learning_rate import Rates

import torch
from torch import nn

MASK_FOLDER = "ignore_mask_train"
EVERYBODY_WRITES = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def evaluation(
    setup: Setup, skeleton: Skeleton, device: torch.device, dtype: torch.dtype | None, log: Log
) -> Callable[[nn.Module], dict[str, float]] | None:
    """What the training loop calls at every `eval_freq` epochs; None where it never does."""
    config: Config = setup.config
    if not config.eval_freq:
        return None
    try:
        validation = validation_of(
            config.data_dir, config.imgpath_val, config.ann, skeleton, config.val_images, config.exif
        )
    except UserError as error:
        if (config.imgpath_val, config.ann) != (Config.imgpath_val, Config.ann):
            raise
        log.line(f"note: no evaluation while training: {error}")  # the published commands name no validation images
        return None
    validation.check()
    return functools.partial(
        evaluate_while_training,
        validation=validation, rule=InputRule(config.inference_img_size), rules=decode_rules(config), skeleton=skeleton,
        device=device, dtype=dtype, log=log, pictures=setup.folder / "pictures",
    )  # fmt: skip


def prepare(flags: Config, skeleton: Skeleton, device: torch.device) -> Setup:
    """Decides what the flags left open. Raises UserError, naming flag or file, where the run cannot be."""
    ranks = common.distributed.world_size()
    name = flags.experiment_name or (f"perf_{ranks}p" if flags.case == "perf" else "train")
    data_dir = str(main_first(lambda: common.coco.mini.dataset.resolve(flags.data_dir, str(DATA_FOLDER), DATA_FOLDER)))
    config = dataclasses.replace(flags.on_devices(ranks), data_dir=data_dir, experiment_name=name)
    samples = train_samples(config, skeleton)
    limit = config.part_size or (CPU_IMAGES_PER_PART if device.type == "cpu" else 0)
    part_size, parts = divide(config.batch_size * ranks, len(samples), ranks, limit)
    return Setup(
        network=NETWORK,
        config=config,
        samples=samples,
        collate=collate,
        plan=plan(config, parts, part_size * parts * ranks, len(samples)),
        part_size=part_size,
        num_workers=workers_for(config.num_workers, device),
        folder=Path(config.output_dir) / f"{name}_checkpoints",
        log_folder=Path(config.log_dir or Path(config.output_dir) / "test" / "output" / "0"),
    )


def plan(config: Config, parts: int, images_per_step: int, num_samples: int) -> Plan:
    """What the training loop is told."""
    steps, most = num_samples // images_per_step, PROFILED_STEPS if config.need_profiler else config.max_steps
    return Plan(
        epochs=1 if config.need_profiler else config.max_epoch_train,
        steps_per_epoch=min(steps, most or steps),
        images_per_step=images_per_step,
        parts=parts,
        log_every=config.print_freq,
        evaluate_every=config.eval_freq,
        save_every=config.save_every,
        keep_every=config.keep_every,
    )


def learning_rates(setup: Setup) -> tuple[dict[str, Rates], list[str]]:
    """The rate of every step and group, and what is said before the first step, as published (spec A8), beginning with
    a warning where the rate drops too early."""
    config, steps, ranks = setup.config, setup.plan.steps_per_epoch, common.distributed.world_size()
    rates = learning_rate.learning_rates(
        config.lr, config.lr_gamma, steps, setup.plan.epochs, config.lr_steps, ranks, config.lr_type,
        config.warmup_epoch, config.freeze_steps,
    )  # fmt: skip
    total = steps * setup.plan.epochs * ranks
    early = learning_rate.early_drop_warning(config.lr, config.lr_gamma, config.lr_steps, total)
    pretrained = [f"load pretrain model: {config.pretrained_model_path}"] if config.load_pretrain else []
    told = [
        "start create network",
        *pretrained,
        "start create dataset",
        f"step {steps}",
        f"len_of_lr {len(rates['vgg'])} {len(rates['base'])} {len(rates['stage'])}",
    ]
    return rates, [f"warning: {early}", *told] if early and config.lr_type == "default" else told


def train_samples(config: Config, skeleton: Skeleton) -> TrainSamples:
    """Everybody to train on; ignore masks are made where there are none."""
    folder = located(config.data_dir, config.train_dir, "--train_dir")
    annotations = located(str(Path(config.data_dir) / "annotations"), config.train_ann, "--train_ann")
    train_labels = labels.build(annotations, config.label_rules, skeleton.num_keypoints)
    masks = main_first(lambda: mask_folder(config, annotations, train_labels))
    return TrainSamples(
        train_labels, folder, masks, skeleton, config.augmentation, config.seed, config.on_bad_image == "skip",
        config.exif,
    )  # fmt: skip


def located(data_dir: str, name: str, flag: str) -> Path:
    """A file or folder of the data set, or a path of its own. Raises UserError, naming `flag`."""
    if found := common.coco.images.find(data_dir, name):
        return found
    raise UserError(
        f"{Path(data_dir) / name}: no such file or folder: --data_path is needed, a COCO folder (annotations, "
        f"train2017, val2017) or `mini`; else COCO_HOME, DATA_PATH, ./dataset, ./data/coco; {flag} names another place"
    )


def mask_folder(config: Config, annotations: Path, train_labels: labels.TrainLabels) -> Path:
    """Where the ignore masks are: made there whole or not at all, in output_dir where data_dir is read-only.

    Raises UserError where --maskpath_train is not there.
    """
    if config.maskpath_train:
        return located(config.data_dir, config.maskpath_train, "--maskpath_train")
    of_data = Path(config.data_dir) / MASK_FOLDER
    # the name tells data sets apart that share an output folder
    own = Path(config.output_dir) / f"{MASK_FOLDER}_{zlib.crc32(str(annotations.resolve()).encode()):08x}"
    for folder in (of_data, own):
        if folder.is_dir():
            return folder
    folder = of_data if _is_writable(Path(config.data_dir)) else own
    if not train_labels.masked.any():
        return folder
    files.remove_unfinished(folder.parent)
    growing = files.unfinished_name(folder)
    ignore_masks.write(annotations, growing, config.label_rules)
    try:
        growing.replace(folder)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; name another place with --maskpath_train") from error
    return folder


def _is_writable(folder: Path) -> bool:
    """Whether one may write there; a folder that nobody may write into is left alone, also by the superuser."""
    return os.access(folder, os.W_OK) and bool(folder.stat().st_mode & EVERYBODY_WRITES)


def mask_note(samples: TrainSamples) -> list[str]:
    """What must be said of images whose other people have no mask; a few have none because nothing is masked."""
    count = ignore_masks.missing(samples.masks, samples.labels)
    if not count:
        return []
    return [
        f"note: {count} images have people who are not learned and no mask in {samples.masks}: they count as "
        "background, unless learned people hide them (python gen_ignore_mask.py writes masks)"
    ]
