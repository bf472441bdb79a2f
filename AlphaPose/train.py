# SPDX-License-Identifier: Apache-2.0
"""Trains a top-down network of AlphaPose on COCO keypoints, on one device or several.

bash test/train_full_1p.sh --data_path=/data/coco            the published recipe, FastPose on ResNet-50
bash test/train_full_8p.sh --data_path=/data/coco            the same on eight devices
python -m AlphaPose.train --data_path=mini --recipe=smoke    minutes on a laptop, embedded data set
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036  nothing is installed for an older one: so this is checked here
    sys.stderr.write("error: Python 3.10 or newer is needed, not " + sys.version.split()[0] + "\n")
    sys.exit(2)

import functools

import common.device
import common.distributed
from AlphaPose.config import CPU_MICRO_BATCH, NETWORK, Config, parse
from AlphaPose.data import TrainSamples, normalise_batch, with_skeleton
from AlphaPose.loss import accuracy, regression_loss
from AlphaPose.model import build
from AlphaPose.weights import load_start
from common.cli import run
from common.report import ACCURACY
from common.topdown.targets import collate, encode, mean_squared_error
from common.train.loader import Plan, divide, workers_for
from common.train.log import Log
from common.train.loop import announce, finish_epoch, train_one_epoch, training
from common.train.state import TrainState, set_learning_rates
from common.train.store import Store, agree, agree_on_recipe

import torch
from easydict import EasyDict
from torch import Tensor, nn


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
    """The loss, and the accuracy of the peaks, on one batch of `collate`; targets are drawn on the device."""
    images, visible = (batch[name].to(device, non_blocking=True) for name in ("image", "visible"))
    joints = batch["joints"].to(common.device.exact_type(device)).to(device, non_blocking=True)
    maps = model(normalise_batch(images)).float()
    loss = config.yaml.LOSS
    if loss.TYPE == "L1JointRegression":
        target = (joints / joints.new_tensor(config.size_in[::-1])).float()
        return {"loss": regression_loss(maps, target, visible[..., None].expand_as(target), loss.NORM_TYPE)}
    sigma = config.yaml.DATA_PRESET.SIGMA
    target, weight = encode(joints, visible, (maps.shape[2], maps.shape[3]), config.stride, sigma)
    return {"loss": mean_squared_error(maps, target, weight), ACCURACY: accuracy(maps.detach(), target, weight)}


def plan_of(config: Config, num_samples: int, device: torch.device) -> Plan:
    """How the run is divided into steps. Raises UserError where there are fewer samples than ranks."""
    ranks = common.distributed.recipe_ranks()
    limit = config.micro_batch_size or (CPU_MICRO_BATCH if device.type == "cpu" else 0)
    asked = config.yaml.TRAIN.BATCH_SIZE * ranks
    return Plan(
        **divide(asked, num_samples, ranks, limit),
        epochs=config.yaml.TRAIN.END_EPOCH,
        num_workers=workers_for(config.num_workers, device),
        clip_norm=config.clip_norm,
        log_every=config.print_freq,
        evaluate_every=config.snapshot,
        save_every=config.save_every,
        keep_every=config.snapshot,
        watched=(ACCURACY,),
    )


def main() -> None:
    """Reads the flags, trains, leaves checkpoints, metrics and a result file."""
    config = parse()
    config.check()
    with common.distributed.process_group(config.device) as device:
        agree_on_recipe(config)  # all servers have the same code, torch and flags
        config = with_skeleton(config)
        cfg, skeleton = config.yaml, config.load_skeleton()
        samples = TrainSamples(config, skeleton)
        agree(samples.index.facts())  # and the same annotations
        plan = plan_of(config, len(samples), device)

        store = Store(config.folder, config.keep, lambda epochs: f"model_{epochs - 1}.pth")  # as published: from 0
        notes = list[str]()  # what the log begins with: it opens once the folder is free
        unfinished = store.unfinished(config, len(samples), notes.append)

        torch.manual_seed(config.seed)
        model = build(cfg.MODEL, skeleton.num_keypoints)
        if not unfinished:
            notes.append(load_start(model, config))
            store.make_room(config, notes.append)  # a run that is in the folder gets another name
        common.device.move(model, device)
        optimizer = build_optimizer(model, cfg)
        state = TrainState(model, optimizer, plan, device, store, config)
        if unfinished:
            notes.append(state.restore(unfinished))

        losses = functools.partial(forward_losses, device=device, config=config)
        with Log(store.metrics_file, config.log_folder, store.folder / "tensorboard", fresh=not unfinished) as log:
            announce(state, cfg.TRAIN.LR, notes, log)
            evaluate = None
            if plan.evaluate_every:
                from AlphaPose.eval import while_training  # not needed by a performance run

                evaluate = while_training(config, device, state.dtype, log, store.folder)
            with training(state, NETWORK, log):
                finish_epoch(state, evaluate, log)  # of an epoch that the previous run saved, then broke off
                batches = state.batches(samples, collate, config.seed)
                for epoch in state.epochs_left():
                    set_learning_rates(optimizer, lr_factor(epoch, config))
                    train_one_epoch(state, batches, losses, log)
                    state.end_epoch()  # saves, before anything that may fail
                    finish_epoch(state, evaluate, log)  # keeps, evaluates, keeps the best


if __name__ == "__main__":
    run(main)
