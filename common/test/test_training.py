# SPDX-License-Identifier: Apache-2.0
"""The training loop on a network of three layers: what it must keep, whatever the model."""

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import common.cli
import common.device
import common.train.loop
from common.train.checkpoint import BEST, read
from common.train.loader import Plan
from common.train.log import Log
from common.train.loop import INTERRUPTED_EXIT_CODE, NonFiniteLoss, finish_epoch, train_one_epoch, training
from common.train.state import TrainState, set_learning_rates
from common.train.store import Store

import numpy as np
import pytest
import torch
from torch import Tensor, nn

CPU = torch.device("cpu")
SAMPLES, BATCH, EPOCHS = 12, 2, 3


@dataclass(frozen=True)
class Settings:
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
    return {"image": torch.from_numpy(np.stack(samples)), "replaced": torch.tensor(0)}


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.3), nn.Conv2d(4, 1, 3))


def losses(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    maps = model(batch["image"])
    return {"square": maps.square().mean(), "bound": (maps - 1).abs().mean()}


def state_of(model: nn.Module, optimizer, plan: Plan, folder: Path, settings: Settings = Settings()) -> TrainState:
    return TrainState(model, optimizer, plan, CPU, Store(folder, 2), settings, "three layers")


def train(state: TrainState, log: Log, forward=losses, evaluate=None, factor: float = 0.5, **hooks) -> None:
    """The epochs of a run, as every train.py has them."""
    with training(state, log):
        finish_epoch(state, evaluate, log)
        batches = state.batches(Points(), collate, 0, log)
        for epoch in state.epochs_left():
            set_learning_rates(state.optimizer, factor**epoch)
            train_one_epoch(state, batches, forward, log, **hooks)
            state.end_epoch()
            finish_epoch(state, evaluate, log)


class Run:
    """One training run in a folder; the same again goes on where it stopped."""

    def __init__(self, folder: Path, **changes) -> None:
        self.folder, self.changes = folder, changes
        self.parts = changes.pop("parts", 1)
        self.ema = changes.pop("ema", 0.0)

    def __call__(self, forward=losses, evaluate=None, epochs: int = EPOCHS, optimizer=torch.optim.Adam) -> TrainState:
        model = network()
        plan = Plan(epochs, SAMPLES, BATCH, self.parts, log_every=1, **self.changes)
        state = state_of(model, optimizer(model.parameters(), lr=0.05), plan, self.folder, Settings(self.ema))
        common.device.seed_all(1)
        with Log(self.folder / "metrics.jsonl", self.folder) as log:
            if content := state.store.newest(log.line):
                state.restore(content)
            train(state, log, forward, evaluate)
        return state

    def records(self, event: str) -> list[dict]:
        lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        return [record for line in lines if (record := json.loads(line))["event"] == event]


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("at", [(0, 1), (1, 5), (2, 0)])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_interrupted_and_resumed_is_bit_equal_to_undisturbed(tmp_path: Path, at: tuple[int, int], ema: float) -> None:
    whole = Run(tmp_path / "whole", ema=ema)()
    calls = []

    def interrupted(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        calls.append(1)
        if len(calls) == at[0] * (SAMPLES // BATCH) + at[1] + 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses(model, batch)

    with pytest.raises(SystemExit) as caught:
        Run(tmp_path / "cut", ema=ema)(interrupted)
    assert caught.value.code == INTERRUPTED_EXIT_CODE
    resumed = Run(tmp_path / "cut", ema=ema)()
    assert same(whole.model, resumed.model) and same(whole.best_model, resumed.best_model)
    assert not same(whole.model, network())
    assert [(r["epoch"], r["step"], r["losses"]) for r in Run(tmp_path / "cut").records("step")] == [
        (r["epoch"], r["step"], r["losses"]) for r in Run(tmp_path / "whole").records("step")
    ]


def test_saves_within_an_epoch_change_nothing(tmp_path: Path) -> None:
    assert same(Run(tmp_path / "a")().model, Run(tmp_path / "b", save_every=2)().model)


def test_a_batch_in_parts_is_the_batch(tmp_path: Path) -> None:
    """Without normalisation over the batch, two halves accumulated are the whole."""

    def plain(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"square": nn.functional.conv2d(batch["image"], model[0].weight, model[0].bias).square().mean()}

    def descent(parameters, lr):
        return torch.optim.SGD(parameters, lr=lr)

    whole = Run(tmp_path / "whole")
    global BATCH
    halves = Run(tmp_path / "halves", parts=2)(plain, optimizer=descent)
    before, BATCH = BATCH, 4
    try:
        once = whole(plain, optimizer=descent)
    finally:
        BATCH = before
    assert torch.allclose(halves.model[0].weight, once.model[0].weight, atol=1e-6)


def test_the_learning_rate_of_an_epoch(tmp_path: Path) -> None:
    Run(tmp_path)()
    run = Run(tmp_path)
    assert {record["epoch"]: record["learning_rate"] for record in run.records("step")} == {
        0: 0.05, 1: 0.025, 2: 0.0125,
    }  # fmt: skip


def test_a_loss_that_is_not_finite_stops_and_names_step_and_term(tmp_path: Path) -> None:
    calls = []

    def explodes(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        calls.append(1)
        found = losses(model, batch)
        return {**found, "bound": found["bound"] * (torch.inf if len(calls) == 9 else 1)}

    with pytest.raises(NonFiniteLoss, match=r"loss bound is not finite at epoch 1, step 2"):
        Run(tmp_path)(explodes)
    saved = Store(tmp_path, 1).newest(print)
    assert saved is not None and saved["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in saved["state_dict"].values())


def test_gradients_are_clipped(tmp_path: Path) -> None:
    def descent(parameters, lr):
        return torch.optim.SGD(parameters, lr=1.0)

    def large(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"large": 1e4 * losses(model, batch)["square"]}

    start = torch.cat([p.flatten() for p in network().parameters()])
    model, plan = network(), Plan(1, BATCH, BATCH, clip_norm=0.5)
    state = state_of(model, descent(model.parameters(), 1.0), plan, tmp_path)
    with Log(tmp_path / "metrics.jsonl", tmp_path) as log:
        train(state, log, large)
    moved = torch.cat([p.detach().flatten() for p in model.parameters()]) - start
    assert moved.norm().item() == pytest.approx(0.5, rel=1e-3)


def test_the_best_is_kept_even_if_it_is_zero(tmp_path: Path) -> None:
    aps = iter([0.0, 0.4, 0.3])
    state = Run(tmp_path, evaluate_every=1)(evaluate=lambda model: {"AP": next(aps)})
    assert state.ap == 0.4
    assert read(tmp_path / BEST)["epoch"] == 2
    assert [record["metrics"]["AP"] for record in Run(tmp_path).records("evaluate")] == [0.0, 0.4, 0.3]


def test_a_failed_evaluation_loses_no_epoch_and_is_made_up_for(tmp_path: Path) -> None:
    undisturbed = Run(tmp_path / "whole", evaluate_every=1, keep_every=1)(evaluate=lambda model: {"AP": 0.1})
    calls: list[str] = []

    def counted(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        calls.append("step")
        return losses(model, batch)

    def evaluate(model: nn.Module) -> dict[str, float]:
        calls.append("evaluate")
        if calls.count("evaluate") in (1, 2):
            raise common.cli.UserError("no validation images")
        return {"AP": 0.1}

    for _ in range(2):
        with pytest.raises(common.cli.UserError):
            Run(tmp_path / "cut", evaluate_every=1, keep_every=1)(counted, evaluate)
        assert (tmp_path / "cut" / "checkpoint_1.pth").is_file()
    trained = Run(tmp_path / "cut", evaluate_every=1, keep_every=1)(counted, evaluate)
    steps = SAMPLES // BATCH
    assert calls == ["step"] * steps + ["evaluate"] * 3 + (["step"] * steps + ["evaluate"]) * 2
    assert same(undisturbed.model, trained.model) and trained.ap == 0.1
    assert read(tmp_path / "cut" / BEST)["epoch"] == read(tmp_path / "whole" / BEST)["epoch"] == 1


def test_a_checkpoint_to_keep_that_could_not_be_written_is_written_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Store, "save_epoch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        Run(tmp_path, keep_every=3)()
    Run(tmp_path, keep_every=3)()
    assert read(tmp_path / "checkpoint_3.pth")["epoch"] == EPOCHS
    assert [record["epoch"] for record in Run(tmp_path).records("step")] == [e for e in range(3) for _ in range(6)]


@pytest.mark.parametrize(("relay_s", "code"), [(60.0, INTERRUPTED_EXIT_CODE), (-1.0, None)])
def test_a_request_that_is_handed_on_is_no_second_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relay_s: float, code: int | None
) -> None:
    def asked_twice(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)  # two that are sent from outside may arrive as one
        return losses(model, batch)

    monkeypatch.setattr(common.train.loop, "RELAY_S", relay_s)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background may ignore it
    try:
        with pytest.raises((SystemExit, KeyboardInterrupt)) as caught:
            Run(tmp_path)(asked_twice)
    finally:
        signal.signal(signal.SIGINT, before)
    assert getattr(caught.value, "code", None) == code
    assert (tmp_path / "last.pth").is_file() == (code is not None)


def test_another_batch_size_does_not_resume(tmp_path: Path) -> None:
    Run(tmp_path)(epochs=1)
    with pytest.raises(common.cli.UserError, match="had 2 images_per_step, this one has 4.*--resume=no"):
        Run(tmp_path, parts=2)()


@pytest.mark.parametrize(
    ("model", "optimizer"),
    [
        (nn.Conv2d(3, 4, 1), lambda weights: torch.optim.Adam(weights)),
        (
            nn.Sequential(nn.Linear(2, 2)),
            lambda weights: torch.optim.Adam([{"params": [weight]} for weight in weights]),
        ),
    ],
)
def test_the_state_of_another_network_or_optimiser_is_refused_in_one_line(
    tmp_path: Path, model: nn.Module, optimizer
) -> None:
    plan, before = Plan(1, 1, 1), nn.Sequential(nn.Linear(2, 2))
    content = state_of(before, torch.optim.Adam(before.parameters()), plan, tmp_path).content()
    state = state_of(model, optimizer(model.parameters()), plan, tmp_path)
    with pytest.raises(common.cli.UserError, match="another network or optimiser .*--resume=no") as caught:
        state.restore(content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("before", "now"), [("O0", "O1"), ("O1", "O0")])
def test_a_run_may_go_on_in_another_precision(tmp_path: Path, before: str, now: str) -> None:
    plan, model = Plan(1, 1, 1), nn.Linear(2, 2)
    old, new = (
        state_of(model, torch.optim.Adam(model.parameters()), plan, tmp_path, Settings(amp=amp, amp_type="float16"))
        for amp in (before, now)
    )
    new.restore(old.content())
    assert new.scaler.is_enabled() == (now == "O1")


def test_throughput_leaves_warm_up_and_pauses_out(tmp_path: Path) -> None:
    import time

    Run(tmp_path, evaluate_every=1)(
        lambda model, batch: (time.sleep(0.02), losses(model, batch))[1],
        evaluate=lambda model: (time.sleep(1.5), {"AP": 0.1})[1],
    )
    end = Run(tmp_path).records("end")[-1]
    assert 0.02 < end["step_s"] < 0.2 and not end["includes_warm_up"]
    assert end["images_per_s"] == pytest.approx(BATCH / end["step_s"])
    assert end["data_s"] < end["step_s"]


def test_rates_of_steps_and_what_each_step_is_told_go_on_after_an_interruption(tmp_path: Path) -> None:
    def run(folder: Path, stop_at: int | None = None) -> list[tuple[int, float, float]]:
        model, told = network(), []
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        state = state_of(model, optimizer, Plan(EPOCHS, SAMPLES, BATCH, log_every=4), folder)

        def rates(number: int) -> None:
            optimizer.param_groups[0]["lr"] = 0.01 / (1 + number)

        def each(number: int, found: dict[str, Tensor]) -> None:
            told.append((number, optimizer.param_groups[0]["lr"], found["square"].item()))
            if number == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)

        common.device.seed_all(1)
        with Log(folder / "metrics.jsonl", folder) as log:
            if content := state.store.newest(log.line):
                state.restore(content)
            try:
                train(state, log, factor=7.0, before_step=rates, after_step=each)
            except SystemExit:
                return told
        return told

    whole = run(tmp_path / "whole")
    assert [number for number, _, _ in whole] == list(range(EPOCHS * SAMPLES // BATCH))
    assert all(rate == 0.01 / (1 + number) for number, rate, _ in whole)
    first = run(tmp_path / "cut", stop_at=7)
    rest = run(tmp_path / "cut")
    assert first + rest == whole
