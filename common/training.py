# SPDX-License-Identifier: Apache-2.0
"""The one training loop: a function that is given a way to compute losses and a way to evaluate."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import common.checkpoint
import common.cli
import common.device
import common.distributed
import common.log

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Losses = dict[str, Tensor]
SetRates = Callable[[int], None]
EachStep = Callable[[int, Losses], None]
INTERRUPTED_EXIT_CODE = 143  # 128 + SIGTERM: stopped on request, state saved


class NonFiniteLoss(common.cli.UserError):
    """A loss is NaN or infinite: training on would spoil the weights."""


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
    facts: dict[str, Any] = field(default_factory=dict)  # what else a checkpoint should say: arch, config
    ema: AveragedModel | None = None

    def __post_init__(self) -> None:
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
            "step": self.step,
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
        with _of_the_same_network():
            self.model.load_state_dict(content["state_dict"])
            self.optimizer.load_state_dict(content["optimizer"])
            if self.ema and content["ema"]:
                self.ema.load_state_dict(content["ema"])
        if content["scaler"]:  # empty where that run was not in float16
            self.scaler.load_state_dict(content["scaler"])
        self.epoch, self.step, self.ap = content["epoch"], content["step"], content["ap"]
        rank = common.distributed.rank()
        if rank < len(content["random"]):
            common.device.set_random_states(content["random"][rank], device)


@contextlib.contextmanager
def _of_the_same_network() -> Iterator[None]:
    """Says in one line that a state does not fit what is to take it."""
    try:
        yield
    except common.cli.UserError:
        raise
    except (RuntimeError, ValueError, KeyError) as error:
        raise common.cli.UserError(
            f"the unfinished run had another network or optimiser ({' '.join(str(error).split())[:150]}): type the "
            "same flags, or --resume=no to begin anew"
        ) from error


def _moving_average(decay: float) -> Any:
    return get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]


def fit(
    trainee: Trainee,
    batches: Iterator[Any],
    forward_losses: Callable[[nn.Module, Any], Losses],
    lr_factor: Callable[[int], float],
    plan: Plan,
    device: torch.device,
    dtype: torch.dtype | None,
    store: common.checkpoint.Store,
    log: common.log.Log,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    set_rates: SetRates | None = None,
    each_step: EachStep | None = None,
) -> None:
    """Trains from where `trainee` stands to the end of the plan.

    `batches` begins at that position; `forward_losses(network, batch)` gives scalar losses whose sum is minimised,
    each a mean over the batch's samples. `lr_factor(epoch)` times the groups' first learning rates holds in an epoch;
    where `set_rates` is given, `set_rates(n)` then gives the groups their own for the n-th step of the whole run.
    `each_step(n, losses)` is called when that step is done, with its losses where they are: on the device.
    `evaluate(model)` gives metrics, "AP" among them; the best AP is kept as `model_best.pth`.
    SIGINT and SIGTERM save and end the process with exit code 143. Raises NonFiniteLoss.
    """
    network = common.distributed.wrap(trainee.model, device)
    speed = common.log.Throughput(plan.images_per_step, plan.warm_up_steps)
    check_every = 1 if device.type == "cpu" else plan.log_every  # reading a loss makes an accelerator wait
    pending: list[Losses] = []
    began = time.perf_counter()
    with _interrupts() as interrupted:
        for epoch in range(trainee.epoch, plan.epochs):
            _set_learning_rates(trainee.optimizer, lr_factor(epoch))
            network.train()
            log.start_bar(plan.steps_per_epoch, trainee.step, f"epoch {epoch}")
            speed.resume()
            for step in range(trainee.step, plan.steps_per_epoch):
                number = epoch * plan.steps_per_epoch + step
                if set_rates:
                    set_rates(number)
                losses, data_s = _step(trainee, network, batches, forward_losses, plan, device, dtype)
                pending.append(losses)
                trainee.step = step + 1
                last = trainee.step == plan.steps_per_epoch
                saving = plan.save_every > 0 and trainee.step % plan.save_every == 0 and not last
                if last or saving or trainee.step % check_every == 0:  # nothing is saved unseen
                    stop, latest = _check(pending, epoch, step, bool(interrupted))
                    speed.step(data_s)
                    if last or trainee.step % plan.log_every == 0:
                        _log_step(log, epoch, step, plan, latest, speed, trainee.optimizer, device)
                else:
                    stop = False
                    speed.step(data_s)
                if each_step:
                    each_step(number, losses)
                if stop:
                    _save_and_leave(trainee, plan, device, store, log)
                log.advance_bar(f"{speed.images_per_s:.1f} images/s")
                if saving:
                    _save(trainee, plan, device, store)
                    speed.resume()
            trainee.epoch, trainee.step = epoch + 1, 0
            _end_epoch(trainee, plan, device, store, log, evaluate)
    log.end_bar()
    log.record(
        "end",
        seconds=time.perf_counter() - began,
        images_per_s=speed.images_per_s,
        step_s=speed.mean_step_s,
        data_s=speed.mean_data_s,
        includes_warm_up=speed.includes_warm_up,
        peak_memory_bytes=common.device.peak_memory_bytes(device),
        ap=trainee.ap,
    )


def _step(
    trainee: Trainee,
    network: nn.Module,
    batches: Iterator[Any],
    forward_losses: Callable[[nn.Module, Any], Losses],
    plan: Plan,
    device: torch.device,
    dtype: torch.dtype | None,
) -> tuple[Losses, float]:
    """One optimiser step: its losses, the mean over its parts, and the seconds spent waiting for data."""
    means: Losses = {}
    data_s = 0.0
    for part in range(plan.parts):
        began = time.perf_counter()
        batch = next(batches)
        data_s += time.perf_counter() - began
        with common.distributed.without_reduction(network, part < plan.parts - 1):
            with common.device.autocast(device, dtype):
                losses = forward_losses(network, batch)
            minimised = [loss for name, loss in losses.items() if name not in plan.watched]
            total = torch.stack(minimised).sum() / plan.parts
            trainee.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        for name, loss in losses.items():
            means[name] = means.get(name, 0) + loss.detach() / plan.parts
    if plan.clip_norm:
        trainee.scaler.unscale_(trainee.optimizer)
        nn.utils.clip_grad_norm_(trainee.model.parameters(), plan.clip_norm)
    trainee.scaler.step(trainee.optimizer)
    trainee.scaler.update()
    trainee.optimizer.zero_grad(set_to_none=True)
    if trainee.ema:
        trainee.ema.update_parameters(trainee.model)
    return means, data_s


def _check(pending: list[Losses], epoch: int, step: int, interrupted: bool) -> tuple[bool, dict[str, float]]:
    """Looks at the losses of the steps since the last look: the ranks agree whether to stop.

    Returns whether one of them was interrupted, and the last step's losses as means over the ranks.
    """
    names = list(pending[-1])
    values = torch.stack([torch.stack([losses[name] for name in names]) for losses in pending]).float()
    bad = (~torch.isfinite(values)).float()
    asked = torch.full_like(values[-1:], float(interrupted))
    latest = values[-1:].nan_to_num()
    agreed = common.distributed.mean(torch.cat([bad, asked, latest])).cpu()
    bad, asked, latest = agreed[:-2], agreed[-2], agreed[-1]
    first_step = step + 1 - len(pending)
    pending.clear()
    for offset, term in bad.nonzero().tolist()[:1]:
        raise NonFiniteLoss(
            f"loss {names[term]} is not finite at epoch {epoch}, step {first_step + offset}: nothing was saved since; "
            "lower the learning rate or type --amp=O0, then the command again"
        )
    return bool(asked.any()), dict(zip(names, latest.tolist(), strict=True))


def _log_step(
    log: common.log.Log,
    epoch: int,
    step: int,
    plan: Plan,
    losses: dict[str, float],
    speed: common.log.Throughput,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> None:
    width = len(str(plan.steps_per_epoch))
    terms = "\t".join(f"{name} {value:.4e}" for name, value in losses.items())
    log.quiet_line(
        f"Epoch: [{epoch}][{step:{width}}/{plan.steps_per_epoch}]\tTime {speed.step_s:6.3f} ({speed.mean_step_s:6.3f})"
        f"\tData {speed.data_s:6.3f} ({speed.mean_data_s:6.3f})\t{terms}"
    )
    log.quiet_line(
        f"[{device.type} id: {device.index or 0} ] batch_size: {plan.images_per_step} "
        f"Time: {speed.mean_step_s:.3f} * FPS@all {speed.images_per_s:.3f}"
    )
    rates = {"images_per_s": speed.images_per_s, "step_s": speed.mean_step_s, "data_s": speed.mean_data_s}
    learning_rate = max(group["lr"] for group in optimizer.param_groups)  # some of them may rest
    log.record("step", epoch=epoch, step=step, losses=losses, learning_rate=learning_rate, **rates)
    log.scalars("train", {**losses, **rates, "learning_rate": learning_rate}, epoch * plan.steps_per_epoch + step)


def _end_epoch(
    trainee: Trainee,
    plan: Plan,
    device: torch.device,
    store: common.checkpoint.Store,
    log: common.log.Log,
    evaluate: Callable[[nn.Module], dict[str, float]] | None,
) -> None:
    """Evaluates where it is time, keeps the best, saves."""
    log.end_bar()
    common.distributed.share_buffers(trainee.model)
    due = plan.evaluate_every and (trainee.epoch % plan.evaluate_every == 0 or trainee.epoch == plan.epochs)
    if evaluate and due:
        metrics = evaluate(trainee.best_model)
        log.record("evaluate", epoch=trainee.epoch - 1, metrics=metrics)
        log.scalars("validation", metrics, trainee.epoch)
        log.line(f"epoch({trainee.epoch - 1}),ap:{metrics['AP']:.4f}")
        if trainee.ap is None or metrics["AP"] > trainee.ap:
            trainee.ap = metrics["AP"]
            log.line(f"best model get... ap :{trainee.ap:.4f}")
            if common.distributed.is_main():
                store.save_best(trainee.weights())
    _save(trainee, plan, device, store)
    if plan.keep_every and trainee.epoch % plan.keep_every == 0 and common.distributed.is_main():
        store.save_epoch(trainee.weights(), trainee.epoch)


def _save(trainee: Trainee, plan: Plan, device: torch.device, store: common.checkpoint.Store) -> None:
    content = trainee.state(device, plan)
    if common.distributed.is_main():
        store.save_last(content)
    common.distributed.barrier()


def _save_and_leave(
    trainee: Trainee, plan: Plan, device: torch.device, store: common.checkpoint.Store, log: common.log.Log
) -> None:
    _save(trainee, plan, device, store)
    log.line(f"interrupted at epoch {trainee.epoch}, step {trainee.step}: saved; the same command goes on from here")
    raise SystemExit(INTERRUPTED_EXIT_CODE)


def _set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """A list that a SIGINT or SIGTERM adds itself to; a second one of a kind acts as usual."""
    caught: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.getsignal(kind) for kind in kinds}

    def note(number: int, frame: Any) -> None:
        caught.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for kind in kinds:
        signal.signal(kind, note)
    try:
        yield caught
    finally:
        for kind in kinds:
            signal.signal(kind, before[kind])
