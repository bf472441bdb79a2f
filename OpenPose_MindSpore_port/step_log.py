# SPDX-License-Identifier: Apache-2.0
"""The lines that the published training logs, and a word on steps that were left out."""

import time
from collections.abc import Mapping

import common.distributed
from common.arrays import Float32Array
from common.train.log import Log
from common.train.loop import Losses
from common.train.state import TrainState

import numpy as np
import torch
from torch import Tensor


class StepLog:
    """Logs every `interval` steps, the first among them, the published lines; and steps that were left out.

    Losses are added up where they are and read when a line is due: the original waits for the device at every step.
    """

    def __init__(self, state: TrainState, rates: Mapping[str, Float32Array], log: Log, interval: int) -> None:
        self._plan, self._rates, self._log, self._interval = state.plan, rates, log, interval
        self._sums: Tensor | None = None
        self._count, self._seconds, self._began = 0, 0.0, time.perf_counter()
        self._stepped, self._left_out = False, 0
        state.optimizer.register_step_post_hook(self._note_step)
        log.line("start training, first step maybe take hundreds of seconds, please wait")

    def _note_step(self, *_: object) -> None:
        self._stepped = True

    def begin(self) -> None:
        """A step begins: what came since the last one, an evaluation or saving, takes none of its time."""
        self._began = time.perf_counter()

    def step(self, number: int, losses: Losses) -> None:
        """The step of this number, counted from 0, is done, or left out: its gradients were not finite."""
        if not self._stepped:
            self._left_out += 1
            self._log.line(f"warning: step {number} left out: gradients not finite; {self._left_out} since the start")
        values, self._stepped = torch.stack(list(losses.values())), False
        self._sums = values if self._sums is None else self._sums + values
        self._count += 1
        due = number % self._interval == 0
        means = np.asarray(self._sums.tolist()) / self._count if due else np.zeros(0)  # waits for the device
        self._seconds += time.perf_counter() - self._began
        if due:
            for line in self._lines(number, dict(zip(losses, means, strict=True))):
                self._log.quiet_line(line)
            self._sums, self._count, self._seconds = None, 0, 0.0

    def _lines(self, number: int, means: dict[str, float]) -> list[str]:
        pafs, heatmaps = (
            np.array([mean for name, mean in means.items() if name.endswith(ending)]) for ending in ("_paf", "_heatmap")
        )
        vgg, base, stage = (float(values[min(number, len(values) - 1)]) for values in self._rates.values())
        return [
            f"epoch[{number // self._plan.steps_per_epoch}], iter[{number * common.distributed.recipe_ranks()}], "
            f"loss[{sum(means.values())}], {self._plan.images_per_step * self._count / self._seconds:.2f} imgs/sec, "
            f"vgglr={vgg},baselr={base},stagelr={stage}",
            f"pafs stage_loss: {pafs}",
            f"htmp stage_loss: {heatmaps}",
        ]
