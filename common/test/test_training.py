# SPDX-License-Identifier: Apache-2.0
"""The training loop on a network of three layers: what it must keep, whatever the model."""

import json
import os
import signal
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import common.train.loop
from common.cli import UserError
from common.train.checkpoint import BEST, read
from common.train.loader import Plan
from common.train.log import Log
from common.train.loop import INTERRUPTED_EXIT_CODE, announce, finish_epoch, train_one_epoch, training
from common.train.state import TrainState, set_learning_rates
from common.train.store import Store

import numpy as np
import pytest
import torch
from torch import Tensor, nn

CPU = torch.device("cpu")
SAMPLES, BATCH, EPOCHS = 12, 2, 3
STEPS = SAMPLES // BATCH
ADAM, DESCENT = (partial(rule, lr=0.05) for rule in (torch.optim.Adam, torch.optim.SGD))


@dataclass(frozen=True)
class Settings:
    case: str = "acc"
    on_bad_image: str = "error"
    ema_decay: float = 0.0
    amp: str = "O0"
    amp_type: str = "auto"
    loss_scale: str = "16"


class Points:
    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, position: tuple[int, int]) -> np.ndarray:
        return np.random.default_rng(position).standard_normal((3, 8, 8)).astype(np.float32)


def collate(samples: list[np.ndarray]) -> dict[str, Tensor]:
    return {"image": torch.from_numpy(np.stack(samples))}


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.3), nn.Conv2d(4, 1, 3))


def losses(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    maps = model(batch["image"])
    return {"square": maps.square().mean(), "bound": (maps - 1).abs().mean()}


class Run:
    """One training run in a folder, as every train.py has it; the same call again resumes it."""

    def __init__(self, folder: Path, ema: float = 0.0, optimizer=ADAM, **plan) -> None:
        self.folder, self.settings, self.optimizer = folder, Settings(ema_decay=ema), optimizer
        plan = {"epochs": EPOCHS, "num_samples": SAMPLES, "micro_batch_size": BATCH, "log_every": 1} | plan
        self.plan = Plan(**plan)

    def __call__(self, forward=losses, evaluate=None, factor: float = 0.5, **hooks) -> TrainState:
        model, store = network(), Store(self.folder, 2)
        optimizer = self.optimizer(model.parameters())
        state = TrainState(model, optimizer, self.plan, CPU, store, self.settings)
        torch.manual_seed(1)
        with Log(store.metrics_file, self.folder) as log:
            if content := store.newest(log.line):
                state.restore(content)
            with training(state, "points", log):
                finish_epoch(state, evaluate, log)
                batches = state.batches(Points(), collate, 0)
                for epoch in state.epochs_left():
                    set_learning_rates(optimizer, factor**epoch)
                    train_one_epoch(state, batches, forward, log, **hooks)
                    state.end_epoch()
                    finish_epoch(state, evaluate, log)
        return state

    def records(self, event: str) -> list[dict]:
        lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        return [record for line in lines if (record := json.loads(line))["event"] == event]


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def at_step(number: int, act):
    """The usual losses; `act` of those of a step of the run, counted from 0."""
    calls = []

    def forward(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        calls.append(1)
        found = losses(model, batch)
        return act(found) or found if len(calls) == number + 1 else found

    return forward


@pytest.mark.parametrize(("epoch", "step", "ema"), [(0, 1, 0.0), (1, STEPS - 1, 0.9), (2, 0, 0.0)])
def test_interrupted_and_resumed_is_bit_equal_to_undisturbed(tmp_path: Path, epoch: int, step: int, ema: float) -> None:
    whole, cut = Run(tmp_path / "whole", ema), Run(tmp_path / "cut", ema, save_every=2)
    undisturbed = whole()
    with pytest.raises(SystemExit) as caught:
        cut(at_step(epoch * STEPS + step, lambda _: os.kill(os.getpid(), signal.SIGTERM)))
    assert caught.value.code == INTERRUPTED_EXIT_CODE
    resumed = cut()
    assert same(undisturbed.model, resumed.model) and same(undisturbed.best_model, resumed.best_model)
    assert not same(undisturbed.model, network())
    steps = [[(one["epoch"], one["step"], one["losses"]) for one in run.records("step")] for run in (whole, cut)]
    assert steps[0] == steps[1]
    assert {one["epoch"]: one["learning_rate"] for one in whole.records("step")} == {0: 0.05, 1: 0.025, 2: 0.0125}


def test_a_batch_in_parts_is_the_batch(tmp_path: Path) -> None:
    """Without normalisation over the batch, two halves accumulated are the whole."""

    def plain(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"square": nn.functional.conv2d(batch["image"], model[0].weight, model[0].bias).square().mean()}

    halves = Run(tmp_path / "halves", optimizer=DESCENT, accumulation_steps=2)(plain)
    once = Run(tmp_path / "whole", optimizer=DESCENT, micro_batch_size=2 * BATCH)(plain)
    assert torch.allclose(halves.model[0].weight, once.model[0].weight, atol=1e-6)


def test_fewer_images_a_step_than_asked_are_said(tmp_path: Path) -> None:
    plan, model = Plan(EPOCHS, SAMPLES, 3, accumulation_steps=2, asked_images=7), network()
    state = TrainState(model, ADAM(model.parameters()), plan, CPU, Store(tmp_path, 1), Settings())
    with Log(tmp_path / "metrics.jsonl", tmp_path) as log:
        announce(state, 0.05, [], log)
    assert "note: 6 images a step, not 7 as asked" in (tmp_path / "train_0.log").read_text()


def test_a_loss_that_is_not_finite_stops_and_names_step_and_term(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"loss bound is not finite at epoch 1, step 2"):
        Run(tmp_path)(at_step(STEPS + 2, lambda found: {**found, "bound": found["bound"] * torch.inf}))
    saved = Store(tmp_path, 1).newest(print)
    assert saved is not None and saved["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in saved["state_dict"].values())


def test_weights_that_the_last_step_spoiled_are_not_saved(tmp_path: Path) -> None:
    """Its loss is finite, its gradient is not: the root of 0."""
    with pytest.raises(UserError, match=r"weights are NaN or infinite after epoch 2, step 0: nothing was saved"):
        Run(tmp_path)(at_step(2 * STEPS - 1, lambda found: {**found, "bound": (found["bound"] * 0).sqrt()}))
    saved = Store(tmp_path, 1).newest(print)
    assert saved is not None and saved["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in saved["state_dict"].values())


def test_gradients_are_clipped(tmp_path: Path) -> None:
    def large(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"large": 1e4 * losses(model, batch)["square"]}

    start = nn.utils.parameters_to_vector(network().parameters())
    state = Run(tmp_path, optimizer=DESCENT, epochs=1, max_steps=1, clip_norm=0.5)(large)
    moved = nn.utils.parameters_to_vector(state.model.parameters()) - start
    assert moved.norm().item() == pytest.approx(0.05 * 0.5, rel=1e-3)


def test_the_best_is_kept_even_if_it_is_zero(tmp_path: Path) -> None:
    aps = iter([0.0, 0.4, 0.3])
    run = Run(tmp_path, evaluate_every=1)
    assert run(evaluate=lambda model: {"AP": next(aps)}).ap == 0.4
    assert read(tmp_path / BEST)["epoch"] == 2
    assert [record["metrics"]["AP"] for record in run.records("evaluate")] == [0.0, 0.4, 0.3]


def test_a_failed_evaluation_loses_no_epoch_and_is_made_up_for(tmp_path: Path) -> None:
    whole, cut = (Run(tmp_path / name, evaluate_every=1, keep_every=1) for name in ("whole", "cut"))
    undisturbed = whole(evaluate=lambda model: {"AP": 0.1})
    calls: list[str] = []

    def counted(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        calls.append("step")
        return losses(model, batch)

    def evaluate(model: nn.Module) -> dict[str, float]:
        calls.append("evaluate")
        if calls.count("evaluate") in (1, 2):
            raise UserError("no validation images")
        return {"AP": 0.1}

    for _ in range(2):
        with pytest.raises(UserError):
            cut(counted, evaluate)
        assert (cut.folder / "checkpoint_1.pth").is_file()
    trained = cut(counted, evaluate)
    assert calls == ["step"] * STEPS + ["evaluate"] * 3 + (["step"] * STEPS + ["evaluate"]) * 2
    assert same(undisturbed.model, trained.model) and trained.ap == 0.1
    assert read(cut.folder / BEST)["epoch"] == read(whole.folder / BEST)["epoch"] == 1


@pytest.mark.parametrize(("relay_s", "code"), [(60.0, INTERRUPTED_EXIT_CODE), (-1.0, None)])
def test_a_request_that_is_handed_on_is_no_second_one(tmp_path: Path, monkeypatch, relay_s: float, code) -> None:
    def ask_twice(_: dict) -> None:
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)  # two that are sent from outside may arrive as one

    monkeypatch.setattr(common.train.loop, "RELAY_S", relay_s)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background may ignore it
    try:
        with pytest.raises((SystemExit, KeyboardInterrupt)) as caught:
            Run(tmp_path)(at_step(0, ask_twice))
    finally:
        signal.signal(signal.SIGINT, before)
    assert getattr(caught.value, "code", None) == code
    assert (tmp_path / "last.pth").is_file() == (code is not None)


def groups(parameters) -> torch.optim.Optimizer:
    return torch.optim.Adam([{"params": [parameter]} for parameter in parameters])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"accumulation_steps": 2}, "had 2 images_per_step, this one has 4.*--resume=no"),
        ({"optimizer": groups}, "another network or optimiser .*--resume=no"),
    ],
)
def test_what_cannot_be_gone_on_with_is_refused_in_one_line(tmp_path: Path, monkeypatch, changes, words: str) -> None:
    Run(tmp_path, epochs=1)()
    with pytest.raises(UserError, match=words) as caught:
        Run(tmp_path, **changes)()
    assert "\n" not in str(caught.value)
    monkeypatch.setitem(globals(), "network", lambda: nn.Conv2d(3, 4, 1))
    with pytest.raises(UserError, match="another network or optimiser .*--resume=no"):
        Run(tmp_path)()


@pytest.mark.parametrize(("before", "now"), [("O0", "O1"), ("O1", "O0")])
def test_a_run_may_go_on_in_another_precision(tmp_path: Path, before: str, now: str) -> None:
    plan, model, store = Plan(1, 1, 1), nn.Linear(2, 2), Store(tmp_path, 1)
    old, new = (
        TrainState(model, DESCENT(model.parameters()), plan, CPU, store, Settings(amp=amp, amp_type="float16"))
        for amp in (before, now)
    )
    new.restore(old.content())
    assert new.scaler.is_enabled() == (now == "O1")


def test_throughput_leaves_warm_up_and_pauses_out(tmp_path: Path, monkeypatch) -> None:
    clock = [0.0]

    def takes(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    run = Run(tmp_path, evaluate_every=1)
    slow_start = at_step(0, lambda found: takes(50))
    run(
        lambda model, batch: (takes(0.02), slow_start(model, batch))[1],
        evaluate=lambda model: (takes(100), {"AP": 0.1})[1],
    )
    (end,) = run.records("end")
    assert end["step_s"] == pytest.approx(0.02) and end["images_per_s"] == pytest.approx(BATCH / 0.02)
    assert end["data_s"] == 0


def test_what_each_step_is_told_goes_on_after_an_interruption(tmp_path: Path) -> None:
    def run(folder: Path, stop_at: int | None = None) -> list[tuple[int, float]]:
        told = []

        def after_step(number: int, found: dict[str, Tensor]) -> None:
            told.append((number, found["square"].item()))
            if number == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)

        try:
            Run(folder, log_every=4)(after_step=after_step)
        except SystemExit:
            assert stop_at
        return told

    whole = run(tmp_path / "whole")
    assert [number for number, _ in whole] == list(range(EPOCHS * STEPS))
    first = run(tmp_path / "cut", stop_at=7)
    assert first + run(tmp_path / "cut") == whole
