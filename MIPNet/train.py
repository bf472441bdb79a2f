# SPDX-License-Identifier: Apache-2.0
"""Trains a network of MIPNet (spec A1.5, A1.6), plain or with lambda, on one device or several.

bash test/train_full_8p.sh --data_path=/data/coco                     the published recipe, HRNet-W48 on eight devices
bash test/train_lambda_full_8p.sh --data_path=/data/coco              two people a box, told apart by lambda
python -m MIPNet.train --data_path=mini --recipe=smoke [--lambda]     minutes on a laptop, embedded data set
python -m MIPNet.train --cfg experiments/coco/hrnet/w32_256x192_adam_lr1e-3.yaml TRAIN.LR 5e-4    as published
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
from common.cli import run
from common.report import ACCURACY
from common.topdown.gaussian_heatmaps import encode
from common.train.loop import announce, leave_report
from common.train.setup import Setup
from MIPNet import recipe_file
from MIPNet.config import RECIPES, Config
from MIPNet.data import normalise
from MIPNet.evaluation import while_training
from MIPNet.loss import accuracy, draw_lambdas, hardest_joints, heatmap_loss, lambda_loss
from MIPNet.model import lambda_vectors
from MIPNet.preparation import load_start, network, prepare

import torch
from torch import Tensor, nn


def build_optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """Adam without weight decay as published, or SGD."""
    if config.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=config.lr)
    return torch.optim.SGD(
        model.parameters(), config.lr, config.momentum, weight_decay=config.weight_decay, nesterov=config.nesterov
    )


def lr_factor(epoch: int, steps: tuple[int, ...], factor: float) -> float:
    """What the learning rate of an epoch is multiplied with: `factor` once for each step that has passed."""
    return factor ** sum(epoch >= step for step in steps)


def forward_losses(
    model: nn.Module, batch: dict[str, Tensor], device: torch.device, config: Config
) -> dict[str, Tensor]:
    """The loss, and the accuracy of the peaks, on one batch of `data.collate`; targets are drawn on the device."""
    images, visible = (batch[name].to(device, non_blocking=True) for name in ("image", "visible"))
    joints = batch["joints"].to(common.device.exact_type(device)).to(device, non_blocking=True)
    images = normalise(images)
    size_map = (config.heatmap_size[0], config.heatmap_size[1])
    if config.takes_lambda:
        targets = [encode(joints[:, n], visible[:, n], size_map, config.stride, config.sigma) for n in (0, 1)]
        return _lambda_losses(model, images, targets)
    maps = model(images).float()
    target, weight = encode(joints, visible, size_map, config.stride, config.sigma)
    if config.hardest:
        loss = hardest_joints(maps, target, weight, config.hardest_count)
    else:
        loss = heatmap_loss(maps, target, weight)
    return {"loss": loss, ACCURACY: accuracy(maps.detach(), target)}


def _lambda_losses(model: nn.Module, images: Tensor, targets: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Every image with a lambda and with 1 - lambda; `targets`: maps and weights of the box's person, of the other."""
    lambdas = draw_lambdas(len(images)).to(images.device)
    maps = model(images, lambda_vectors(lambdas)).float()
    (first, first_weight), (other, other_weight) = ((torch.cat([t, t]), torch.cat([w, w])) for t, w in targets)
    loss = lambda_loss(maps, (first, other), (first_weight, other_weight), lambdas)
    meant = torch.where(lambdas[:, None, None, None] > 0, first, other)
    return {"loss": loss, ACCURACY: accuracy(maps.detach(), meant)}


def main() -> None:
    """Reads the flags, trains, leaves checkpoints, metrics and a result file."""
    began = time.time()
    flags = recipe_file.parse(Config, RECIPES)
    flags.check()
    with common.distributed.process_group(flags.device) as device:
        skeleton = common.skeleton.load(flags.skeleton_name)
        train(prepare(flags, skeleton, device), skeleton, device, began)


def train(setup: Setup, skeleton: common.skeleton.Skeleton, device: torch.device, began: float) -> None:
    """Trains what `setup` describes, from a start or from where an unfinished run stopped."""
    config = setup.config
    beginning = setup.begin(
        config.model,
        device,
        lambda: network(config, skeleton.num_keypoints),
        lambda model: load_start(model, config),
        lambda model: build_optimizer(model, config),
        config.begin_epoch,
    )
    rates = functools.partial(lr_factor, steps=config.lr_steps, factor=config.lr_factor)
    losses = functools.partial(forward_losses, device=device, config=config)
    with setup.log(beginning.fresh) as log:
        announce(beginning.state, config.lr, beginning.notes, log)
        setup.train(beginning, losses, rates, log, while_training(setup, skeleton, device, beginning.state.dtype, log))
        leave_report(beginning.state, setup.network, began, log)


if __name__ == "__main__":
    run(main)
