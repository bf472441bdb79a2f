# SPDX-License-Identifier: Apache-2.0
"""From flags to log lines, checkpoints and result files: the real program, with a network of few channels."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import common.train.checkpoint
from common.cli import UserError
from common.skeleton import OPENPOSE
from common.test.programs import complaint, equal, weights
from common.train.loader import Plan
from common.train.log import Log
from OpenPose_MindSpore_port import mindspore_checkpoint, train
from OpenPose_MindSpore_port.config import Config
from OpenPose_MindSpore_port.data import train_samples
from OpenPose_MindSpore_port.test.narrow import make_narrow
from OpenPose_MindSpore_port.test.programs import flags_of, small_done

import numpy as np
import pytest
import torch

NUMBER = r"-?[\d.]+(?:e-?\d+)?"
PUBLISHED_LINE = re.compile(
    rf"epoch\[(\d+)\], iter\[(\d+)\], loss\[({NUMBER})\], \d+\.\d\d imgs/sec, "
    rf"vgglr=({NUMBER}),baselr=({NUMBER}),stagelr=({NUMBER})"
)
STAGE_LINE = re.compile(rf"(pafs|htmp) stage_loss: \[\s*((?:{NUMBER}\s*){{6}})\]")


def trained(folder: Path, *flags: str, ranks: int = 1) -> "subprocess.CompletedProcess[str]":
    run = small_done(folder, *flags, ranks=ranks)
    assert run.returncode == 0, run.stdout + run.stderr
    return run


def step_losses(folder: Path, name: str = "train") -> list[dict[str, float]]:
    lines = (folder / f"{name}_checkpoints" / "metrics.jsonl").read_text().splitlines()
    return [record["losses"] for line in lines if (record := json.loads(line))["event"] == "step"]


def test_a_run_as_published(tiny_coco: Path, tmp_path: Path) -> None:
    """Two epochs of five steps, an evaluation, MindSpore checkpoints every three steps; one run for all checks."""
    folder = tmp_path / "run"
    found = trained(
        folder,
        f"--data_path={tiny_coco}",
        "--epochs=2",
        "--eval_freq=2",
        "--ckpt_interval=3",
        "--keep_checkpoint_max=2",
        "--lr_steps=9",
    )
    run = SimpleNamespace(folder=folder, text=found.stdout, losses=step_losses(folder))
    check_published_lines(run)
    check_the_evaluation_gives_the_published_line(run)
    check_checkpoints_for_mindspore(run)
    check_a_finished_run_is_not_trained_again(run, tiny_coco)
    check_a_run_begins_with_a_checkpoint_for_mindspore(run, tiny_coco, tmp_path / "next")


def check_published_lines(run) -> None:
    lines = [match for line in run.text.splitlines() if (match := PUBLISHED_LINE.fullmatch(line))]
    steps = len(run.losses)
    assert [int(line[2]) for line in lines] == list(range(steps))
    assert [int(line[1]) for line in lines] == [number // (steps // 2) for number in range(steps)]
    totals = [sum(losses.values()) for losses in run.losses]
    assert [float(line[3]) for line in lines] == pytest.approx(totals, rel=1e-5)
    assert lines[0].group(4, 5, 6) == ("0.0", str(float(np.float32(1e-3) / 4)), str(float(np.float32(1e-3))))
    assert lines[1][4] == "0.0" and lines[2][4] == lines[2][5]  # the freeze is over
    stages = [match for line in run.text.splitlines() if (match := STAGE_LINE.fullmatch(line))]
    assert [match[1] for match in stages] == ["pafs", "htmp"] * len(lines)
    pafs, heatmaps = ([float(word) for word in match[2].split()] for match in stages[:2])
    assert pafs == pytest.approx([run.losses[0][f"s{n}_paf"] for n in range(1, 7)], abs=1e-6)
    assert heatmaps == pytest.approx([run.losses[0][f"s{n}_heatmap"] for n in range(1, 7)], abs=1e-6)


def check_the_evaluation_gives_the_published_line(run) -> None:
    assert re.search(r"^result:  \{'AP': .*'Ap \.5': ", run.text, re.MULTILINE)
    assert (run.folder / "train_checkpoints" / common.train.checkpoint.BEST).is_file()


def check_checkpoints_for_mindspore(run) -> None:
    (folder,) = (run.folder / "checkpoints").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_time_\d\d_\d\d_\d\d", folder.name)
    steps, a_epoch = len(run.losses), len(run.losses) // 2
    multiples = list(range(3, steps + 1, 3))
    kept = ([*multiples, steps] if steps % 3 else multiples)[-2:]
    assert {path.name for path in folder.iterdir()} == {f"0-{-(-step // a_epoch)}_{step}.ckpt" for step in kept}
    last = mindspore_checkpoint.read(folder / f"0-2_{steps}.ckpt")
    assert equal(mindspore_checkpoint.network_weights(last), weights(run.folder / "train_checkpoints"))
    assert all(name.startswith("network.") for name in last)


def check_a_finished_run_is_not_trained_again(run, tiny_coco: Path) -> None:
    before = weights(run.folder / "train_checkpoints")
    again = trained(run.folder, f"--data_path={tiny_coco}", "--epochs=2", "--lr_steps=9")
    assert "--resume=no" in again.stdout
    assert equal(before, weights(run.folder / "train_checkpoints"))


def check_a_run_begins_with_a_checkpoint_for_mindspore(run, tiny_coco: Path, tmp_path: Path) -> None:
    (folder,) = (run.folder / "checkpoints").iterdir()
    last = max(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    flags = ("--load_pretrain", f"--pretrained_model_path={last}", "--epochs=1", "--max_steps=1", "--lr=1e-30")
    found = trained(tmp_path, f"--data_path={tiny_coco}", *flags, "--keep_checkpoint_max=0")
    assert f"=> using pre-trained model {last}" in found.stdout and not (tmp_path / "checkpoints").exists()
    assert equal(weights(tmp_path / "train_checkpoints"), weights(run.folder / "train_checkpoints"))


def test_two_ranks_are_one_that_accumulates_the_same_halves(tiny_coco: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    flags = (f"--data_path={tiny_coco}", "--epochs=1", "--eval_freq=1", "--freeze_steps=4")
    trained(one, *flags, "--batch_size=4", "--micro_batch_size=2", "--freeze_steps=2")
    found = trained(two, *flags, ranks=2)
    for alone, together in zip(step_losses(one), step_losses(two), strict=True):
        assert together == pytest.approx(alone, rel=1e-4)
    alone, together = weights(one / "train_checkpoints"), weights(two / "train_checkpoints")
    assert all(torch.allclose(value, together[name], atol=1e-5) for name, value in alone.items())
    assert "iter[2]" in found.stdout and len(list((two / "checkpoints").glob("*/0-*.ckpt"))) == 1
    assert not list((two / "checkpoints").glob("*/1-*.ckpt"))


def test_the_original_rule_of_several_devices(tiny_coco: Path, tmp_path: Path) -> None:
    """Every tensor's step has a length that does not depend on its gradient: clipped while the loss scale is in it."""
    trained(
        tmp_path,
        f"--data_path={tiny_coco}",
        "--recipe=clip_momentum",
        "--max_steps=1",
        "--max_epoch_train=1",
        "--eval_freq=0",
        "--lr=1e-3",
        "--loss_scale=1e30",
        "--keep_checkpoint_max=0",
        ranks=2,
    )
    state = common.train.checkpoint.read(tmp_path / "clip_momentum_checkpoints" / common.train.checkpoint.LAST)
    lengths = [of_weight["momentum_buffer"].norm().item() for of_weight in state["optimizer"]["state"].values()]
    assert len(lengths) == 184 and lengths == pytest.approx([10.0] * 184, rel=1e-3)


def test_masks_are_made_once_and_where_they_may_be(tiny_coco: Path, tmp_path: Path, monkeypatch) -> None:
    coco = shutil.copytree(tiny_coco, tmp_path / "coco", ignore=shutil.ignore_patterns("ignore_mask*"))
    config = Config(data_dir=str(coco), output_dir=str(tmp_path / "out"))

    def masks() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in train_samples(config, OPENPOSE).masks.iterdir()}

    with monkeypatch.context() as read_only:
        read_only.setattr(os, "access", lambda *_: False)
        elsewhere = masks()
    assert elsewhere == masks() and {path.parent.parent for path in elsewhere} == {tmp_path / "out"}
    shutil.rmtree(tmp_path / "out")
    first = masks()
    assert first == masks() and {path.parent for path in first} == {coco / "ignore_mask_train"}
    assert not list(coco.glob(".*"))


def test_lines_are_means_since_those_before_and_count_steps_left_out(tmp_path: Path) -> None:
    """Of a run of two epochs of three steps, whose third has gradients that are not finite."""
    rates = dict.fromkeys(("vgg", "base", "stage"), np.ones(2, np.float32))
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([weight])
    state = SimpleNamespace(
        optimizer=optimizer, plan=Plan(2, 3, 1, log_every=3), speed=SimpleNamespace(images_per_s=12.345)
    )
    with Log(tmp_path / "metrics.jsonl", tmp_path) as log:
        after_step = train.published_lines(state, rates, log)
        for number in range(6):
            weight.grad = torch.ones(1)
            if number != 2:
                optimizer.step()
            after_step(number, {"s1_paf": torch.tensor(float(number)), "s1_heatmap": torch.tensor(0.5)})
    text = (tmp_path / "train_0.log").read_text()
    lines = [line for line in text.splitlines() if line.startswith("epoch")]
    assert [float(line.split("loss[")[1].split("]")[0]) for line in lines] == [0.5, 2.5]
    assert lines[1].startswith("epoch[1], iter[3]") and ", 12.35 imgs/sec, " in lines[1]
    assert text.count("warning: 1 steps were left out since the start: gradients not finite") == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--train_dir=absent",), "--train_dir names another place"),
        (("--train_ann=absent.json",), "--train_ann names another place"),
        (("--maskpath_train=absent",), "--maskpath_train"),
        (("--vgg_path={ann}",), "val2017.json"),
        (("--load_pretrain", "--pretrained_model_path=x.ckpt"), "x.ckpt"),
        (("--skeleton=crowdpose",), "keypoints"),
        (("--loss_scale=large",), "--loss_scale=large"),
    ],
)
def test_mistakes_are_named(monkeypatch, tiny_coco: Path, tmp_path: Path, flags: tuple, words: str) -> None:
    annotations = tiny_coco / "annotations" / "person_keypoints_val2017.json"
    filled = [flag.format(ann=annotations) for flag in flags]
    make_narrow(monkeypatch)
    monkeypatch.setattr(sys, "argv", ["train.py", *flags_of(tmp_path, f"--data_path={tiny_coco}", *filled)])
    with pytest.raises(UserError, match=words) as caught:
        train.main()
    assert "\n" not in str(caught.value) and not list(tmp_path.glob("**/*.pth"))


def test_a_mistake_is_one_line_of_the_program(tmp_path: Path) -> None:
    assert "--data_path" in complaint(small_done(tmp_path, f"--data_path={tmp_path / 'nowhere'}"))
