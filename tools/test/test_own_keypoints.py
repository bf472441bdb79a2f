# SPDX-License-Identifier: Apache-2.0
"""docs/own_keypoints.md: from CVAT's file of a five-point creature to a network, in every directory."""

import importlib
import runpy
from pathlib import Path

from common import cli
from common.coco import cache, validate
from common.skeleton import load
from tools.convert import __main__ as convert

import pytest

ROOT = Path(__file__).parents[2]
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
    config, skeleton = found(model, f"--data_path={folder / 'data.yaml'}")
    assert skeleton.keypoints == load(folder / "skeleton.yaml").keypoints
    assert len(samples_of(model, config, skeleton)) > 0


def samples_of(model: str, config, skeleton):
    """The training samples of a model."""
    data = importlib.import_module(f"{model}.data")
    return (data.TrainSamples if model in ("AlphaPose", "MIPNet") else data.train_samples)(config, skeleton)


def found(model: str, *words: str):
    """The settings of a training, with data set, and the skeleton."""
    flags = [*words, "--recipe=smoke", f"--output_dir={Path(words[0].partition('=')[2]).parent / 'out'}"]
    if model in ("AlphaPose", "MIPNet"):
        config = importlib.import_module(f"{model}.config").parse(flags)
        resolve = {"AlphaPose": "with_skeleton", "MIPNet": "resolve_data_folder"}[model]
        config = getattr(importlib.import_module(f"{model}.data"), resolve)(config)
        return config, config.load_skeleton()
    module = importlib.import_module(f"{model}.train")
    config = module.find_data(cli.parse(module.Config, module.RECIPES, flags, aliases=module.ALIASES))
    return config, load(config.skeleton)
