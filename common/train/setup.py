# SPDX-License-Identifier: Apache-2.0
"""A training run of MIPNet, decided before it starts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.device
import common.train.loop
from common.train.loader import Samples
from common.train.log import Log
from common.train.loop import ForwardLosses
from common.train.optimizer import set_learning_rates
from common.train.state import Plan, TrainState
from common.train.store import Store

import torch
from torch import nn


@dataclass(frozen=True)
class Setup:
    """A training run. `config` has every open value decided; it is printed, and saved with every checkpoint."""

    network: str  # its name in result files
    config: Any
    samples: Samples
    collate: Callable[[list[Any]], Any]
    plan: Plan
    folder: Path  # of checkpoints and metrics
    log_folder: Path

    def begin(
        self,
        arch: str,
        device: torch.device,
        build: Callable[[], nn.Module],
        load_start: Callable[[nn.Module], str],
        build_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
        epoch: int = 0,
    ) -> "Beginning":
        """A network, with what trains it, as it was left by an unfinished run of this name, or as it starts."""
        store, notes = Store(self.folder, self.config.keep), list[str]()
        unfinished = store.unfinished(self.config, len(self.samples), notes.append)
        common.device.seed_all(self.config.seed)
        model = build()
        if not unfinished:
            notes.append(load_start(model))
        common.device.move(model, device)
        state = TrainState(model, build_optimizer(model), self.plan, device, store, self.config, arch)
        state.epoch = epoch
        if unfinished:
            notes.append(state.restore(unfinished))
        return Beginning(state, notes, unfinished is None)

    def log(self, fresh: bool) -> Log:
        """Where the run speaks."""
        return Log(self.folder / "metrics.jsonl", self.log_folder, self.folder / "tensorboard", fresh)

    def train(
        self,
        beginning: "Beginning",
        losses: ForwardLosses,
        rates: Callable[[int], float],
        log: Log,
        evaluate: common.train.loop.Evaluate | None,
    ) -> None:
        """Trains from where the state stands; nothing where all is done."""
        state = beginning.state
        with common.train.loop.training(state, log):
            common.train.loop.finish_epoch(state, evaluate, log)
            batches = state.batches(self.samples, self.collate, self.config.seed, log)
            for epoch in state.epochs_left():
                set_learning_rates(state.optimizer, rates(epoch))
                common.train.loop.train_one_epoch(state, batches, losses, log)
                state.end_epoch()
                common.train.loop.finish_epoch(state, evaluate, log)


@dataclass(frozen=True)
class Beginning:
    """Where a run begins, see Setup.begin."""

    state: TrainState
    notes: list[str]  # what must be said of it
    fresh: bool  # whether no unfinished run is gone on with
