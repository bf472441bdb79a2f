# SPDX-License-Identifier: Apache-2.0
"""A training run, decided before it starts: its folders, its data, how a step is divided. Every train.py has one."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.device
import common.distributed
import common.training
from common.checkpoint import Store
from common.loader import EpochBatches, Samples, count_replaced, stream
from common.log import Log
from common.report import Run
from common.training import Losses, Plan, Trainee

import torch
from torch import nn


@dataclass(frozen=True)
class Setup:
    """A training run. `config` has every open value decided; it is printed, and saved with every checkpoint.

    Of `config` these are read: seed, amp, loss_scale, and case ("acc" or "perf").
    """

    network: str  # its name in result files
    config: Any
    samples: Samples
    collate: Callable[[list[Any]], Any]
    plan: Plan
    part_size: int  # samples that a rank takes at once
    num_workers: int
    folder: Path  # of checkpoints and metrics
    log_folder: Path

    @property
    def metrics_file(self) -> Path:
        """Every number of the run, a line an event."""
        return self.folder / "metrics.jsonl"

    def log(self, fresh: bool) -> Log:
        """Where the run speaks."""
        return Log(self.metrics_file, self.log_folder, self.folder / "tensorboard", fresh)

    def positions(self, epoch: int = 0, step: int = 0) -> EpochBatches:
        """The batches of the run from a step on."""
        plan = self.plan
        return EpochBatches(len(self.samples), self.part_size, plan.parts, self.config.seed, plan.epochs, epoch, step)

    def restore(self, trainee: Trainee, unfinished: dict[str, Any], device: torch.device) -> str:
        """Puts the trainee where an unfinished run stopped; says so in one line."""
        trainee.restore(unfinished, device, self.plan)
        done = f"all {self.plan.epochs} epochs are done" if trainee.epoch >= self.plan.epochs else "resumed"
        return f"{done} at epoch {trainee.epoch}, step {trainee.step} (--resume=no begins anew)"

    def train(
        self,
        trainee: Trainee,
        losses: Callable[[nn.Module, Any], Losses],
        rates: Callable[[int], float],
        device: torch.device,
        dtype: torch.dtype | None,
        store: Store,
        log: Log,
        evaluate: Callable[[nn.Module], dict[str, float]] | None,
    ) -> None:
        """Trains from where the trainee stands; nothing where all is done. See common.training.fit."""
        if trainee.epoch >= self.plan.epochs:
            return
        positions = self.positions(trainee.epoch, trainee.step)
        batches = count_replaced(stream(self.samples, positions, self.collate, self.num_workers, device), log.line)
        common.training.fit(trainee, batches, losses, rates, self.plan, device, dtype, store, log, evaluate)

    def announce(
        self, log: Log, notes: list[str], device: torch.device, dtype: torch.dtype | None, learning_rate: float
    ) -> None:
        """Says what will run, and writes the whole configuration into the metrics."""
        config, plan, ranks = self.config, self.plan, common.distributed.world_size()
        log.line(f"checkpoint_folder :  {self.folder}")
        log.line(f"device: {common.device.describe(device)}, rank: {common.distributed.rank()} / {ranks}")
        for note in notes:
            log.line(note)
        log.line(
            f"{len(self.samples)} samples, {plan.images_per_step} images a step ({ranks} ranks x {plan.parts} parts x "
            f"{self.part_size}), learning rate {learning_rate:.3g}, {self.num_workers} workers a rank"
        )
        precision = "float32" if dtype is None else str(dtype).removeprefix("torch.")
        beyond = "; O2 does no more than O1: weights stay float32" if config.amp == "O2" else ""
        log.line(f"precision {config.amp}: {precision}, loss scale {config.loss_scale}{beyond}")
        log.record("start", config=dataclasses.asdict(config), samples=len(self.samples), ranks=ranks, notes=notes,
                   images_per_step=plan.images_per_step, device=common.device.describe(device))  # fmt: skip

    def leave_report(self, began: float) -> None:
        """What the launcher needs to write the result file."""
        if common.distributed.is_main():
            ranks, metrics, images = common.distributed.world_size(), str(self.metrics_file), self.plan.images_per_step
            Run(self.network, self.config.case, ranks, images, metrics, str(self.folder), began).leave(self.log_folder)
