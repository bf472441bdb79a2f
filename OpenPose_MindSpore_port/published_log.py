# SPDX-License-Identifier: Apache-2.0
"""The lines that the published training logs."""

from collections.abc import Callable, Mapping

import common.distributed
from common.arrays import Float32Array
from common.train.loader import Plan
from common.train.log import Log
from common.train.loop import Losses
from common.train.state import TrainState
from OpenPose_MindSpore_port.config import Config

import torch
from torch import Tensor


def first_lines(config: Config, plan: Plan, rates: Mapping[str, Float32Array]) -> list[str]:
    """What the original logs before its first step."""
    return [
        "start create network",
        *([f"load pretrain model: {config.pretrained_model_path}"] if config.load_pretrain else []),
        "start create dataset",
        f"step {plan.steps_per_epoch}",
        f"len_of_lr {len(rates['vgg'])} {len(rates['base'])} {len(rates['stage'])}",
        "start training, first step maybe take hundreds of seconds, please wait",
    ]


def step_lines(
    state: TrainState, rates: Mapping[str, Float32Array], interval: int, log: Log
) -> Callable[[int, Losses], None]:
    """Logs the published lines every `interval` steps, the first among them: means since the lines before.

    Losses stay where they are until a line is due: the original waits for the device at every step.
    """
    window: list[Tensor] = []

    def after_step(number: int, losses: Losses) -> None:
        window.append(torch.stack(list(losses.values())))
        if number % interval:
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
