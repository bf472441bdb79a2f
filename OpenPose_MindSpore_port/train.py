# SPDX-License-Identifier: Apache-2.0
"""Trains the VGG19 OpenPose of MindSpore on COCO keypoints, on one device or several.

python train.py --train_dir train2017 --train_ann person_keypoints_train2017.json     as published, COCO in ./dataset
bash test/train_full_8p.sh --data_path=/data/coco            the published recipe on eight devices
sh scripts/run_distribute_train.sh rank_table.json           the same, devices from a rank table
python -m OpenPose_MindSpore_port.train --data_path=mini --recipe=smoke     minutes on a laptop, embedded data set
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036  nothing is installed for an older one: so this is checked here
    sys.stderr.write("error: Python 3.10 or newer is needed, not " + sys.version.split()[0] + "\n")
    sys.exit(2)

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import common.device
import common.distributed
from common.arrays import Float32Array
from common.cli import parse, run
from common.skeleton import Skeleton, load
from common.train.loader import Plan, divide, workers_for
from common.train.log import Log
from common.train.loop import Losses, announce, finish_epoch, train_one_epoch, training
from common.train.state import TrainState
from common.train.store import Store, agree, agree_on_recipe
from OpenPose_MindSpore_port import weights
from OpenPose_MindSpore_port.config import (
    ALIASES,
    CPU_MICRO_BATCH,
    NETWORK,
    RECIPES,
    RETIRED,
    Config,
    TargetRules,
    with_data,
)
from OpenPose_MindSpore_port.data import collate, normalise, train_samples
from OpenPose_MindSpore_port.loss import stage_losses
from OpenPose_MindSpore_port.mindspore_checkpoint import TrainingCheckpoints
from OpenPose_MindSpore_port.model import OpenPose
from OpenPose_MindSpore_port.optimizer import build_optimizer, learning_rates, set_rates
from OpenPose_MindSpore_port.targets import encode

import torch
from torch import Tensor, nn


def forward_losses(
    network: nn.Module, batch: dict[str, Tensor], device: torch.device, skeleton: Skeleton, rules: TargetRules
) -> Losses:
    """The losses of every stage on one batch of `data.collate`; targets are drawn on the device."""
    images, valid, points = (batch[name].to(device, non_blocking=True) for name in ("image", "valid_mask", "points"))
    heatmaps, pafs = encode(points, (valid.shape[2], valid.shape[3]), skeleton, rules)
    return stage_losses(*network(normalise(images)), pafs, heatmaps, valid)


def plan_of(config: Config, num_samples: int, device: torch.device) -> Plan:
    """How the run is divided into steps. Raises UserError where there are fewer samples than ranks."""
    ranks = common.distributed.recipe_ranks()
    limit = config.micro_batch_size or (CPU_MICRO_BATCH if device.type == "cpu" else 0)
    asked = config.batch_size * ranks
    return Plan(
        **divide(asked, num_samples, ranks, limit),
        epochs=config.max_epoch_train,
        max_steps=config.max_steps,
        num_workers=workers_for(config.num_workers, device),
        log_every=config.log_interval,
        evaluate_every=config.eval_freq,
        save_every=config.save_every,
        keep_every=config.keep_every,
    )


def find_data(config: Config) -> Config:
    """The settings with the folder of the data set, and a name for the run. Raises UserError."""
    perf = f"perf_{common.distributed.recipe_ranks()}p"
    name = config.experiment_name or (perf if config.case == "perf" else "train")
    return dataclasses.replace(with_data(config), experiment_name=name)


def published_lines(state: TrainState, rates: dict[str, Float32Array], log: Log) -> Callable[[int, Losses], None]:
    """Logs the published lines every `log_interval` steps, beginning with the first: means since the last lines.

    Losses stay on the device until a line is due: the original waits for the device at every step.
    """
    window: list[Tensor] = []

    def after_step(number: int, losses: Losses) -> None:
        window.append(torch.stack(list(losses.values())))
        if number % state.plan.log_every:
            return
        pafs, heatmaps = torch.stack(window).mean(dim=0).view(-1, 2).T.cpu().double().numpy()
        window.clear()
        vgg, base, stage = (float(values[min(number, len(values) - 1)]) for values in rates.values())
        log.quiet_line(
            f"epoch[{number // state.plan.steps_per_epoch}], iter[{number * common.distributed.recipe_ranks()}], "
            f"loss[{float(pafs.sum() + heatmaps.sum())}], {state.speed.images_per_s:.2f} imgs/sec, "
            f"vgglr={vgg},baselr={base},stagelr={stage}"
        )
        log.quiet_line(f"pafs stage_loss: {pafs}")
        log.quiet_line(f"htmp stage_loss: {heatmaps}")
        taken = [int(of["step"]) for of in state.optimizer.state.values() if "step" in of]
        if taken and taken[0] <= number:
            log.line(f"warning: {number + 1 - taken[0]} steps were left out since the start: gradients not finite")

    return after_step


def main() -> None:
    """Reads the flags, trains, leaves checkpoints, metrics and a result file."""
    flags = parse(Config, RECIPES, aliases=ALIASES, retired=RETIRED)
    flags.check()
    with common.distributed.process_group(flags.device) as device:
        agree_on_recipe(flags)
        ranks = common.distributed.recipe_ranks()
        config = find_data(flags)
        skeleton = load(config.skeleton)
        samples = train_samples(config, skeleton)
        agree(samples.index.facts())
        notes, validation = list[str](), None
        if config.eval_freq:
            from OpenPose_MindSpore_port import eval as evaluation  # not needed by a performance run

            validation = evaluation.training_evaluation_set(config, skeleton, notes.append)
        plan = plan_of(config, len(samples), device)
        rates = learning_rates(config, plan.steps_per_epoch, plan.epochs, ranks)

        store = Store(Path(config.output_dir) / f"{config.experiment_name}_checkpoints", config.keep)
        unfinished = store.unfinished(config, len(samples), notes.append)

        torch.manual_seed(config.seed)
        model = OpenPose(skeleton.num_heatmaps, skeleton.num_pafs, config.vgg_with_bn)
        if not unfinished:
            notes.append(weights.load_start(model, config))
            store.make_room(config, notes.append)
        common.device.move(model, device)
        optimizer = build_optimizer(model, config)
        state = TrainState(model, optimizer, plan, device, store, config)
        if unfinished:
            notes.append(state.restore(unfinished))

        losses_of_batch = functools.partial(forward_losses, device=device, skeleton=skeleton, rules=config)
        with Log(store.metrics_file, config.log_folder, store.folder / "tensorboard", fresh=not unfinished) as log:
            announce(state, config.lr, notes, log)
            checkpoints = TrainingCheckpoints(state, config)
            log_step = published_lines(state, rates, log)
            evaluate = validation and evaluation.while_training(validation, config, skeleton, state, log)
            set_rates(optimizer, rates, state.epoch * plan.steps_per_epoch + state.step)

            def after_step(number: int, losses: Losses) -> None:
                log_step(number, losses)
                checkpoints.step(number, losses)
                set_rates(optimizer, rates, number + 1)

            with training(state, NETWORK, log):
                finish_epoch(state, evaluate, log)  # of an epoch that the previous run saved, then broke off
                batches = state.batches(samples, collate, config.seed)
                for _ in state.epochs_left():
                    train_one_epoch(state, batches, losses_of_batch, log, after_step)
                    state.end_epoch()  # saves, before anything that may fail
                    finish_epoch(state, evaluate, log)  # keeps, evaluates, keeps the best
            checkpoints.finish()


if __name__ == "__main__":
    run(main)
