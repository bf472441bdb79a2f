# SPDX-License-Identifier: Apache-2.0
"""Trains the VGG19 OpenPose of MindSpore on COCO keypoints (spec A4 to A9), on one device or several.

python train.py --train_dir train2017 --train_ann person_keypoints_train2017.json     as published, COCO in ./dataset
bash test/train_full_8p.sh --data_path=/data/coco            the published recipe on eight devices
sh scripts/run_distribute_train.sh rank_table.json           the same, devices from a rank table
python -m OpenPose_MindSpore_port.train --data_path=mini --recipe=smoke     minutes on a laptop, embedded data set
"""

import sys

from common.arrays import Float32Array

if sys.version_info < (3, 10):  # noqa: UP036  nothing is installed for an older one: it is said here
    sys.stderr.write("error: Python 3.10 or newer is needed, not " + sys.version.split()[0] + "\n")
    sys.exit(2)

import dataclasses
import functools
import time
from pathlib import Path

import common.coco.images
import common.device
import common.distributed
import common.skeleton
from common.cli import parse, run
from common.distributed import main_process_first
from common.train.loader import Plan, divide, workers_for
from common.train.log import Log
from common.train.loop import Losses, announce, finish_epoch, leave_report, train_one_epoch, training
from common.train.state import TrainState
from common.train.store import Store
from OpenPose_MindSpore_port import learning_rate, weights
from OpenPose_MindSpore_port.config import (
    ALIASES,
    CPU_IMAGES_PER_PART,
    DATA_FOLDER,
    NETWORK,
    PROFILED_STEPS,
    RECIPES,
    RETIRED,
    Config,
)
from OpenPose_MindSpore_port.data import collate, mask_note, normalise, train_samples
from OpenPose_MindSpore_port.evaluation import evaluate_while_training, load_validation
from OpenPose_MindSpore_port.inference import InputRule, decode_rules
from OpenPose_MindSpore_port.loss import stage_losses
from OpenPose_MindSpore_port.model import OpenPose
from OpenPose_MindSpore_port.optimizer import Clipping, MindSporeAdam, Momentum, one_group, parameter_groups
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


def plan_of(config: Config, num_samples: int, device: torch.device) -> Plan:
    """How the run is divided into steps. Raises UserError where there are fewer samples than ranks."""
    ranks = common.distributed.world_size()
    limit = config.part_size or (CPU_IMAGES_PER_PART if device.type == "cpu" else 0)
    micro_batch_size, accumulation_steps = divide(config.batch_size * ranks, num_samples, ranks, limit)
    return Plan(
        epochs=1 if config.need_profiler else config.max_epoch_train,
        num_samples=num_samples,
        micro_batch_size=micro_batch_size,
        accumulation_steps=accumulation_steps,
        max_steps=PROFILED_STEPS if config.need_profiler else config.max_steps,
        num_workers=workers_for(config.num_workers, device),
        log_every=config.print_freq,
        evaluate_every=config.eval_freq,
        save_every=config.save_every,
        keep_every=config.keep_every,
    )


def find_data(config: Config) -> Config:
    """The settings with the folder of the data set, and a name for the run. Raises UserError."""
    data_dir = main_process_first(
        lambda: common.coco.images.data_folder(config.data_dir, str(DATA_FOLDER), DATA_FOLDER)
    )
    perf = f"perf_{common.distributed.world_size()}p"
    name = config.experiment_name or (perf if config.case == "perf" else "train")
    return dataclasses.replace(config, data_dir=str(data_dir), experiment_name=name)


def learning_rates(config: Config, plan: Plan) -> tuple[dict[str, Float32Array], list[str]]:
    """The rate of every step and group, and the published lines (spec A8); first a warning if it drops too early."""
    ranks = common.distributed.world_size()
    rates = learning_rate.learning_rates(
        config.lr, config.lr_gamma, plan.steps_per_epoch, plan.epochs, config.lr_steps, ranks, config.lr_type,
        config.warmup_epoch, config.freeze_steps,
    )  # fmt: skip
    total = plan.steps_per_epoch * plan.epochs * ranks
    early = learning_rate.early_drop_warning(config.lr, config.lr_gamma, config.lr_steps, total)
    lines = [
        *([f"warning: {early}"] if early and config.lr_type == "default" else []),
        "start create network",
        *([f"load pretrain model: {config.pretrained_model_path}"] if config.load_pretrain else []),
        "start create dataset",
        f"step {plan.steps_per_epoch}",
        f"len_of_lr {len(rates['vgg'])} {len(rates['base'])} {len(rates['stage'])}",
    ]
    return rates, lines


def main() -> None:
    """Reads the flags, trains, leaves checkpoints, metrics and a result file."""
    began = time.time()
    flags = parse(Config, RECIPES, aliases=ALIASES, retired=RETIRED)
    flags.check()
    with common.distributed.process_group(flags.device) as device:
        config = find_data(flags.on_devices(common.distributed.world_size()))
        skeleton = common.skeleton.load(config.skeleton)
        samples = train_samples(config, skeleton)
        notes = list[str]()
        validation = load_validation(config, skeleton, notes.append)
        plan = plan_of(config, len(samples), device)
        rates, lines = learning_rates(config, plan)

        store = Store(Path(config.output_dir) / f"{config.experiment_name}_checkpoints", config.keep)
        unfinished = store.unfinished(config, len(samples), notes.append)

        common.device.seed_all(config.seed)
        model = OpenPose(skeleton.num_heatmaps, skeleton.num_fields, config.vgg_with_bn)
        if not unfinished:
            notes.append(load_start(model, config))
        common.device.move(model, device)
        optimizer = build_optimizer(model, config)
        state = TrainState(model, optimizer, plan, device, store, config, "openpose_vgg19")
        if unfinished:
            notes.append(state.restore(unfinished))
        notes += [*flags.told_of_devices(common.distributed.world_size()), *mask_note(samples), *lines]

        losses = functools.partial(forward_losses, device=device, skeleton=skeleton, rules=config.target_rules)
        log_folder = Path(config.log_dir or Path(config.output_dir) / "test" / "output" / "0")
        with Log(store.metrics_file, log_folder, store.folder / "tensorboard", fresh=not unfinished) as log:
            announce(state, config.lr, notes, log)
            steps = Steps(state, rates, config, log)
            evaluate = None if validation is None else functools.partial(
                evaluate_while_training, validation=validation, rule=InputRule(config.inference_img_size),
                rules=decode_rules(config), skeleton=skeleton, device=device, dtype=state.dtype, log=log,
                pictures=store.folder / "pictures",
            )  # fmt: skip
            with training(state, log):
                finish_epoch(state, evaluate, log)  # one that the run before has saved, and no more
                batches = state.batches(samples, collate, config.seed, log)
                for _ in state.epochs_left():
                    train_one_epoch(state, batches, losses, log, steps.before, steps.after)
                    state.end_epoch()  # saves, before anything that may fail
                    finish_epoch(state, evaluate, log)  # keeps, evaluates, keeps the best
            steps.finish()
        leave_report(state, NETWORK, began, log)


def load_start(model: OpenPose, config: Config) -> str:
    """Loads what the run begins with; returns the report of it. A run that measures speed may begin at random."""
    pretrained = Path(config.pretrained_model_path) if config.load_pretrain else None
    vgg = None if pretrained else weights.starting_vgg(config.vgg_path, may_be_random=config.case == "perf")
    return weights.load_start(model, vgg, pretrained)


if __name__ == "__main__":
    run(main)
