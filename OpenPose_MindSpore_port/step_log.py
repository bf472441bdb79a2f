# SPDX-License-Identifier: Apache-2.0
"""The lines that the published training logs, and one for each step that was left out."""

from collections.abc import Mapping

import common.distributed
from common.arrays import Float32Array
from common.train.log import Log
from common.train.loop import Losses
from common.train.state import TrainState
from OpenPose_MindSpore_port.config import Config

import numpy as np
import torch
from torch import Tensor


class StepLog:
    """Logs the published lines every `log_interval` steps, the first among them; and steps that were left out.

    Losses are added up where they are and read when a line is due: the original waits for the device at every step.
    """

    def __init__(self, state: TrainState, rates: Mapping[str, Float32Array], log: Log, config: Config) -> None:
        self._state, self._rates, self._log, self._interval = state, rates, log, config.log_interval
        self._losses: list[Tensor] = []  # of the steps since the last line
        self._stepped, self._left_out = False, 0
        state.optimizer.register_step_post_hook(self._note_step)
        log.line("start training, first step maybe take hundreds of seconds, please wait")

    def _note_step(self, *_: object) -> None:
        self._stepped = True

    def step(self, number: int, losses: Losses) -> None:
        """The step of this number, counted from 0, is done, or left out: its gradients were not finite."""
        if not self._stepped:
            self._left_out += 1
            self._log.line(f"warning: step {number} left out: gradients not finite; {self._left_out} since the start")
        self._stepped = False
        self._losses.append(torch.stack(list(losses.values())))
        if number % self._interval == 0:
            means = torch.stack(self._losses).mean(dim=0).tolist()  # waits for the device
            for line in self._lines(number, dict(zip(losses, means, strict=True))):
                self._log.quiet_line(line)
            self._losses = []

    def _lines(self, number: int, means: dict[str, float]) -> list[str]:
        pafs, heatmaps = (
            np.array([mean for name, mean in means.items() if name.endswith(ending)]) for ending in ("_paf", "_heatmap")
        )
        vgg, base, stage = (float(values[min(number, len(values) - 1)]) for values in self._rates.values())
        return [
            f"epoch[{number // self._state.plan.steps_per_epoch}], "
            f"iter[{number * common.distributed.recipe_ranks()}], loss[{sum(means.values())}], "
            f"{self._state.speed.images_per_s:.2f} imgs/sec, vgglr={vgg},baselr={base},stagelr={stage}",
            f"pafs stage_loss: {pafs}",
            f"htmp stage_loss: {heatmaps}",
        ]
