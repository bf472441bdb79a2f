# SPDX-License-Identifier: Apache-2.0
"""Trains the VGG19 OpenPose of MindSpore on COCO keypoints (spec A4 to A9), on one device or several.

python train.py --train_dir train2017 --train_ann person_keypoints_train2017.json     as published, COCO in ./dataset
bash test/train_full_8p.sh --data_path=/data/coco            the published recipe on eight devices
sh scripts/run_distribute_train.sh rank_table.json           the same, devices from a rank table
python -m OpenPose_MindSpore_port.train --data_path=mini --recipe=smoke     minutes on a laptop, embedded data set
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036  nothing is installed for an older one: it is said here
    sys.stderr.write("error: Python 3.10 or newer is needed, not " + sys.version.split()[0] + "\n")
    sys.exit(2)

import functools
import time
from pathlib import Path

import common.device
import common.distributed
import common.skeleton
from common.cli import parse, run
from common.train.loop import Losses
from common.train.setup import Setup
from OpenPose_MindSpore_port import weights
from OpenPose_MindSpore_port.config import ALIASES, RECIPES, RETIRED, Config
from OpenPose_MindSpore_port.data import normalise
from OpenPose_MindSpore_port.loss import stage_losses
from OpenPose_MindSpore_port.model import OpenPose
from OpenPose_MindSpore_port.optimizer import Clipping, MindSporeAdam, Momentum, one_group, parameter_groups
from OpenPose_MindSpore_port.preparation import evaluation, learning_rates, mask_note, prepare
from OpenPose_MindSpore_port.steps import Steps
from OpenPose_MindSpore_port.targets import TargetRules, encode

import torch
from torch import Tensor, nn


def build_optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """Adam or Momentum, with a rate for each part of the network or one for all, gradients clipped or not."""
    groups = parameter_groups(model) if config.group_params else one_group(model)
    clipping = None
    if config.train_type == "clip_grad":
        by_norm, scale = config.GRADIENT_CLIP_TYPE == 1, float(config.loss_scale) if config.clip_scaled else 1.0
        clipping = Clipping(config.GRADIENT_CLIP_VALUE, by_norm, config.clip_scaled, scale)
    if config.optimizer == "Momentum":
        return Momentum(groups, config.lr, config.momentum, clipping)
    return MindSporeAdam(groups, config.lr, clipping=clipping)


def forward_losses(
    network: nn.Module,
    batch: dict[str, Tensor],
    device: torch.device,
    skeleton: common.skeleton.Skeleton,
    rules: TargetRules,
) -> Losses:
    """The losses of every stage on one batch of `data.collate`; targets are drawn on the device."""
    images, usable, points = (batch[name].to(device, non_blocking=True) for name in ("image", "usable", "points"))
    heatmaps, fields = encode(points, (usable.shape[2], usable.shape[3]), skeleton, rules)
    return stage_losses(*network(normalise(images)), fields, heatmaps, usable)


def main() -> None:
    """Reads the flags, trains, leaves checkpoints, metrics and a result file."""
    began = time.time()
    flags = parse(Config, RECIPES, aliases=ALIASES, retired=RETIRED)
    flags.check()
    with common.distributed.joined(flags.device) as device:
        skeleton = common.skeleton.load(flags.skeleton)
        notes = flags.told_of_devices(common.distributed.world_size())
        train(prepare(flags, skeleton, device), skeleton, device, began, notes)


def train(
    setup: Setup, skeleton: common.skeleton.Skeleton, device: torch.device, began: float, notes: list[str]
) -> None:
    """Trains what `setup` describes, from a start or from where an unfinished run stopped; `notes` are said first."""
    config: Config = setup.config
    beginning = setup.begin(
        "openpose_vgg19",
        device,
        lambda: OpenPose(skeleton.num_heatmaps, skeleton.num_fields, config.vgg_with_bn),
        lambda model: load_start(model, config),
        lambda model: build_optimizer(model, config),
    )
    rates, told = learning_rates(setup)
    beginning.notes.extend([*notes, *mask_note(setup.samples), *told])
    losses = functools.partial(forward_losses, device=device, skeleton=skeleton, rules=config.target_rules)
    with setup.log(beginning.fresh) as log:
        setup.announce(log, beginning, config.lr)
        trainee = beginning.trainee
        steps = Steps(setup, trainee, rates, log)
        setup.train(
            beginning, losses, lambda epoch: 1.0, log, evaluation(setup, skeleton, device, beginning.dtype, log),
            set_rates=steps.begin, each_step=steps,
        )  # fmt: skip
        steps.finish()
    setup.leave_report(began)


def load_start(model: OpenPose, config: Config) -> str:
    """Loads what the run begins with; returns the report of it. A run that measures speed may begin at random."""
    pretrained = Path(config.pretrained_model_path) if config.load_pretrain else None
    vgg = None if pretrained else weights.starting_vgg(config.vgg_path, may_be_random=config.case == "perf")
    return weights.load_start(model, vgg, pretrained)


if __name__ == "__main__":
    run(main)
