# SPDX-License-Identifier: Apache-2.0
"""What stands around each step of training: its rates, the published lines (spec A8), checkpoints for MindSpore, a word
on a step that was left out."""

import time
from pathlib import Path

import common.distributed
from common.arrays import Float32Array
from common.train.loader import Plan
from common.train.log import Log
from common.train.loop import Losses
from common.train.state import TrainState
from OpenPose_MindSpore_port.config import Config
from OpenPose_MindSpore_port.learning_rate import set_rates
from OpenPose_MindSpore_port.training_checkpoint import TrainingCheckpoints

import numpy as np
import torch
from torch import Tensor

START = "start training, first step maybe take hundreds of seconds, please wait"


class Steps:
    """Called by the training loop before and after every step, see common.train.loop.train_one_epoch."""

    def __init__(self, state: TrainState, rates: dict[str, Float32Array], config: Config, log: Log) -> None:
        writes = common.distributed.is_main() or not config.is_save_on_master
        self._checkpoints = TrainingCheckpoints(
            Path(config.output_dir) / config.save_model_path, state, rates, state.plan.steps_per_epoch,
            config.ckpt_interval, config.keep_checkpoint_max if writes else 0,
        )  # fmt: skip
        self._lines = StepLines(log, rates, state.plan, config.log_interval)
        self._optimizer, self._rates = state.optimizer, rates
        self._log, self._stepped, self._left_out = log, False, 0
        state.optimizer.register_step_post_hook(self._note)
        log.line(START)

    def _note(self, *_: object) -> None:
        self._stepped = True

    def before(self, number: int) -> None:
        """Sets the rates of the step of this number, counted from 0."""
        set_rates(self._optimizer, self._rates, number)
        self._lines.begin()

    def after(self, number: int, losses: Losses) -> None:
        """The step of this number is done; a scaler leaves it out where gradients are not finite."""
        if not self._stepped:
            self._left_out += 1
            self._log.line(f"warning: step {number} left out: gradients not finite; {self._left_out} since the start")
        self._stepped = False
        self._lines(number, losses)
        self._checkpoints(number, losses)

    def finish(self) -> None:
        """The training is over: its last steps are kept, too."""
        self._checkpoints.finish()


class StepLines:
    """Says every `interval` steps, the first among them, what the publication says.

    Losses are added up where they are and read when a line is due: the original waits for the device at every step.
    """

    def __init__(self, log: Log, rates: dict[str, Float32Array], plan: Plan, interval: int) -> None:
        self._log, self._rates, self._plan, self._interval = log, rates, plan, interval
        self._sums: Tensor | None = None
        self._count, self._seconds, self._began = 0, 0.0, time.perf_counter()

    def begin(self) -> None:
        """A step begins: what was done since the last one, an evaluation or saving, takes none of its time.

        Where saving waits for an accelerator's last step, that wait is not counted either.
        """
        self._began = time.perf_counter()

    def __call__(self, number: int, losses: Losses) -> None:
        """Takes the losses of the step of this number, counted from 0."""
        found = torch.stack(list(losses.values()))
        self._sums = found if self._sums is None else self._sums + found
        self._count += 1
        due = number % self._interval == 0
        means = np.asarray(self._sums.tolist()) / self._count if due else None  # waits for the device
        now = time.perf_counter()
        self._seconds, self._began = self._seconds + now - self._began, now
        if means is not None:
            for line in self._lines(number, list(losses), means):
                self._log.quiet_line(line)
            self._sums, self._count, self._seconds = None, 0, 0.0

    def _lines(self, number: int, names: list[str], means: np.ndarray) -> list[str]:
        fields, heatmaps = (
            np.array([mean for name, mean in zip(names, means, strict=True) if name.endswith(ending)])
            for ending in ("_paf", "_heatmap")
        )
        plan, ranks = self._plan, common.distributed.world_size()
        speed = plan.images_per_step * self._count / self._seconds
        rates = [float(self._rates[name][min(number, len(self._rates[name]) - 1)]) for name in ("vgg", "base", "stage")]
        return [
            f"epoch[{number // plan.steps_per_epoch}], iter[{number * ranks}], loss[{means.sum()}], "
            f"{speed:.2f} imgs/sec, vgglr={rates[0]},baselr={rates[1]},stagelr={rates[2]}",
            f"pafs stage_loss: {fields}",
            f"htmp stage_loss: {heatmaps}",
        ]
