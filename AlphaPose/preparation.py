# SPDX-License-Identifier: Apache-2.0
"""Flags -> all that a training run needs, decided before it starts and said aloud."""

import dataclasses
from pathlib import Path
from typing import Any, Protocol

import common.coco.mini.dataset
import common.coco.reader
import common.distributed
import common.skeleton
import common.train.checkpoint
from AlphaPose import weights
from AlphaPose.config import BACKBONE_AUTO, CPU_IMAGES_PER_PART, NETWORK, Config
from AlphaPose.data import TrainSamples, collate, labelled_people
from AlphaPose.model import HRNET_WIDTH, build
from common.cli import UserError
from common.distributed import main_first
from common.report import ACCURACY
from common.train.loader import divide, workers_for
from common.train.setup import Setup
from common.train.state import Plan

import torch
from torch import nn


def prepare(flags: Config, skeleton: common.skeleton.Skeleton, device: torch.device) -> Setup:
    """Decides what the flags left open. Raises UserError, naming flag or file, where the run cannot be."""
    ranks = common.distributed.world_size()
    data_path = str(main_first(lambda: common.coco.mini.dataset.resolve(flags.data_path, flags.data_root)))
    exp_id = f"{flags.exp_id}_perf_{ranks}p" if flags.case == "perf" else flags.exp_id
    config = dataclasses.replace(flags, data_path=data_path, exp_id=exp_id)
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
        folder=experiment_folder(config),
        log_folder=Path(config.log_dir or Path(config.output_dir) / "test" / "output" / "0"),
        name_kept=lambda epochs: f"model_{epochs - 1}.pth",  # as published: by the last epoch's number, from 0
    )


class Experiment(Protocol):
    """What names an experiment, in the flags of every program."""

    @property
    def cfg(self) -> str: ...

    @property
    def exp_id(self) -> str: ...

    @property
    def output_dir(self) -> str: ...


def checkpoint_of(name: str, experiment: Experiment) -> Path:
    """A checkpoint by path or published name; without a name the best of an experiment. Raises UserError."""
    if name:
        return weights.locate(name)
    best = experiment_folder(experiment) / common.train.checkpoint.BEST
    if not best.is_file():
        raise UserError(f"--checkpoint is needed: {best} is not there")
    return best


def experiment_folder(config: Experiment) -> Path:
    """Where a run keeps its checkpoints, as published: exp/<exp_id>-<name of --cfg>."""
    return Path(config.output_dir) / "exp" / f"{config.exp_id}-{Path(config.cfg).name}"


def located(config: Config, place: str, flag: str) -> Path:
    """A file or folder of the data set. Raises UserError, naming `flag`."""
    found = common.coco.images.find(config.root, place)
    if found is None:
        cure = f"--data_path must be a COCO folder, or `mini`, and --{flag} a place in it"
        raise UserError(f"{Path(config.root) / place}: no such file or folder; {cure}")
    return found


def train_samples(config: Config, skeleton: common.skeleton.Skeleton) -> TrainSamples:
    """Everybody to train on. Raises UserError where the annotations are of another skeleton."""
    index = common.coco.reader.load(located(config, config.train_labels, "train_labels"), skeleton.num_keypoints)
    if config.num_joints not in (0, skeleton.num_keypoints):
        found = f"--skeleton={config.skeleton} has {skeleton.num_keypoints}"
        raise UserError(f"{config.cfg}: DATA_PRESET.NUM_JOINTS is {config.num_joints}, {found}")
    folder = located(config, config.train_images_folder, "train_images_folder")
    return TrainSamples(labelled_people(index), folder, skeleton, config)


def plan(config: Config, parts: int, images_per_step: int, num_samples: int) -> Plan:
    """What the training loop is told."""
    return Plan(
        epochs=config.epochs,
        steps_per_epoch=num_samples // images_per_step,
        images_per_step=images_per_step,
        parts=parts,
        clip_norm=config.clip_norm,
        log_every=config.print_freq,
        evaluate_every=config.snapshot,
        save_every=config.save_every,
        keep_every=config.snapshot,
        watched=(ACCURACY,),
    )


def network(config: Config, num_joints: int) -> nn.Module:
    """The network that the recipe names."""
    options: dict[str, Any] = {} if config.model == "PoseHighResolutionNet" else {"num_layers": config.num_layers}
    if config.model == "FastPose":
        options["conv_dim"] = config.conv_dim
        if config.stages_with_dcn:
            options["deformable"] = config.stages_with_dcn
    if config.model == "FastPose_DUC":
        options["counts"] = (config.stage1_convolutions, config.stage2_convolutions, config.stage3_convolutions)
    return build(config.model, num_joints, **options)


def load_start(model: nn.Module, config: Config) -> str:
    """Loads what the network begins with; returns the report of it. A run that measures speed may begin at random."""
    imagenet = config.backbone
    if imagenet == BACKBONE_AUTO:
        imagenet = weights.imagenet_name(config.model, config.num_layers, HRNET_WIDTH)
    try:
        return weights.load_start(model, imagenet, config.pretrained, config.try_load)
    except common.train.checkpoint.CheckpointError:
        if config.case == "perf" and not (config.pretrained or config.try_load):
            return weights.load_start(model, weights.RANDOM)
        raise
