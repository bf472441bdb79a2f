# SPDX-License-Identifier: Apache-2.0
"""The real programs on a few drawn people, at sizes that take seconds."""

import json
import sys
from pathlib import Path

from AlphaPose import train
from AlphaPose.config import Config, parse
from AlphaPose.test.programs import EXPERIMENT, SMALL, launcher, trained
from AlphaPose.train import forward_losses, lr_factor
from common.cli import UserError
from common.test.programs import complaint, equal, weights

import numpy as np
import pytest
import torch
from torch import nn


def test_learning_rate() -> None:
    epochs = (0, 89, 90, 119, 120, 139, 140, 159, 160, 190, 199)
    expected = [1, 1, 0.1, 0.1, 0.01, 0.01, 1, 1, 0.1, 0.01, 0.01]
    assert [lr_factor(epoch, Config()) for epoch in epochs] == pytest.approx(expected)
    assert lr_factor(150, Config(dpg=False)) == pytest.approx(0.01)


class Answers(nn.Module):
    """A network that answers with fixed maps."""

    def __init__(self, maps: torch.Tensor) -> None:
        super().__init__()
        self.maps = nn.Parameter(maps)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The maps, whatever the images."""
        return self.maps


@pytest.mark.parametrize("loss", ["MSELoss", "L1JointRegression"])
def test_losses_are_least_for_the_right_answer(loss: str) -> None:
    config = parse(["LOSS.TYPE", loss, "--image_size=64,32", "--heatmap_size=16,8", "--sigma=1"])
    batch = {
        "image": torch.zeros(1, 3, 64, 48, dtype=torch.uint8),
        "joints": torch.tensor([[[8.0, 8.0], [30.0, 40.0], [0.0, 0.0]]], dtype=torch.float64),
        "visible": torch.tensor([[1.0, 1.0, 0.0]]),
    }
    low, high = (0.0, 1.0) if loss == "MSELoss" else (-20.0, 20.0)
    right = torch.full((1, 3, 16, 12), low)
    right[0, 0, 2, 2] = right[0, 1, 10, 8] = high
    found, mirrored = (
        forward_losses(Answers(maps), batch, torch.device("cpu"), config)["loss"] for maps in (right, right.flip(3))
    )
    assert found < mirrored


def test_trained_resumed_and_evaluated(tiny_coco: Path, tmp_path: Path) -> None:
    """Two epochs at once, and two with a stop between them: the same weights; then the AP from the launcher."""
    place = (f"--data_path={tiny_coco}", *SMALL)
    done = launcher("train_full_1p.sh", *place, f"--output_dir={tmp_path / 'whole'}", "--epochs=2", "--snapshot=1")
    assert done.returncode == 0, done.stderr
    assert "random start" in done.stdout and "FPS@all" in done.stdout and "TrainAccuracy : " in done.stdout
    for epochs in (1, 2):
        done = trained(tmp_path / "cut", *place, f"--epochs={epochs}", "--snapshot=1")
        assert done.returncode == 0, done.stderr
    assert "resumed at epoch 1" in done.stdout
    assert equal(weights(tmp_path / "whole" / EXPERIMENT), weights(tmp_path / "cut" / EXPERIMENT))
    for name in ("model_best.pth", "metrics.jsonl", "pictures/predictions.png", "model_0.pth", "model_1.pth"):
        assert (tmp_path / "whole" / EXPERIMENT / name).is_file(), name
    best = tmp_path / "whole" / EXPERIMENT / "model_best.pth"
    words = (f"--data_path={tiny_coco}", f"--output_dir={tmp_path}", "--device=cpu", f"--checkpoint={best}")
    done = launcher("eval.sh", *words)
    assert done.returncode == 0, done.stderr
    assert "##### gt box: 0." in done.stdout and "EvalAccuracy : " in done.stdout
    result = (tmp_path / "whole" / "test" / "output" / "0" / "AlphaPose_bs4_1p_acc.log").read_text()
    assert "CaseName = AlphaPose_bs4_1p_acc" in result and "ActualLoss = " in result


def test_two_ranks_are_one_that_accumulates_the_same_halves(tiny_coco: Path, tmp_path: Path) -> None:
    """The first step's loss of two ranks with two people each is that of one rank with two parts of two."""
    losses = []
    for ranks, flags in ((1, ("--batch_size=4", "--part_size=2")), (2, ("--batch_size=2",))):
        run = (f"--ranks={ranks}", f"--output_dir={tmp_path / str(ranks)}", "--epochs=1", "--snapshot=0")
        done = launcher("train_full_8p.sh", f"--data_path={tiny_coco}", *SMALL, *flags, *run)
        assert done.returncode == 0, done.stderr
        lines = (tmp_path / str(ranks) / EXPERIMENT / "metrics.jsonl").read_text().splitlines()
        losses.append([step["losses"]["loss"] for step in map(json.loads, lines) if step["event"] == "step"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
    assert len(losses[0]) >= 2


def test_a_launcher_adds_no_line_and_keeps_the_exit_code(tmp_path: Path) -> None:
    run = launcher("train_full_1p.sh", f"--output_dir={tmp_path}", "--data_path=/nowhere")
    assert "/nowhere" in complaint(run)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--cfg=absent.yaml",), "--cfg=absent.yaml"),
        (("--data_path=mini", "--backbone=absent.pth"), "absent.pth"),
        (("--data_path=mini", "--lr_step=9"), "--lr_step=9"),
    ],
)
def test_mistakes_are_named(monkeypatch, tmp_path: Path, flags: tuple[str, ...], words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", f"--output_dir={tmp_path}", "--recipe=full", *flags])
    with pytest.raises(UserError, match=words) as caught:
        train.main()
    assert "\n" not in str(caught.value)
