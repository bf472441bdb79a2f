# SPDX-License-Identifier: Apache-2.0
"""Trains Lightweight OpenPose on COCO keypoints (spec A5, A6), on one device or several.

bash test/train_full_1p.sh --data_path=/data/coco --step=1       the published recipe, three steps one after the other
bash test/train_full_8p.sh --data_path=/data/coco --step=2       the same on eight devices
python -m Lightweight_OpenPose.train --data_path=mini --recipe=smoke     minutes on a laptop, embedded data set
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036  nothing is installed for an older one: it is said here
    sys.stderr.write("error: Python 3.10 or newer is needed, not " + sys.version.split()[0] + "\n")
    sys.exit(2)

import functools
import time

import common.device
import common.distributed
import common.skeleton
import common.train.loop
from common.cli import parse, run
from common.train.setup import Setup
from Lightweight_OpenPose import data, weights
from Lightweight_OpenPose.config import ALIASES, RECIPES, RETIRED, Config
from Lightweight_OpenPose.loss import stage_losses
from Lightweight_OpenPose.model import PoseEstimationWithMobileNet
from Lightweight_OpenPose.preparation import evaluation, prepare
from Lightweight_OpenPose.targets import TargetRules, encode

import torch
from torch import Tensor, nn

# part of the network, kind of parameter, learning rate over the base, whether weight decay applies (spec A5)
PARAMETER_GROUPS = (
    ("model", "conv.weight", 1, True), ("model", "depthwise.weight", 1, False),
    ("model", "bn.weight", 1, False), ("model", "bn.bias", 2, False),
    ("cpm", "conv.weight", 1, True), ("cpm", "conv.bias", 2, False), ("cpm", "depthwise.weight", 1, False),
    ("initial_stage", "conv.weight", 1, True), ("initial_stage", "conv.bias", 2, False),
    ("refinement_stages", "conv.weight", 4, True), ("refinement_stages", "conv.bias", 8, False),
    ("refinement_stages", "bn.weight", 1, False), ("refinement_stages", "bn.bias", 2, False),
)  # fmt: skip


def build_optimizer(model: nn.Module, base_lr: float, weight_decay: float) -> torch.optim.Adam:
    """Adam with the thirteen parameter groups of the publication, in its order: its optimiser states fit."""
    members: dict[tuple[str, str], list[nn.Parameter]] = {}
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            members.setdefault((module_name.split(".")[0], f"{_kind(module)}.{name}"), []).append(parameter)
    groups = [
        {"params": members.get((part, kind), []), "lr": base_lr * factor, "weight_decay": weight_decay * decays}
        for part, kind, factor, decays in PARAMETER_GROUPS
    ]
    return torch.optim.Adam(groups, lr=base_lr)


def _kind(module: nn.Module) -> str:
    if isinstance(module, nn.Conv2d):
        return "conv" if module.groups == 1 else "depthwise"
    return "bn"


def lr_factor(epoch: int, drops: tuple[int, ...], drop_factor: float, warm_up_epochs: int = 0) -> float:
    """What the learning rates of an epoch are multiplied with: `drop_factor` once for each drop that has passed."""
    warm_up = min(1.0, 0.1 + 0.9 * epoch / warm_up_epochs) if warm_up_epochs else 1.0
    return warm_up * drop_factor ** sum(epoch >= drop for drop in drops)


def forward_losses(
    network: nn.Module,
    batch: dict[str, Tensor],
    device: torch.device,
    skeleton: common.skeleton.Skeleton,
    rules: TargetRules,
) -> dict[str, Tensor]:
    """The losses of every stage on one batch of `data.collate`; targets are drawn on the device."""
    images, mask, points = (batch[name].to(device, non_blocking=True) for name in ("image", "mask", "points"))
    heatmaps, fields = encode(points, (mask.shape[2], mask.shape[3]), skeleton, rules)
    return stage_losses(network(data.normalise(images)), heatmaps, fields, mask.float())


def main() -> None:
    """Reads the flags, trains, leaves checkpoints, metrics and a result file."""
    began = time.time()
    flags = parse(Config, RECIPES, aliases=ALIASES, retired=RETIRED)
    flags.check()
    with common.distributed.joined(flags.device) as device:
        skeleton = common.skeleton.load(flags.skeleton)
        train(prepare(flags, skeleton, device), skeleton, device, began)


def train(setup: Setup, skeleton: common.skeleton.Skeleton, device: torch.device, began: float) -> None:
    """Trains what `setup` describes, from a start or from where an unfinished run stopped."""
    config = setup.config
    beginning = setup.begin(
        "openpose",
        device,
        lambda: PoseEstimationWithMobileNet(config.stages, skeleton.num_heatmaps, skeleton.num_fields),
        lambda model: weights.load_start(model, weights.starting_weights(config)),
        lambda model: build_optimizer(model, config.base_lr, config.weight_decay),
    )
    rates = functools.partial(
        lr_factor, drops=config.lr_drops, drop_factor=config.lr_drop_factor, warm_up_epochs=config.lr_warm_up_epochs
    )
    losses = functools.partial(forward_losses, device=device, skeleton=skeleton, rules=config.target_rules)
    with setup.log(beginning.fresh) as log:
        setup.announce(log, beginning, config.base_lr)
        setup.train(beginning, losses, rates, log, evaluation(setup, skeleton, device, beginning.dtype, log))
    setup.leave_report(began)


if __name__ == "__main__":
    run(main)
