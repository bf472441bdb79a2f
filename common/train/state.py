# SPDX-License-Identifier: Apache-2.0
"""What training changes, its state in a checkpoint, and how long it lasts."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import common.cli
import common.device
import common.distributed
import common.train.optimizer

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


@dataclass(frozen=True)
class Plan:
    """How long to train and when to do what. Numbers of steps are optimiser steps."""

    epochs: int
    steps_per_epoch: int
    images_per_step: int  # over all ranks and parts
    parts: int = 1  # gradients of so many batches are accumulated
    clip_norm: float = 0.0  # largest norm of all gradients; 0: no clipping
    log_every: int = 10
    evaluate_every: int = 0  # epochs; 0: never
    save_every: int = 0  # steps, beside the end of each epoch; 0: at the end of epochs only
    keep_every: int = 0  # epochs between checkpoints that stay; 0: none stays
    warm_up_steps: int = 2  # left out of the throughput
    watched: tuple[str, ...] = ()  # entries among the losses that are logged and not minimised: an accuracy


@dataclass
class Trainee:
    """What training changes, and so what a checkpoint holds."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema_decay: float = 0.0  # 0: no moving average of the weights
    epoch: int = 0  # epochs done
    step: int = 0  # steps done of the epoch that is under way
    ap: float | None = None  # the best so far, where there was an evaluation
    pending: bool = False  # whether the epoch that is done is still to be evaluated and kept
    facts: dict[str, Any] = field(default_factory=dict)  # what else a checkpoint should say: arch, config
    ema: AveragedModel | None = None

    def __post_init__(self) -> None:
        common.train.optimizer.use_fast_kernels(self.optimizer)
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        if self.ema_decay:
            self.ema = AveragedModel(self.model, multi_avg_fn=_moving_average(self.ema_decay), use_buffers=True)

    @property
    def best_model(self) -> nn.Module:
        """The weights to evaluate and to keep: their moving average where there is one."""
        return self.ema.module if self.ema else self.model

    def weights(self) -> dict[str, Any]:
        """The content of `model_best.pth`."""
        return {**self.facts, "epoch": self.epoch, "ap": self.ap, "state_dict": self.best_model.state_dict()}

    def state(self, device: torch.device, plan: Plan) -> dict[str, Any]:
        """The content of `last.pth`; every rank must call it, for its random states."""
        return {
            **self.facts,
            "epoch": self.epoch,
            "epochs": plan.epochs,
            "step": self.step,
            "pending": self.pending,
            "images_per_step": plan.images_per_step,
            "steps_per_epoch": plan.steps_per_epoch,
            "ap": self.ap,
            "state_dict": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "random": common.distributed.gather_objects(common.device.random_states(device)),
        }

    def restore(self, content: dict[str, Any], device: torch.device, plan: Plan) -> None:
        """The way back from `state`. Raises UserError where that run had other batches, data, network or optimiser."""
        for name, cure in (("images_per_step", "--batch_size and --ranks"), ("steps_per_epoch", "--data_path")):
            if content.get(name) != getattr(plan, name):
                raise common.cli.UserError(
                    f"the unfinished run had {content.get(name)} {name}, this one has {getattr(plan, name)}: "
                    f"type the same {cure}, or --resume=no to begin anew"
                )
        if content["step"] > plan.steps_per_epoch:
            raise common.cli.UserError(f"the unfinished run stopped at step {content['step']}, an epoch has "
                                       f"{plan.steps_per_epoch}: type --resume=no to begin anew")  # fmt: skip
        with _of_the_same_network():
            self.model.load_state_dict(content["state_dict"])
            common.train.optimizer.restore(self.optimizer, content["optimizer"])
            if self.ema and content.get("ema"):
                self.ema.load_state_dict(content["ema"])
            if content["scaler"]:  # empty where that run was not in float16
                self.scaler.load_state_dict(content["scaler"])
            rank = common.distributed.rank()
            if rank < len(content["random"]):
                common.device.set_random_states(content["random"][rank], device)
        self.epoch, self.step, self.ap = content["epoch"], content["step"], content["ap"]
        self.pending = bool(content.get("pending"))


@contextlib.contextmanager
def _of_the_same_network() -> Iterator[None]:
    """Says in one line that a state does not fit what is to take it."""
    try:
        yield
    except common.cli.UserError:
        raise
    except (RuntimeError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise common.cli.UserError(
            f"the unfinished run had another network or optimiser ({' '.join(str(error).split())[:150]}): type the "
            "same flags, or --resume=no to begin anew"
        ) from error


def _moving_average(decay: float) -> Any:
    return get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
