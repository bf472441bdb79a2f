# SPDX-License-Identifier: Apache-2.0
"""The training loop: the optimiser steps of an epoch, and what follows them. Every train.py calls it."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import common.cli
import common.device
import common.distributed
from common.report import Run
from common.train.checkpoint import BEST, save
from common.train.log import Log
from common.train.state import TrainState

import torch
from torch import Tensor, nn

Losses = dict[str, Tensor]
RELAY_S = 2.0  # if all processes are signalled, the launcher relays a signal that its ranks have already received
CHECK_EVERY = 10  # steps between checks of losses and signals on an accelerator, which each one makes wait
INTERRUPTED_EXIT_CODE = 143  # 128 + SIGTERM: stopped on request, state saved


def train_one_epoch(
    state: TrainState,
    batches: Iterator[Any],
    forward_losses: Callable[[nn.Module, Any], Losses],
    log: Log,
    after_step: Callable[[int, Losses], None] | None = None,
) -> None:
    """Takes the optimiser steps that are left of the epoch under way.

    Args:
        state: Changed in place: weights, optimiser, `step`.
        batches: Micro-batches from the next step of `state` on.
        forward_losses: `forward_losses(network, batch)` gives scalar losses whose sum is minimised, each a mean over
            the samples of the micro-batch.
        log: Gets a line, a record and curves every `plan.log_every` steps.
        after_step: Called with the number of the step in the whole run, counted from 0, and its losses, where they
            are: on the device.

    Raises:
        UserError: A loss is not finite, which would spoil the weights; nothing was saved since the last finite one.
        SystemExit: A rank was asked to stop; the state is saved.
    """
    plan = state.plan
    unchecked: list[Losses] = []  # of the steps since the last check
    check_every = 1 if state.device.type == "cpu" else CHECK_EVERY
    state.network.train()
    state.speed.resume()
    for done in log.progress(state.step, plan.steps_per_epoch, f"epoch {state.epoch}"):
        losses, data_s = _accumulate_gradients(state, batches, forward_losses)
        _update_weights(state)

        # Nothing is logged or saved before its losses are known to be finite, on every rank.
        unchecked.append(losses)
        is_last = done == plan.steps_per_epoch
        is_logged = is_last or _divides(plan.log_every, done)
        is_saved = not is_last and _divides(plan.save_every, done)
        interrupted, means = False, dict[str, float]()
        if is_logged or is_saved or _divides(check_every, done):
            interrupted, means = _check(state, unchecked)
        state.speed.step(data_s)
        if is_logged:
            _log_step(state, means, log)
        if after_step:
            after_step(state.epoch * plan.steps_per_epoch + done - 1, losses)
        if is_saved or interrupted:
            state.save()
            state.speed.resume()
        if interrupted:
            log.line(f"interrupted at epoch {state.epoch}, step {done}: saved; the same command resumes from here")
            raise SystemExit(INTERRUPTED_EXIT_CODE)


def _accumulate_gradients(
    state: TrainState, batches: Iterator[Any], forward_losses: Callable[[nn.Module, Any], Losses]
) -> tuple[Losses, float]:
    """Gradients of a step over its micro-batches; the ranks exchange them with the last one alone.

    Returns the mean losses of this rank's micro-batches, and the seconds of waiting for these.
    """
    plan = state.plan
    micro_batches_per_rank = plan.micro_batches / common.distributed.world_size()  # a mean
    losses: Losses = {}
    data_s = 0.0
    for micro_batch in plan.own_micro_batches:
        began = time.perf_counter()
        batch = next(batches)
        data_s += time.perf_counter() - began
        with common.distributed.no_sync(state.network, micro_batch < plan.own_micro_batches[-1]):
            with common.device.autocast(state.device, state.dtype):
                terms = forward_losses(state.network, batch)
            loss = torch.stack([term for name, term in terms.items() if name not in plan.watched]).sum()
            state.scaler.scale(loss / micro_batches_per_rank).backward()  # type: ignore[no-untyped-call]
        for name, term in terms.items():
            losses[name] = losses.get(name, 0) + term.detach() / micro_batches_per_rank
    return losses, data_s


def _update_weights(state: TrainState) -> None:
    """The optimiser step; the scaler skips it if gradients overflowed in float16."""
    if state.plan.clip_norm:
        state.scaler.unscale_(state.optimizer)
        nn.utils.clip_grad_norm_(state.model.parameters(), state.plan.clip_norm)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    if state.ema:
        state.ema.update_parameters(state.model)
    state.step += 1


def finish_epoch(state: TrainState, evaluate: Callable[[nn.Module], dict[str, float]] | None, log: Log) -> None:
    """Keeps and evaluates the epoch that `state.end_epoch` saved; a resumed run first completes this.

    `evaluate(model)` gives metrics, "AP" among them; the best AP is kept as `model_best.pth`.
    """
    if not state.pending:
        return
    if state.is_kept and common.distributed.is_main():
        state.store.save_epoch(state.weights(), state.epoch)
    if evaluate and state.is_evaluated:
        metrics = evaluate(state.best_model)
        log.record("evaluate", epoch=state.epoch - 1, metrics=metrics)
        log.scalars("validation", metrics, state.epoch)
        log.line(f"epoch({state.epoch - 1}),ap:{metrics['AP']:.4f}")
        if state.ap is None or metrics["AP"] > state.ap:
            state.ap = metrics["AP"]
            log.line(f"best model get... ap :{state.ap:.4f}")
            if common.distributed.is_main():
                save(state.store.folder / BEST, state.weights())
    state.pending = False
    state.save()


@contextlib.contextmanager
def training(state: TrainState, network: str, log: Log) -> Iterator[None]:
    """In it, SIGINT and SIGTERM save and end the process with exit code 143.

    A signal that comes later than `RELAY_S` after the first acts as usual. After the last epoch it records the speed,
    and leaves what the launcher needs for the result file; `network`: its name there.
    """
    began = time.perf_counter()

    def note(number: int, frame: Any) -> None:
        state.interrupts.append(time.monotonic())
        if state.interrupts[-1] - state.interrupts[0] > RELAY_S:
            signal.signal(number, before[number])
            signal.raise_signal(number)

    before: dict[int, Any] = {kind: signal.signal(kind, note) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
    if state.speed.images_per_s:
        seconds, memory = time.perf_counter() - began, common.device.peak_memory_bytes(state.device)
        log.record("end", seconds=seconds, **state.speed.rates(), peak_memory_bytes=memory, ap=state.ap)
    if common.distributed.is_main():
        case, metrics, folder = state.facts["config"]["case"], str(state.store.metrics_file), str(state.store.folder)
        ranks, images = common.distributed.world_size(), state.plan.images_per_step
        Run(network, case, ranks, images, metrics, folder, log.began).leave(log.folder)


def announce(state: TrainState, learning_rate: float, notes: list[str], log: Log) -> None:
    """Logs the plan, and writes the whole configuration into the metrics."""
    config, plan, images = state.facts["config"], state.plan, state.plan.images_per_step
    ranks, expected = common.distributed.world_size(), common.distributed.recipe_ranks()
    device = common.device.describe(state.device)
    log.line(f"checkpoint_folder :  {state.store.folder}")
    log.line(f"device: {device}, rank: {common.distributed.rank()} / {ranks}")
    for note in notes:
        log.line(note)
    log.line(
        f"{plan.num_samples} samples, {images} images a step ({expected} ranks x {plan.accumulation_steps} "
        f"micro-batches x {plan.micro_batch_size}), learning rate {learning_rate:.3g}, "
        f"{plan.num_workers} workers a rank"
    )
    if plan.asked_images not in (0, images):
        cause = "micro-batches and ranks take alike, and no more than there are"
        log.line(f"note: {images} images a step, not {plan.asked_images} as asked: {cause}")
    if ranks != expected:
        shared = f"{ranks} of {expected} ranks share the {plan.micro_batches} micro-batches of a step"
        log.line(f"{shared}: images a step, learning rate and the order of samples stay")
    precision = str(state.dtype or torch.float32).removeprefix("torch.")
    log.line(f"precision {config['amp']}: {precision}, loss scale {config['loss_scale']}")
    facts = {"samples": plan.num_samples, "ranks": ranks, "images_per_step": images, "device": device}
    log.record("start", config=config, notes=notes, **facts)


def _divides(every: int, step: int) -> bool:
    return every > 0 and step % every == 0


def _check(state: TrainState, unchecked: list[Losses]) -> tuple[bool, dict[str, float]]:
    """Checks the losses of the steps since the last check.

    Returns whether a rank was asked to stop, and the last step's losses as means over the ranks. Raises UserError.
    """
    names = list(unchecked[-1])
    values = torch.stack([torch.stack([losses[name] for name in names]) for losses in unchecked]).float()
    bad = (~torch.isfinite(values)).float()
    asked = torch.full_like(values[-1:], float(bool(state.interrupts)))
    latest = values[-1:].nan_to_num()
    agreed = common.distributed.mean(torch.cat([bad, asked, latest])).cpu()
    bad, asked, latest = agreed[:-2], agreed[-2], agreed[-1]
    first_step = state.step - len(unchecked)
    unchecked.clear()
    for offset, term in bad.nonzero().tolist()[:1]:
        raise common.cli.UserError(
            f"loss {names[term]} is not finite at epoch {state.epoch}, step {first_step + offset}: nothing "
            "was saved since; lower the learning rate or type --amp=O0, then the command again"
        )
    return bool(asked.any()), dict(zip(names, latest.tolist(), strict=True))


def _log_step(state: TrainState, losses: dict[str, float], log: Log) -> None:
    epoch, step, speed, steps = state.epoch, state.step - 1, state.speed, state.plan.steps_per_epoch
    terms = "\t".join(f"{name} {value:.4e}" for name, value in losses.items())
    exchange_s = common.distributed.communication_s(state.network)
    exchange = f"\tCommunication {exchange_s:.3f} ({exchange_s / speed.mean_step_s:.0%})" if exchange_s else ""
    log.quiet_line(
        f"Epoch: [{epoch}][{step:{len(str(steps))}}/{steps}]\tTime {speed.step_s:6.3f} ({speed.mean_step_s:6.3f})"
        f"\tData {speed.data_s:6.3f} ({speed.mean_data_s:6.3f}){exchange}\t{terms}"
    )
    log.quiet_line(
        f"[{state.device.type} id: {state.device.index or 0} ] batch_size: {state.plan.images_per_step} "
        f"Time: {speed.mean_step_s:.3f} * FPS@all {speed.images_per_s:.3f}"
    )
    rates = speed.rates() | {"communication_s": exchange_s}
    learning_rate = max(group["lr"] for group in state.optimizer.param_groups)  # some groups may be frozen
    log.record("step", epoch=epoch, step=step, losses=losses, learning_rate=learning_rate, **rates)
    log.scalars("train", {**losses, **rates, "learning_rate": learning_rate}, epoch * steps + step)
