# SPDX-License-Identifier: Apache-2.0
"""A training run, decided before it starts: its folders, its data, how a step is divided. Every train.py has one."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.device
import common.distributed
import common.files
import common.lock
import common.train.loop
from common.report import Run
from common.train.loader import EpochBatches, Samples, count_replaced, stream
from common.train.log import Log
from common.train.loop import EachStep, Losses, SetRates
from common.train.state import Plan, Trainee
from common.train.store import Store
from common.yaml_config import settings

import torch
from torch import nn

# settings that leave the weights as they are, and the number of epochs, which may grow
INDIFFERENT = {
    "device", "output_dir", "log_dir", "cfg", "case", "resume", "epochs", "max_epoch_train", "max_epoch_train_NP",
    "num_workers", "kept_images", "print_freq", "log_interval", "eval_freq", "snapshot", "save_every", "keep_every",
    "keep", "keep_checkpoint_max", "ckpt_interval", "val_images", "val_batch_size", "prepared_train_labels", "map",
    "board", "from_mobilenet", "weights_only", "TRAIN.END_EPOCH", "PRINT_FREQ", "EPOCH_EVAL_FREQ", "WORKERS",
    "TEST.BATCH_SIZE_PER_GPU",
}  # fmt: skip


@dataclass(frozen=True)
class Setup:
    """A training run. `config` has every open value decided; it is printed, and saved with every checkpoint.

    Of `config` these are read: seed, amp, amp_type, loss_scale, ema_decay, keep, resume, and case ("acc" or "perf").
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
    name_kept: Callable[[int], str] = "checkpoint_{}.pth".format  # epochs done -> name of a checkpoint that stays

    @property
    def metrics_file(self) -> Path:
        """Every number of the run, a line an event."""
        return self.folder / "metrics.jsonl"

    def begin(
        self,
        arch: str,
        device: torch.device,
        build: Callable[[], nn.Module],
        load_start: Callable[[nn.Module], str],
        build_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
        epoch: int = 0,
    ) -> "Beginning":
        """A network, with what trains it, as it was left by an unfinished run of this name, or as it starts.

        `build` makes the network, `load_start` gives it its first weights and says which; `arch` is its name in
        checkpoints, `epoch` the first one. Raises UserError where an unfinished run cannot be gone on with.
        """
        config = self.config
        store, notes = Store(self.folder, config.keep, self.name_kept), list[str]()
        unfinished = common.distributed.from_main(
            self._unfinished(store, notes) if common.distributed.is_main() else None
        )
        common.device.seed_all(config.seed)
        dtype = common.device.amp_type(device, config.amp, config.amp_type)
        model = build()
        if not unfinished:
            notes.append(load_start(model))
        layout: Any = {"memory_format": common.device.memory_format(device)}  # which the types of `to` leave out
        model.to(device, **layout)
        scaler = common.device.scaler(device, dtype, config.loss_scale)
        facts = {"arch": arch, "config": settings(config), "samples": len(self.samples)}
        began = (unfinished or {}).get("began")
        facts["began"] = began if isinstance(began, float) else common.distributed.from_main(time.time())
        trainee = Trainee(model, build_optimizer(model), scaler, config.ema_decay, epoch=epoch, facts=facts)
        if unfinished:
            notes.append(self.restore(trainee, unfinished, device))
        return Beginning(trainee, store, device, dtype, notes, unfinished is None)

    def _unfinished(self, store: Store, notes: list[str]) -> dict[str, Any] | None:
        """The state that the run goes on from. Another run that is in the folder is kept under another name.

        Raises UserError where another process trains there, and where there is a state that cannot be read.
        """
        common.lock.take(self.folder)
        common.files.remove_unfinished(self.folder)
        content = store.newest(notes.append) if self.config.resume == "auto" else None
        if content:
            changes = self._changes(content)
            finished = content["epoch"] >= content.get("epochs", math.inf) and not content.get("pending")
            if changes and finished:
                notes.append(f"note: the finished run of this name had other settings: {changes}")
            else:
                notes.extend([f"note: settings have changed since: {changes}"] if changes else [])
                return content
        if self.config.case != "perf" and (kept := store.set_aside()):
            notes.append(f"note: the run that was in {self.folder} is kept as {kept.name}")
        return None

    def _changes(self, content: dict[str, Any]) -> str:
        """Which settings that matter for the weights were others in a state, as `name before -> now`."""
        config = content.get("config")
        before = {
            **(config if isinstance(config, dict) else {}),
            "samples": content.get("samples"),
            "ranks": len(content["random"]),
        }
        now = {**settings(self.config), "samples": len(self.samples)}
        now["ranks"] = common.distributed.world_size()
        return ", ".join(
            f"{name} {before[name]} -> {value}"
            for name, value in now.items()
            if name not in INDIFFERENT and name in before and before[name] != value
        )

    def log(self, fresh: bool) -> Log:
        """Where the run speaks."""
        return Log(self.metrics_file, self.log_folder, self.folder / "tensorboard", fresh)

    def positions(self, epoch: int = 0, step: int = 0) -> EpochBatches:
        """The batches of the run from a step on."""
        plan = self.plan
        return EpochBatches(
            len(self.samples), self.part_size, plan.parts, self.config.seed, plan.epochs, epoch, step,
            plan.steps_per_epoch,
        )  # fmt: skip

    def restore(self, trainee: Trainee, unfinished: dict[str, Any], device: torch.device) -> str:
        """Puts the trainee where an unfinished run stopped; says so in one line."""
        trainee.restore(unfinished, device, self.plan)
        done = f"all {self.plan.epochs} epochs are done" if self._is_done(trainee) else "resumed"
        return f"{done} at epoch {trainee.epoch}, step {trainee.step} (--resume=no begins anew)"

    def _is_done(self, trainee: Trainee) -> bool:
        return trainee.epoch >= self.plan.epochs and not trainee.pending

    def train(
        self,
        beginning: "Beginning",
        losses: Callable[[nn.Module, Any], Losses],
        rates: Callable[[int], float],
        log: Log,
        evaluate: Callable[[nn.Module], dict[str, float]] | None,
        set_rates: SetRates | None = None,
        each_step: EachStep | None = None,
    ) -> None:
        """Trains from where the trainee stands; nothing where all is done. See common.train.loop.fit."""
        trainee, device = beginning.trainee, beginning.device
        if self._is_done(trainee):
            return
        positions = self.positions(trainee.epoch, trainee.step)
        batches = count_replaced(stream(self.samples, positions, self.collate, self.num_workers, device), log.line)
        common.train.loop.fit(
            trainee, batches, losses, rates, self.plan, device, beginning.dtype, beginning.store, log, evaluate,
            set_rates, each_step,
        )  # fmt: skip

    def announce(self, log: Log, beginning: "Beginning", learning_rate: float) -> None:
        """Says what will run, and writes the whole configuration into the metrics."""
        config, plan, ranks = self.config, self.plan, common.distributed.world_size()
        device, dtype, notes = beginning.device, beginning.dtype, beginning.notes
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
        log.record("start", config=settings(config), samples=len(self.samples), ranks=ranks, notes=notes,
                   images_per_step=plan.images_per_step, device=common.device.describe(device))  # fmt: skip

    def leave_report(self, began: float) -> None:
        """What the launcher needs to write the result file."""
        if common.distributed.is_main():
            ranks, metrics, images = common.distributed.world_size(), str(self.metrics_file), self.plan.images_per_step
            Run(self.network, self.config.case, ranks, images, metrics, str(self.folder), began).leave(self.log_folder)


@dataclass(frozen=True)
class Beginning:
    """Where a run begins, see Setup.begin."""

    trainee: Trainee
    store: Store
    device: torch.device
    dtype: torch.dtype | None  # of the arithmetic; None: float32
    notes: list[str]  # what must be said of it
    fresh: bool  # whether no unfinished run is gone on with
