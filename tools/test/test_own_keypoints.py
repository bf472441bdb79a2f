# SPDX-License-Identifier: Apache-2.0
"""docs/own_keypoints.md: from CVAT's file of a five-point creature to a network, in every directory."""

import importlib
import runpy
import subprocess
import sys
from pathlib import Path

from common.coco import cache, validate
from common.skeleton import load
from common.test import programs
from tools.convert import __main__ as convert

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE_S = 1800
MODELS = ("Lightweight_OpenPose", "OpenPose_MindSpore_port", "AlphaPose", "MIPNet")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:
    (tmp_path / "code").mkdir()
    monkeypatch.setattr(cache, "ROOT", tmp_path / "code")


def creatures(folder: Path, num: int, corrected: bool) -> Path:
    """A converted data set."""
    drawn = runpy.run_path(str(ROOT / "ci" / "creatures.py"))
    drawn["write"](folder / "cvat", num, 0, corrected)
    words = [f"--source={folder / 'cvat'}", f"--target={folder / 'creatures'}", "--val=0.2"]
    convert.main(["--from=cvat", "--to=coco", *words])
    return folder / "creatures"


def test_the_planted_mistakes_are_found(tmp_path, capsys):
    folder = creatures(tmp_path, 6, corrected=False)
    assert "1 keypoints beyond their image are not labelled now" in capsys.readouterr().err
    findings = validate.check(folder, load(folder / "skeleton.yaml"))
    assert [one.kind for one in findings if one.is_error] == ["sides"] * 3, "of the first two images"


def test_corrected_it_has_no_findings(tmp_path):
    folder = creatures(tmp_path, 6, corrected=True)
    assert not validate.check(folder, load(folder / "skeleton.yaml"))
    skeleton = load(folder / "skeleton.yaml")
    assert skeleton.keypoints == ("left_ear", "right_ear", "left_eye", "right_eye", "nose") and len(skeleton.limbs) == 4


@pytest.mark.parametrize("model", MODELS)
def test_every_training_finds_data_and_skeleton(tmp_path, model):
    """What a training does before its first step, with a data.yaml for a data path and nothing else."""
    folder = creatures(tmp_path, 6, corrected=True)
    config = found(model, f"--data_path={folder / 'data.yaml'}")
    skeleton = load(config.skeleton)
    assert skeleton.keypoints == load(folder / "skeleton.yaml").keypoints
    samples = {
        "Lightweight_OpenPose": "Lightweight_OpenPose.data",
        "OpenPose_MindSpore_port": "OpenPose_MindSpore_port.data",
        "AlphaPose": "AlphaPose.train",
        "MIPNet": "MIPNet.data",
    }[model]
    taken = importlib.import_module(samples).train_samples(config, skeleton)
    assert len(taken) > 0


def found(model: str, *words: str):
    """The settings of a training, with data set and skeleton."""
    if model == "AlphaPose":
        from AlphaPose.config import parse
        from AlphaPose.train import with_skeleton

        return with_skeleton(parse([*words, "--recipe=smoke"]))
    if model == "MIPNet":
        from MIPNet import data
        from MIPNet.config import parse as mipnet

        return data.find(mipnet([*words, "--recipe=smoke"]))
    from common import cli

    module = importlib.import_module(f"{model}.train")
    flags = [*words, "--recipe=smoke", f"--output_dir={Path(words[0].partition('=')[2]).parent / 'out'}"]
    return module.find_data(cli.parse(module.Config, module.RECIPES, flags, aliases=module.ALIASES))


SHORT = {
    "Lightweight_OpenPose": ("--epochs=1", "--eval_freq=1", "--num_workers=0"),
    "OpenPose_MindSpore_port": ("--max_epoch_train=1", "--max_steps=2", "--eval_freq=1", "--num_workers=0"),
    "AlphaPose": ("--num_workers=0", "TRAIN.END_EPOCH", "1", "TRAIN.LR_STEP", "[1]"),
    "MIPNet": ("--epochs=1", "--num_workers=0"),
}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_training_saves_a_network_of_five_points(tmp_path, model):
    folder = creatures(tmp_path, 10, corrected=True)
    run = trained(model, folder, tmp_path / "out", *SHORT[model])
    assert [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".pth", ".ckpt")], run.stdout


@pytest.mark.slow
def test_a_top_down_network_learns_the_creatures(tmp_path):
    """As in the tutorial: fifty images, a small network from a random start."""
    folder = creatures(tmp_path, 50, corrected=True)
    keys = {"TRAIN.END_EPOCH": "60", "TRAIN.LR_STEP": "[45,55]", "DATASET.TRAIN.AUG.ROT_FACTOR": "20.0"}
    words = [word for pair in keys.items() for word in pair]
    run = trained("AlphaPose", folder, tmp_path / "out", "--num_workers=0", *words)
    found = [float(line.rpartition(":")[2]) for line in run.stdout.splitlines() if ",ap:" in line]
    assert max(found) > 0.9


def trained(model: str, folder: Path, output: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """A training by the small recipe, to its end."""
    flags = (f"--data_path={folder}", "--recipe=smoke", f"--output_dir={output}", "--device=cpu", *words)
    command = [sys.executable, "-m", f"{model}.train", *flags]
    run = subprocess.run(
        command, capture_output=True, text=True, env=programs.environment(), timeout=DEADLINE_S, check=False
    )
    assert run.returncode == 0, run.stderr
    return run
