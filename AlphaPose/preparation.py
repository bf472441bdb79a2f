# SPDX-License-Identifier: Apache-2.0
"""The network, the start, the data and the folder that a configuration names."""

import dataclasses
from pathlib import Path
from typing import Any, Literal, Protocol

import common.coco.images
import common.coco.reader
import common.distributed
import common.skeleton
import common.train.checkpoint
from AlphaPose import weights
from AlphaPose.config import BACKBONE_AUTO, Config
from AlphaPose.data import TrainSamples, labelled_people
from AlphaPose.model import HRNET_WIDTH, build
from common.cli import UserError
from common.distributed import main_process_first

from easydict import EasyDict
from torch import nn

Split = Literal["TRAIN", "VAL", "TEST"]


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


def located(config: Config, split: Split, name: Literal["ANN", "IMG_PREFIX"]) -> Path:
    """The annotations or the image folder of a part of the data set. Raises UserError, naming the key.

    Where DATASET.TEST says nothing, DATASET.VAL does, and where that has no ROOT, DATASET.TRAIN.
    """
    dataset, root = config.yaml.DATASET, _root(config, split)
    place = dataset[split][name] or dataset.VAL[name]
    if found := common.coco.images.find(root, place):
        return found
    cure = f"--data_path must be a COCO folder, or `mini`, and DATASET.{split}.{name} a place in it"
    raise UserError(f"{root / place}: no such file or folder; {cure}")


def _root(config: Config, split: Split) -> Path:
    dataset = config.yaml.DATASET
    usual = (dataset.TEST.ROOT if split == "TEST" else "") or (split != "TRAIN" and dataset.VAL.ROOT)
    return main_process_first(lambda: common.coco.images.data_folder(config.data_path, usual or dataset.TRAIN.ROOT))


def with_skeleton(config: Config) -> Config:
    """The settings with the skeleton of the data set, where it has its own and no other is asked for."""
    name = common.coco.images.skeleton_name(config.skeleton, Config.skeleton, _root(config, "TRAIN"))
    return dataclasses.replace(config, skeleton=name)


def train_samples(config: Config, skeleton: common.skeleton.Skeleton) -> TrainSamples:
    """Everybody to train on. Raises UserError where the annotations are of another skeleton."""
    index = common.coco.reader.load(located(config, "TRAIN", "ANN"), skeleton.num_keypoints)
    check_joints(config, skeleton)
    return TrainSamples(labelled_people(index), located(config, "TRAIN", "IMG_PREFIX"), skeleton, config)


def check_joints(config: Config, skeleton: common.skeleton.Skeleton) -> None:
    """Raises UserError where the yaml config has another number of joints than the skeleton."""
    num_joints = config.yaml.DATA_PRESET.NUM_JOINTS
    own = config.skeleton.endswith(common.coco.images.YAML)  # a file of your own decides
    if num_joints not in (0, skeleton.num_keypoints) and not own:
        found = f"--skeleton={skeleton.name} has {skeleton.num_keypoints}"
        raise UserError(f"{config.cfg}: DATA_PRESET.NUM_JOINTS is {num_joints}, {found}")


def network(cfg: EasyDict, num_joints: int) -> nn.Module:
    """The network that MODEL of a yaml config names."""
    model = cfg.MODEL
    options: dict[str, Any] = {} if model.TYPE == "PoseHighResolutionNet" else {"num_layers": model.NUM_LAYERS}
    if model.TYPE == "FastPose":
        options |= {"conv_dim": model.CONV_DIM, "deformable": model.STAGE_WITH_DCN}
    if model.TYPE == "FastPose_DUC":
        options["counts"] = (model.STAGE1.NUM_CONV, model.STAGE2.NUM_CONV, model.STAGE3.NUM_CONV)
    return build(model.TYPE, num_joints, **options)


def load_start(model: nn.Module, config: Config) -> str:
    """Loads what the network begins with; returns the report of it. A run that measures speed may begin at random."""
    cfg, imagenet = config.yaml.MODEL, config.backbone
    if imagenet == BACKBONE_AUTO:
        imagenet = weights.imagenet_name(cfg.TYPE, cfg.NUM_LAYERS, HRNET_WIDTH)
    try:
        return weights.load_start(model, imagenet, cfg.PRETRAINED, cfg.TRY_LOAD)
    except common.train.checkpoint.CheckpointError:
        if config.case == "perf" and not (cfg.PRETRAINED or cfg.TRY_LOAD):
            return weights.load_start(model, weights.RANDOM)
        raise
