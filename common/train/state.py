# SPDX-License-Identifier: Apache-2.0
"""The state of a training: saving and restoring it, and the epochs that are left."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import common.device
import common.distributed
from common.cli import UserError, flag, settings
from common.device import AmpLevel, AmpType, DeviceName
from common.train.checkpoint import LAST, save
from common.train.loader import Plan, positions, stream
from common.train.log import Throughput
from common.train.store import PREVIOUS, Store

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


@dataclass(frozen=True)
class TrainFlags:
    """The flags of every training. A model's `config.py` adds its own, and other defaults.

    Names of flags, and of keys of a yaml config: those that a server may have of its own, and those that leave the
    weights unchanged (and the number of epochs, which may grow). A model adds its own.
    """

    OF_A_SERVER: ClassVar[str] = "device output_dir log_dir num_workers"
    MAY_CHANGE: ClassVar[str] = f"{OF_A_SERVER} case resume save_every keep keep_every val_images"

    case: Literal["acc", "perf"] = flag("perf: a run that only measures images per second", "acc")
    device: DeviceName = flag("where to compute", "auto")
    output_dir: str = flag("folder for checkpoints and logs", ".")
    log_dir: str = flag("folder of each rank's log and the result file; empty: output_dir/test/output/0", "")
    resume: Literal["auto", "no"] = flag("auto: continue the unfinished run of this name", "auto")
    micro_batch_size: int = flag("samples at once, gradients accumulate; 0: all, on a CPU a few", 0, most=10**6)
    ema_decay: float = flag("decay of the moving average of the weights; 0: none", 0.0, most=1)
    amp: AmpLevel = flag("precision level", "O0")
    amp_type: AmpType = flag("16-bit type of O1; auto: float16, on a CPU bfloat16", "auto")
    loss_scale: str = flag("loss scale for float16: a positive number or `dynamic`", "dynamic")
    exif: Literal["ignore", "turn"] = flag("images as stored (as COCO is annotated), or turned by EXIF", "ignore")
    on_bad_image: Literal["error", "skip"] = flag("unreadable image: stop, or take another and count it", "error")
    seed: int = flag("seed of everything random", 0, most=2**32 - 1)
    save_every: int = flag("steps between saves, beside those at the end of epochs", 0)
    keep: int = flag("largest number of kept checkpoints", 3, least=1)

    @property
    def log_folder(self) -> Path:
        """Where the launcher looks for each rank's log and for the result file."""
        return Path(self.log_dir or Path(self.output_dir) / "test" / "output" / "0")


class TrainState:
    """The content of a checkpoint; with the device, and the folder that it is saved in."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        plan: Plan,
        device: torch.device,
        store: Store,
        config: TrainFlags,
    ) -> None:
        """`model`: on `device`. Raises UserError for an impossible loss scale."""
        self.model, self.optimizer, self.plan, self.device, self.store = model, optimizer, plan, device, store
        self.dtype = common.device.amp_type(device, config.amp, config.amp_type)  # of the arithmetic; None: float32
        self.scaler = common.device.scaler(device, self.dtype, config.loss_scale)
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.ema: AveragedModel | None = None  # the moving average of the weights
        if config.ema_decay:
            average = get_ema_multi_avg_fn(config.ema_decay)  # type: ignore[no-untyped-call]
            self.ema = AveragedModel(model, multi_avg_fn=average, use_buffers=True)
        self.network = common.distributed.wrap(model, device)  # averages gradients over the ranks
        self.epoch = 0  # epochs done
        self.step = 0  # steps done of the epoch that is under way
        self.ap: float | None = None  # the best so far, where there was an evaluation
        self.pending = False  # whether the finished epoch has yet to be kept and evaluated
        self.facts: dict[str, Any] = {"config": settings(config), "samples": plan.num_samples}
        self.began: float = common.distributed.broadcast_object(time.time())  # also of the runs that it resumes
        self.skip_bad = config.on_bad_image == "skip"  # images that cannot be read, of evaluations too
        self.speed = Throughput(plan.images_per_step)
        self.interrupts: list[float] = []  # when SIGINT and SIGTERM arrived

    @property
    def best_model(self) -> nn.Module:
        """The weights to evaluate and to keep: their moving average where there is one."""
        return self.ema.module if self.ema else self.model

    @property
    def is_kept(self) -> bool:
        """Whether the finished epoch leaves a checkpoint that is kept."""
        return self.plan.keep_every > 0 and self.epoch % self.plan.keep_every == 0

    @property
    def is_evaluated(self) -> bool:
        """Whether an evaluation follows the finished epoch."""
        every = self.plan.evaluate_every
        return every > 0 and (self.epoch % every == 0 or self.epoch == self.plan.epochs)

    def epochs_left(self) -> Iterator[int]:
        """The number of each epoch that is left, counted from 0; `end_epoch` leads to the next one."""
        while self.epoch < self.plan.epochs:
            yield self.epoch

    def batches(self, samples: Any, collate: Callable[[list[Any]], Any], seed: int) -> Iterator[Any]:
        """Micro-batches of all epochs, from the next step on. See common.train.loader.stream."""
        order = positions(self.plan, seed, self.epoch, self.step)
        return stream(samples, order, collate, self.plan.num_workers, self.device, self.skip_bad)

    def end_epoch(self) -> None:
        """Saves an epoch whose steps are done, before anything that may fail: `finish_epoch` does what follows it."""
        self.epoch, self.step = self.epoch + 1, 0
        common.distributed.sync_buffers(self.model)
        self.pending = self.is_kept or self.is_evaluated
        self.save()

    def save(self) -> None:
        """Writes `last.pth`; every rank must call it. Raises UserError where the last step has spoiled the weights."""
        finite = torch.stack([torch.isfinite(weight).all() for weight in self.model.parameters()])
        if not finite.all():
            raise UserError(
                f"{int((~finite).sum())} weights are NaN or infinite after epoch {self.epoch}, step {self.step}: "
                "nothing was saved; lower the learning rate or type --amp=O0, then the command again"
            )
        content = self.content()
        if common.distributed.is_main():
            save(self.store.folder / LAST, content, before=self.store.folder / PREVIOUS)
        common.distributed.barrier()

    def weights(self) -> dict[str, Any]:
        """The content of `model_best.pth`."""
        done = {"began": self.began, "epoch": self.epoch, "ap": self.ap}
        return {**self.facts, **done, "state_dict": self.best_model.state_dict()}

    def content(self) -> dict[str, Any]:
        """The content of `last.pth`; every rank must call it, for its random states."""
        return {
            **self.weights(),
            "epochs": self.plan.epochs,
            "step": self.step,
            "pending": self.pending,
            "images_per_step": self.plan.images_per_step,
            "steps_per_epoch": self.plan.steps_per_epoch,
            "state_dict": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "random": common.distributed.gather_objects(common.device.random_states(self.device)),
        }

    def restore(self, content: dict[str, Any]) -> str:
        """Restores `content`; returns one line that says at which step it was.

        Raises UserError where that run had other batches, data, network or optimiser.
        """
        for name, flags in (("images_per_step", "--batch_size and --ranks"), ("steps_per_epoch", "--data_path")):
            if content[name] != (now := getattr(self.plan, name)):
                cure = f"type the same {flags}, or --resume=no to start over"
                raise UserError(f"the unfinished run had {content[name]} {name}, this one has {now}: {cure}")
        try:
            self.model.load_state_dict(content["state_dict"])
            self.optimizer.load_state_dict(content["optimizer"])
        except (RuntimeError, ValueError) as error:
            why = f"another network or optimiser ({' '.join(str(error).split())[:150]})"
            cure = "type the same flags, or --resume=no to start over"
            raise UserError(f"the unfinished run had {why}: {cure}") from error
        if self.ema and content["ema"]:
            self.ema.load_state_dict(content["ema"])
        if content["scaler"]:  # empty where that run was not in float16
            self.scaler.load_state_dict(content["scaler"])
        if (rank := common.distributed.rank()) < len(content["random"]):
            common.device.set_random_states(content["random"][rank], self.device)
        for name in ("epoch", "step", "ap", "pending", "began"):
            setattr(self, name, content[name])
        is_done = self.epoch >= self.plan.epochs and not self.pending
        done = f"all {self.plan.epochs} epochs are done" if is_done else "resumed"
        return f"{done} at epoch {self.epoch}, step {self.step} (--resume=no starts over)"


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Gives every group `factor` times the learning rate that it had at first."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
