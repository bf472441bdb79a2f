# SPDX-License-Identifier: Apache-2.0
"""Trains a network of MIPNet, plain or with lambda, on one device or several.

bash test/train_full_8p.sh --data_path=/data/coco                     the published recipe, HRNet-W48 on eight devices
bash test/train_lambda_full_8p.sh --data_path=/data/coco              two people a box, selected by lambda
python -m MIPNet.train --data_path=mini --recipe=smoke [--lambda]     minutes on a laptop, embedded data set
python -m MIPNet.train --cfg experiments/coco/hrnet/w32_256x192_adam_lr1e-3.yaml TRAIN.LR 5e-4    as published
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036  nothing is installed for an older one: so this is checked here
    sys.stderr.write("error: Python 3.10 or newer is needed, not " + sys.version.split()[0] + "\n")
    sys.exit(2)

import functools

import common.device
import common.distributed
from common.cli import run
from common.report import ACCURACY
from common.topdown.targets import collate, encode, mean_squared_error
from common.train.loader import Plan, divide, workers_for
from common.train.log import Log
from common.train.loop import announce, finish_epoch, train_one_epoch, training
from common.train.state import TrainState, set_learning_rates
from common.train.store import Store, agree, agree_on_recipe
from MIPNet import data
from MIPNet.config import CPU_MICRO_BATCH, NETWORK, Config, parse
from MIPNet.loss import accuracy, draw_lambdas, meant_by
from MIPNet.model import STRIDE, build, lambda_vectors
from MIPNet.weights import load_start

import torch
from torch import Tensor, nn
from yacs.config import CfgNode


def build_optimizer(model: nn.Module, cfg: CfgNode) -> torch.optim.Optimizer:
    """Adam without weight decay as published, or SGD. `cfg`: the section TRAIN of a yaml config."""
    if cfg.OPTIMIZER == "adam":
        return torch.optim.Adam(model.parameters(), lr=cfg.LR)
    return torch.optim.SGD(
        model.parameters(), cfg.LR, momentum=cfg.MOMENTUM, weight_decay=cfg.WD, nesterov=cfg.NESTEROV
    )


def lr_factor(epoch: int, steps: tuple[int, ...], factor: float) -> float:
    """What the learning rate of an epoch is multiplied with: `factor` once for each step that has passed."""
    return factor ** sum(epoch >= step for step in steps)


def forward_losses(
    model: nn.Module, batch: dict[str, Tensor], device: torch.device, config: Config
) -> dict[str, Tensor]:
    """The loss, and the accuracy of the peaks, on one batch of `collate`; targets are drawn on the device.

    A network with lambda sees every image with a lambda and with 1 - lambda.
    """
    images, visible = (batch[name].to(device, non_blocking=True) for name in ("image", "visible"))
    joints = batch["joints"].to(common.device.exact_type(device)).to(device, non_blocking=True)
    vectors = None
    if config.takes_lambda:
        lambdas = draw_lambdas(len(images)).to(device)
        joints, visible, vectors = meant_by(lambdas, joints), meant_by(lambdas, visible), lambda_vectors(lambdas)
    target, weight = encode(joints, visible, config.size_map, STRIDE, config.yaml.MODEL.SIGMA)
    maps = model(data.normalise_batch(images), vectors).float()
    return {"loss": mean_squared_error(maps, target, weight), ACCURACY: accuracy(maps.detach(), target)}


def plan_of(config: Config, num_samples: int, device: torch.device) -> Plan:
    """How the run is divided into steps. Raises UserError where there are fewer samples than ranks."""
    cfg, ranks = config.yaml, common.distributed.recipe_ranks()
    limit = config.micro_batch_size or (CPU_MICRO_BATCH if device.type == "cpu" else 0)
    asked = cfg.TRAIN.BATCH_SIZE_PER_GPU * ranks
    return Plan(
        **divide(asked, num_samples, ranks, limit),
        epochs=cfg.TRAIN.END_EPOCH,
        max_steps=config.max_steps,
        num_workers=workers_for(cfg.WORKERS, device),
        clip_norm=config.clip_norm,
        log_every=cfg.PRINT_FREQ,
        evaluate_every=cfg.EPOCH_EVAL_FREQ,
        save_every=config.save_every,
        keep_every=config.keep_every,
        watched=(ACCURACY,),
    )


def main() -> None:
    """Reads the flags, trains, leaves checkpoints, metrics and a result file."""
    config = parse()
    with common.distributed.process_group(config.device) as device:
        agree_on_recipe(config)  # all servers have the same code, torch and flags
        config = data.resolve_data_folder(config)
        config.check()
        cfg, skeleton = config.yaml, config.load_skeleton()
        samples = data.TrainSamples(config, skeleton)
        agree(samples.index.facts())  # and the same annotations
        plan = plan_of(config, len(samples), device)

        store = Store(config.folder, config.keep)
        notes = list[str]()  # what the log begins with: it opens once the folder is free
        unfinished = store.unfinished(config, len(samples), notes.append)

        torch.manual_seed(config.seed)
        model = build(cfg.MODEL, skeleton.num_keypoints)
        if not unfinished:
            notes.append(load_start(model, config))
            store.make_room(config, notes.append)  # a run that is in the folder gets another name
        common.device.move(model, device)
        optimizer = build_optimizer(model, cfg.TRAIN)
        state = TrainState(model, optimizer, plan, device, store, config)
        if unfinished:
            notes.append(state.restore(unfinished))

        losses = functools.partial(forward_losses, device=device, config=config)
        with Log(store.metrics_file, config.log_folder, store.folder / "tensorboard", fresh=not unfinished) as log:
            announce(state, cfg.TRAIN.LR, notes, log)
            evaluate = None
            if plan.evaluate_every:
                from MIPNet.eval import while_training  # not needed by a performance run

                evaluate = while_training(config, device, state.dtype, log, store.folder)
            with training(state, NETWORK, log):
                finish_epoch(state, evaluate, log)  # of an epoch that the previous run saved, then broke off
                batches = state.batches(samples, collate, config.seed)
                for epoch in state.epochs_left():
                    set_learning_rates(optimizer, lr_factor(epoch, cfg.TRAIN.LR_STEP, cfg.TRAIN.LR_FACTOR))
                    train_one_epoch(state, batches, losses, log)
                    state.end_epoch()  # saves, before anything that may fail
                    finish_epoch(state, evaluate, log)  # keeps, evaluates, keeps the best


if __name__ == "__main__":
    run(main)
