# SPDX-License-Identifier: Apache-2.0
"""What the flags mean: the data set, the folder of a run, its samples, its network and the weights it begins with."""

import dataclasses
from pathlib import Path

import common.coco.images
import common.coco.reader
import common.distributed
import common.skeleton
from common.cli import UserError
from common.distributed import main_process_first
from common.train.checkpoint import CheckpointError
from MIPNet import weights
from MIPNet.config import NO_WEIGHTS, Config
from MIPNet.data import TrainSamples, labelled_people
from MIPNet.model import PoseHRNet, PoseResNet, build


def find_data(config: Config) -> Config:
    """The settings with the folder of the data set, and the run's name. Raises UserError."""
    data_path = str(main_process_first(lambda: common.coco.images.data_folder(config.data_path, config.root)))
    perf = f"{config.experiment}_perf_{common.distributed.world_size()}p"
    experiment = perf if config.case == "perf" else config.experiment
    return dataclasses.replace(config, data_path=data_path, experiment=experiment)


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
