# SPDX-License-Identifier: Apache-2.0
"""Trains Lightweight OpenPose on COCO keypoints, on one device or several.

bash test/train_full_1p.sh --data_path=/data/coco --step=1       the published recipe, three steps one after the other
bash test/train_full_8p.sh --data_path=/data/coco --step=2       the same on eight devices
python -m Lightweight_OpenPose.train --data_path=mini --recipe=smoke     minutes on a laptop, embedded data set
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036  nothing is installed for an older one: so this is checked here
    sys.stderr.write("error: Python 3.10 or newer is needed, not " + sys.version.split()[0] + "\n")
    sys.exit(2)

import dataclasses
import functools

import common.device
import common.distributed
import common.skeleton
from common.cli import parse, run
from common.distributed import main_process_first
from common.train.loader import Plan, divide, workers_for
from common.train.log import Log
from common.train.loop import announce, finish_epoch, train_one_epoch, training
from common.train.state import TrainState, set_learning_rates
from common.train.store import Store, agree, agree_on_recipe
from Lightweight_OpenPose import data, weights
from Lightweight_OpenPose.config import (
    ALIASES,
    CPU_MICRO_BATCH,
    IMAGES_PER_RANK,
    LEARNING_RATE_PER_IMAGE,
    NETWORK,
    RECIPES,
    RETIRED,
    STEP_NAMES,
    Config,
    with_data,
)
from Lightweight_OpenPose.loss import stage_losses
from Lightweight_OpenPose.model import PoseEstimationWithMobileNet
from Lightweight_OpenPose.targets import encode

import torch
from torch import Tensor, nn

# part of the network, kind of parameter, learning rate over the base, whether weight decay applies
PARAMETER_GROUPS = (
    ("model", "conv.weight", 1, True),
    ("model", "depthwise.weight", 1, False),
    ("model", "bn.weight", 1, False),
    ("model", "bn.bias", 2, False),
    ("cpm", "conv.weight", 1, True),
    ("cpm", "conv.bias", 2, False),
    ("cpm", "depthwise.weight", 1, False),
    ("initial_stage", "conv.weight", 1, True),
    ("initial_stage", "conv.bias", 2, False),
    ("refinement_stages", "conv.weight", 4, True),
    ("refinement_stages", "conv.bias", 8, False),
    ("refinement_stages", "bn.weight", 1, False),
    ("refinement_stages", "bn.bias", 2, False),
)


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
    network: nn.Module, batch: dict[str, Tensor], device: torch.device, skeleton: common.skeleton.Skeleton
) -> dict[str, Tensor]:
    """The losses of every stage on one batch of `data.collate`; targets are drawn on the device."""
    images, valid_mask, points = (
        batch[name].to(device, non_blocking=True) for name in ("image", "valid_mask", "points")
    )
    heatmaps, pafs = encode(points, (valid_mask.shape[2], valid_mask.shape[3]), skeleton)
    return stage_losses(network(data.normalise(images)), heatmaps, pafs, valid_mask.float())


def plan_of(config: Config, num_samples: int, device: torch.device) -> Plan:
    """How the run is divided into steps. Raises UserError where there are fewer samples than ranks."""
    ranks = common.distributed.recipe_ranks()
    limit = config.micro_batch_size or (CPU_MICRO_BATCH if device.type == "cpu" else 0)
    asked = config.batch_size or IMAGES_PER_RANK * ranks
    return Plan(
        **divide(asked, num_samples, ranks, limit),
        epochs=config.epochs,
        num_workers=workers_for(config.num_workers, device),
        clip_norm=config.clip_norm,
        log_every=config.print_freq,
        evaluate_every=config.eval_freq,
        save_every=config.save_every,
        keep_every=config.keep_every,
    )


def find_data(config: Config) -> Config:
    """The settings with the folder of the data set, and a name for the run. Raises UserError."""
    config = main_process_first(lambda: with_data(config, config.train_images_folder))
    perf = f"perf_{common.distributed.recipe_ranks()}p"
    name = config.experiment_name or (perf if config.case == "perf" else STEP_NAMES[config.step])
    return dataclasses.replace(config, experiment_name=name)


def main() -> None:
    """Reads the flags, trains, leaves checkpoints, metrics and a result file."""
    config = parse(Config, RECIPES, aliases=ALIASES, retired=RETIRED)
    config.check()
    with common.distributed.process_group(config.device) as device:
        agree_on_recipe(config)
        config = find_data(config)
        skeleton = common.skeleton.load(config.skeleton)
        samples = data.train_samples(config, skeleton)
        agree(samples.labels.index.facts())
        validation = None
        if config.eval_freq:
            from Lightweight_OpenPose import eval as evaluation  # not needed by a performance run

            validation = evaluation.load_validation(config, skeleton)
            validation.check()
        plan = plan_of(config, len(samples), device)
        base_lr = config.base_lr or LEARNING_RATE_PER_IMAGE * plan.images_per_step
        config = dataclasses.replace(config, base_lr=base_lr, batch_size=plan.images_per_step)

        store = Store(weights.run_folder(config.output_dir, config.experiment_name), config.keep)
        notes = list[str]()
        unfinished = store.unfinished(config, len(samples), notes.append)

        torch.manual_seed(config.seed)
        model: nn.Module = PoseEstimationWithMobileNet(config.stages, skeleton.num_heatmaps, skeleton.num_pafs)
        if not unfinished:
            notes.append(weights.load_start(model, weights.starting_weights(config)))
            store.make_room(config, notes.append)
        model = common.device.move(model, device)
        optimizer = build_optimizer(model, base_lr, config.weight_decay)
        state = TrainState(model, optimizer, plan, device, store, config)
        if unfinished:
            notes.append(state.restore(unfinished))

        losses = functools.partial(forward_losses, device=device, skeleton=skeleton)
        with Log(store.metrics_file, config.log_folder, store.folder / "tensorboard", fresh=not unfinished) as log:
            announce(state, base_lr, notes, log)
            evaluate = None
            if validation is not None:
                evaluate = evaluation.while_training(validation, config.base_height, skeleton, state, log)
            with training(state, NETWORK, log):
                finish_epoch(state, evaluate, log)  # of an epoch that the previous run saved, then broke off
                batches = state.batches(samples, data.collate, config.seed)
                for epoch in state.epochs_left():
                    factor = lr_factor(epoch, config.lr_drops, config.lr_drop_factor, config.lr_warm_up_epochs)
                    set_learning_rates(optimizer, factor)
                    train_one_epoch(state, batches, losses, log)
                    state.end_epoch()  # saves, before anything that may fail
                    finish_epoch(state, evaluate, log)  # keeps, evaluates, keeps the best


if __name__ == "__main__":
    run(main)
