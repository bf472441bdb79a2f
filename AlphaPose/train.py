# SPDX-License-Identifier: Apache-2.0
"""Trains a top-down network of AlphaPose on COCO keypoints (spec A2.3), on one device or several.

bash test/train_full_1p.sh --data_path=/data/coco            the published recipe, FastPose on ResNet-50
bash test/train_full_8p.sh --data_path=/data/coco            the same on eight devices
python -m AlphaPose.train --data_path=mini --recipe=smoke    minutes on a laptop, embedded data set
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
from AlphaPose.config import Config, parse
from AlphaPose.data import normalise
from AlphaPose.evaluation import while_training
from AlphaPose.loss import accuracy, heatmap_loss, regression_loss
from AlphaPose.preparation import load_start, network, prepare
from common.cli import run
from common.report import ACCURACY
from common.topdown.gaussian_heatmaps import encode
from common.train.loop import announce, leave_report
from common.train.setup import Setup

import torch
from easydict import EasyDict
from torch import Tensor, nn

MIDDLE = 0.5  # the target of regression counts from the middle of the input


def build_optimizer(model: nn.Module, cfg: EasyDict) -> torch.optim.Optimizer:
    """Adam, or RMSprop, with the published values."""
    kinds = {"adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}
    return kinds[cfg.TRAIN.OPTIMIZER](model.parameters(), lr=cfg.TRAIN.LR)


def lr_factor(epoch: int, config: Config) -> float:
    """What the learning rate of an epoch is multiplied with; the stage of dynamic proposals begins with 1 again."""
    cfg = config.yaml.TRAIN
    second_stage = config.dpg and epoch >= cfg.DPG_MILESTONE
    steps = cfg.DPG_STEP if second_stage else cfg.LR_STEP
    return cfg.LR_FACTOR ** sum(epoch >= step for step in steps)


def forward_losses(
    model: nn.Module, batch: dict[str, Tensor], device: torch.device, config: Config
) -> dict[str, Tensor]:
    """The loss, and the accuracy of the peaks, on one batch of `data.collate`; targets are drawn on the device."""
    images, visible = (batch[name].to(device, non_blocking=True) for name in ("image", "visible"))
    joints = batch["joints"].to(common.device.exact_type(device)).to(device, non_blocking=True)
    maps = model(normalise(images)).float()
    loss = config.yaml.LOSS
    if loss.TYPE == "L1JointRegression":
        size = joints.new_tensor(config.size_in[::-1])
        target = (joints / size - MIDDLE).float()
        return {"loss": regression_loss(maps, target, visible[..., None].expand_as(target), loss.NORM_TYPE)}
    sigma = config.yaml.DATA_PRESET.SIGMA
    target, weight = encode(joints, visible, (maps.shape[2], maps.shape[3]), config.stride, sigma)
    return {"loss": heatmap_loss(maps, target, weight), ACCURACY: accuracy(maps.detach(), target, weight)}


def main() -> None:
    """Reads the flags, trains, leaves checkpoints, metrics and a result file."""
    began = time.time()
    flags = parse()
    flags.check()
    with common.distributed.process_group(flags.device) as device:
        skeleton = common.skeleton.load(flags.skeleton)
        train(prepare(flags, skeleton, device), skeleton, device, began)


def train(setup: Setup, skeleton: common.skeleton.Skeleton, device: torch.device, began: float) -> None:
    """Trains what `setup` describes, from a start or from where an unfinished run stopped."""
    config, cfg = setup.config, setup.config.yaml
    beginning = setup.begin(
        cfg.MODEL.TYPE,
        device,
        lambda: network(cfg, skeleton.num_keypoints),
        lambda model: load_start(model, config),
        lambda model: build_optimizer(model, cfg),
        cfg.TRAIN.BEGIN_EPOCH,
    )
    rates = functools.partial(lr_factor, config=config)
    losses = functools.partial(forward_losses, device=device, config=config)
    with setup.log(beginning.fresh) as log:
        announce(beginning.state, cfg.TRAIN.LR, beginning.notes, log)
        setup.train(beginning, losses, rates, log, while_training(setup, skeleton, device, beginning.state.dtype, log))
        leave_report(beginning.state, setup.network, began, log)


if __name__ == "__main__":
    run(main)
