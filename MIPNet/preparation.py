# SPDX-License-Identifier: Apache-2.0
"""Flags -> all that a training run needs, decided before it starts and said aloud."""

import dataclasses
from pathlib import Path

import common.coco.mini.dataset
import common.coco.reader
import common.distributed
import common.skeleton
from common.cli import UserError
from common.distributed import main_process_first
from common.report import ACCURACY
from common.train.checkpoint import CheckpointError
from common.train.loader import divide, workers_for
from common.train.setup import Setup
from common.train.state import Plan
from MIPNet import weights
from MIPNet.config import CPU_IMAGES_PER_PART, NETWORK, NO_WEIGHTS, Config
from MIPNet.data import TrainSamples, collate, labelled_people
from MIPNet.model import PoseHRNet, PoseResNet, build

import torch


def prepare(flags: Config, skeleton: common.skeleton.Skeleton, device: torch.device) -> Setup:
    """Decides what the flags left open. Raises UserError, naming flag or file, where the run cannot be."""
    ranks = common.distributed.world_size()
    data_path = str(main_process_first(lambda: common.coco.mini.dataset.resolve(flags.data_path, flags.root)))
    experiment = f"{flags.experiment}_perf_{ranks}p" if flags.case == "perf" else flags.experiment
    config = dataclasses.replace(flags, data_path=data_path, experiment=experiment)
    samples = train_samples(config, skeleton)
    limit = config.part_size or (CPU_IMAGES_PER_PART if device.type == "cpu" else 0)
    division = divide(config.batch_size * ranks, len(samples), ranks, limit)
    return Setup(
        network=NETWORK,
        config=config,
        samples=samples,
        collate=collate,
        plan=plan(config, division, len(samples), workers_for(config.num_workers, device)),
        folder=experiment_folder(config),
        log_folder=Path(config.log_dir or Path(config.output_dir) / "test" / "output" / "0"),
    )


def experiment_folder(config: Config) -> Path:
    """Where a run keeps its checkpoints, as published: output/<data set>/<network>/<name of --cfg>."""
    name = Path(config.cfg).stem + config.experiment
    return Path(config.output_dir) / config.checkpoints / config.dataset / config.model / name


def located(config: Config, path: str, flag: str) -> Path:
    """A file or folder of the data set: in --data_path, else a path of its own. Raises UserError, naming `flag`."""
    if found := common.coco.images.find(config.root, path):
        return found
    raise UserError(
        f"{Path(config.root) / path}: no such file or folder: --data_path must be the folder of the data set, or "
        f"`mini`; --{flag} names another place"
    )


def check_joints(config: Config, skeleton: common.skeleton.Skeleton) -> None:
    """Raises UserError where the recipe has another number of joints than the skeleton."""
    if config.num_joints not in (0, skeleton.num_keypoints):
        found = f"the skeleton {skeleton.name} of DATASET.DATASET {config.dataset} has {skeleton.num_keypoints}"
        raise UserError(f"MODEL.NUM_JOINTS is {config.num_joints}, {found}")


def train_samples(config: Config, skeleton: common.skeleton.Skeleton) -> TrainSamples:
    """Everybody to train on. Raises UserError where the annotations are of another skeleton."""
    check_joints(config, skeleton)
    index = common.coco.reader.load(located(config, config.train_labels, "train_labels"), skeleton.num_keypoints)
    folder = located(config, config.train_images_folder, "train_images_folder")
    return TrainSamples(labelled_people(index, config.people_of), folder, skeleton, config)


def plan(config: Config, division: tuple[int, int], num_samples: int, num_workers: int) -> Plan:
    """What the training loop is told."""
    micro_batch_size, accumulation_steps = division
    return Plan(
        epochs=config.epochs,
        num_samples=num_samples,
        micro_batch_size=micro_batch_size,
        accumulation_steps=accumulation_steps,
        max_steps=config.max_steps,
        num_workers=num_workers,
        clip_norm=config.clip_norm,
        log_every=config.print_freq,
        evaluate_every=config.eval_freq,
        save_every=config.save_every,
        keep_every=config.keep_every,
        watched=(ACCURACY,),
    )


def network(config: Config, num_joints: int) -> PoseHRNet | PoseResNet:
    """The network that the recipe names. Raises UserError for an unknown name or impossible values."""
    return build(
        config.model,
        num_joints,
        stages=config.stages,
        num_layers=config.num_layers,
        se_modules=config.se_modules,
        final_kernel=config.final_kernel,
        filters=config.deconv_filters,
        kernels=config.deconv_kernels,
        stem=config.stem,
    )


def load_start(model: PoseHRNet | PoseResNet, config: Config) -> str:
    """Loads what the network begins with; returns the report of it. A run that measures speed may begin at random.

    A checkpoint of the whole network takes the place of ImageNet weights. Raises CheckpointError.
    """
    checkpoint = config.check_point or config.model_file
    try:
        if not checkpoint:
            return weights.load_start(model, config.pretrained, config.pretrained_layers)
        source = weights.locate(checkpoint)
    except CheckpointError as error:
        if config.case == "perf" and not config.check_point:
            return weights.load_start(model, NO_WEIGHTS)
        flag = "--pth_path" if config.check_point else "TEST.MODEL_FILE"
        raise CheckpointError(f"{flag}: {error}") if checkpoint else error from error
    weights.initialise(model)
    return weights.load_checkpoint(model, source, new_head=True)
