# SPDX-License-Identifier: Apache-2.0
"""The one training loop: a function that is given a way to compute losses and a way to evaluate."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import common.cli
import common.device
import common.distributed
import common.train.log
import common.train.store
from common.train.state import Plan, Trainee

import torch
from torch import Tensor, nn

Losses = dict[str, Tensor]
ForwardLosses = Callable[[nn.Module, Any], Losses]
Evaluate = Callable[[nn.Module], dict[str, float]]
SetRates = Callable[[int], None]
EachStep = Callable[[int, Losses], None]
RELAY_S = 2.0  # where all processes are asked to end, the launcher hands on to its ranks what they have been told
INTERRUPTED_EXIT_CODE = 143  # 128 + SIGTERM: stopped on request, state saved


class NonFiniteLoss(common.cli.UserError):
    """A loss is NaN or infinite: training on would spoil the weights."""


def fit(
    trainee: Trainee,
    batches: Iterator[Any],
    forward_losses: ForwardLosses,
    lr_factor: Callable[[int], float],
    plan: Plan,
    device: torch.device,
    dtype: torch.dtype | None,
    store: common.train.store.Store,
    log: common.train.log.Log,
    evaluate: Evaluate | None = None,
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
    run = _Run(
        trainee, network, batches, forward_losses, plan, device, dtype, store, log, evaluate, set_rates, each_step
    )
    began = time.perf_counter()
    with _interrupts() as interrupted:
        run.finish_epoch()
        while trainee.epoch < plan.epochs:
            _set_learning_rates(trainee.optimizer, lr_factor(trainee.epoch))
            run.take_epoch(interrupted)
            run.end_epoch()
    log.end_bar()
    speed = run.speed
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


@dataclass
class _Run:
    """One call of `fit`: what it was given, and what it knows of its steps."""

    trainee: Trainee
    network: nn.Module  # the trainee's model, wrapped where there are several ranks
    batches: Iterator[Any]
    forward_losses: ForwardLosses
    plan: Plan
    device: torch.device
    dtype: torch.dtype | None
    store: common.train.store.Store
    log: common.train.log.Log
    evaluate: Evaluate | None
    set_rates: SetRates | None
    each_step: EachStep | None
    unseen: list[Losses] = field(default_factory=list)  # of the steps since `_look`

    def __post_init__(self) -> None:
        self.speed = common.train.log.Throughput(self.plan.images_per_step, self.plan.warm_up_steps)
        # reading a loss makes an accelerator wait
        self.look_every = 1 if self.device.type == "cpu" else self.plan.log_every

    def take_epoch(self, interrupted: list[float]) -> None:
        """The steps that are left of the epoch under way."""
        trainee, plan = self.trainee, self.plan
        self.network.train()
        self.log.start_bar(plan.steps_per_epoch, trainee.step, f"epoch {trainee.epoch}")
        self.speed.resume()
        while trainee.step < plan.steps_per_epoch:
            number = trainee.epoch * plan.steps_per_epoch + trainee.step
            if self.set_rates:
                self.set_rates(number)
            losses, data_s = self._step()
            trainee.step += 1
            saving = self._is_multiple(plan.save_every) and trainee.step < plan.steps_per_epoch
            stop = self._count_and_look(losses, data_s, saving, bool(interrupted))
            if self.each_step:
                self.each_step(number, losses)
            if stop:
                self._save_and_leave()
            self.log.advance_bar(f"{self.speed.images_per_s:.1f} images/s")
            if saving:
                self._save()
                self.speed.resume()

    def _is_multiple(self, every: int) -> bool:
        return every > 0 and self.trainee.step % every == 0

    def _step(self) -> tuple[Losses, float]:
        """One optimiser step: its losses, the mean over its parts, and the seconds spent waiting for data."""
        trainee, plan = self.trainee, self.plan
        means: Losses = {}
        data_s = 0.0
        for part in range(plan.parts):
            began = time.perf_counter()
            batch = next(self.batches)
            data_s += time.perf_counter() - began
            with common.distributed.without_reduction(self.network, part < plan.parts - 1):
                losses = self._gradients(batch)
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

    def _gradients(self, batch: Any) -> Losses:
        """Adds the gradients of a part to those of the parts before; its losses."""
        with common.device.autocast(self.device, self.dtype):
            losses = self.forward_losses(self.network, batch)
        minimised = [loss for name, loss in losses.items() if name not in self.plan.watched]
        total = torch.stack(minimised).sum() / self.plan.parts
        self.trainee.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        return losses

    def _count_and_look(self, losses: Losses, data_s: float, saving: bool, interrupted: bool) -> bool:
        """Takes note of a step that is done; whether the ranks agree to stop. Nothing is saved unseen."""
        self.unseen.append(losses)
        last = self.trainee.step == self.plan.steps_per_epoch
        if not (last or saving or self._is_multiple(self.look_every)):
            self.speed.step(data_s)
            return False
        stop, latest = self._look(interrupted)
        self.speed.step(data_s)
        if last or self._is_multiple(self.plan.log_every):
            self._log_step(latest)
        return stop

    def _look(self, interrupted: bool) -> tuple[bool, dict[str, float]]:
        """Looks at the losses of the steps since the last look.

        Returns whether a rank was interrupted, and the last step's losses as means over the ranks.
        """
        names = list(self.unseen[-1])
        values = torch.stack([torch.stack([losses[name] for name in names]) for losses in self.unseen]).float()
        bad = (~torch.isfinite(values)).float()
        asked = torch.full_like(values[-1:], float(interrupted))
        latest = values[-1:].nan_to_num()
        agreed = common.distributed.mean(torch.cat([bad, asked, latest])).cpu()
        bad, asked, latest = agreed[:-2], agreed[-2], agreed[-1]
        first_step = self.trainee.step - len(self.unseen)
        self.unseen.clear()
        for offset, term in bad.nonzero().tolist()[:1]:
            raise NonFiniteLoss(
                f"loss {names[term]} is not finite at epoch {self.trainee.epoch}, step {first_step + offset}: nothing "
                "was saved since; lower the learning rate or type --amp=O0, then the command again"
            )
        return bool(asked.any()), dict(zip(names, latest.tolist(), strict=True))

    def _log_step(self, losses: dict[str, float]) -> None:
        epoch, step, speed, log = self.trainee.epoch, self.trainee.step - 1, self.speed, self.log
        steps = self.plan.steps_per_epoch
        terms = "\t".join(f"{name} {value:.4e}" for name, value in losses.items())
        log.quiet_line(
            f"Epoch: [{epoch}][{step:{len(str(steps))}}/{steps}]\tTime {speed.step_s:6.3f} ({speed.mean_step_s:6.3f})"
            f"\tData {speed.data_s:6.3f} ({speed.mean_data_s:6.3f})\t{terms}"
        )
        log.quiet_line(
            f"[{self.device.type} id: {self.device.index or 0} ] batch_size: {self.plan.images_per_step} "
            f"Time: {speed.mean_step_s:.3f} * FPS@all {speed.images_per_s:.3f}"
        )
        rates = {"images_per_s": speed.images_per_s, "step_s": speed.mean_step_s, "data_s": speed.mean_data_s}
        learning_rate = max(group["lr"] for group in self.trainee.optimizer.param_groups)  # some of them may rest
        log.record("step", epoch=epoch, step=step, losses=losses, learning_rate=learning_rate, **rates)
        log.scalars("train", {**losses, **rates, "learning_rate": learning_rate}, epoch * steps + step)

    def end_epoch(self) -> None:
        """Saves before anything that may fail, then does what follows an epoch."""
        trainee = self.trainee
        trainee.epoch, trainee.step = trainee.epoch + 1, 0
        self.log.end_bar()
        common.distributed.share_buffers(trainee.model)
        trainee.pending = self._is_kept() or self._is_evaluated()
        self._save()
        self.finish_epoch()

    def finish_epoch(self) -> None:
        """Keeps and evaluates an epoch that is saved; where this was broken off, the next run begins with it."""
        trainee = self.trainee
        if not trainee.pending:
            return
        if self._is_kept() and common.distributed.is_main():
            self.store.save_epoch(trainee.weights(), trainee.epoch)
        if self.evaluate and self._is_evaluated():
            self._evaluate(self.evaluate)
        trainee.pending = False
        self._save()

    def _is_kept(self) -> bool:
        every = self.plan.keep_every
        return every > 0 and self.trainee.epoch % every == 0

    def _is_evaluated(self) -> bool:
        every, epoch = self.plan.evaluate_every, self.trainee.epoch
        return self.evaluate is not None and every > 0 and (epoch % every == 0 or epoch == self.plan.epochs)

    def _evaluate(self, evaluate: Evaluate) -> None:
        trainee, log = self.trainee, self.log
        metrics = evaluate(trainee.best_model)
        log.record("evaluate", epoch=trainee.epoch - 1, metrics=metrics)
        log.scalars("validation", metrics, trainee.epoch)
        log.line(f"epoch({trainee.epoch - 1}),ap:{metrics['AP']:.4f}")
        if trainee.ap is None or metrics["AP"] > trainee.ap:
            trainee.ap = metrics["AP"]
            log.line(f"best model get... ap :{trainee.ap:.4f}")
            if common.distributed.is_main():
                self.store.save_best(trainee.weights())

    def _save(self) -> None:
        content = self.trainee.state(self.device, self.plan)
        if common.distributed.is_main():
            self.store.save_last(content)
        common.distributed.barrier()

    def _save_and_leave(self) -> NoReturn:
        self._save()
        where = f"epoch {self.trainee.epoch}, step {self.trainee.step}"
        self.log.line(f"interrupted at {where}: saved; the same command goes on from here")
        raise SystemExit(INTERRUPTED_EXIT_CODE)


def _set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


@contextlib.contextmanager
def _interrupts() -> Iterator[list[float]]:
    """A list that SIGINT and SIGTERM add their time to; one that comes later than `RELAY_S` acts as usual."""
    caught: list[float] = []
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.getsignal(kind) for kind in kinds}

    def note(number: int, frame: Any) -> None:
        caught.append(time.monotonic())
        if caught[-1] - caught[0] > RELAY_S:
            signal.signal(number, before[signal.Signals(number)])
            os.kill(os.getpid(), number)

    for kind in kinds:
        signal.signal(kind, note)
    try:
        yield caught
    finally:
        for kind in kinds:
            signal.signal(kind, before[kind])
