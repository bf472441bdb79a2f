# SPDX-License-Identifier: Apache-2.0
"""Mistakes at the keyboard: one line that names file or flag and the cure, nothing overwritten."""

import json
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

from common.cli import UserError
from common.test.programs import complaint
from Lightweight_OpenPose import eval as evaluation
from Lightweight_OpenPose import train
from Lightweight_OpenPose.test.programs import FROM_SCRATCH, SMALL, launcher, module, save_network

import pytest
import torch


@pytest.fixture
def coco(tiny_coco: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_coco, tmp_path / "coco")


def refused(program: ModuleType, monkeypatch: pytest.MonkeyPatch, *flags: str) -> str:
    """The one line that a program ends with."""
    monkeypatch.setattr(sys, "argv", ["program", *flags])
    with pytest.raises(UserError) as caught:
        program.main()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_launchers_add_no_line_and_keep_the_exit_code(tmp_path: Path) -> None:
    done = launcher("train_performance_8p.sh", "--data_path=mini", "--device=npu", f"--output_dir={tmp_path}")
    assert "--device=cpu" in complaint(done)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--data_path={tmp}",), ("annotations", "--data_path=mini")),
        (("--data_path=mini", "--recipe=full", "--step=4"), ("--step=4",)),
        (("--data_path=mini", "--recipe=full"), ("--step is needed",)),
        (("--data_path={coco}", "--step=2", "--checkpoint_path="), ("run --step=1 first",)),
        (("--data_path=mini", "--leraning_rate=1"), ("--leraning_rate",)),
        (("--data_path={coco}", "--skeleton=crowdpose"), ("keypoint",)),
    ],
)
def test_flags(tiny_coco: Path, tmp_path: Path, monkeypatch, flags: tuple[str, ...], words: tuple[str, ...]) -> None:
    given = [flag.format(tmp=tmp_path, coco=tiny_coco) for flag in flags]
    line = refused(train, monkeypatch, *SMALL, *FROM_SCRATCH, f"--output_dir={tmp_path}", *given)
    assert all(word in line for word in words)


def test_images_that_are_damaged(coco: Path) -> None:
    flags = ("--recipe=performance", *SMALL, *FROM_SCRATCH, f"--output_dir={coco.parent}", f"--data_path={coco}")
    images = sorted((coco / "train2017").iterdir())
    for image in images[:4]:
        image.write_bytes(image.read_bytes()[:3000])
    done = module("train", *flags, "--on_bad_image=skip")
    assert done.returncode == 0 and "skipped: " in done.stderr, done.stderr
    for image in images:
        image.unlink()
    line = complaint(module("train", *flags))
    assert "train2017" in line and ".jpg" in line


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_checkpoints_of_the_wrong_kind(tiny_coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other, cut, evil, text = (tmp_path / f"{name}.pth" for name in ("other", "cut", "evil", "text"))
    torch.save({"state_dict": {"fc.weight": torch.zeros(3)}}, other)
    cut.write_bytes(other.read_bytes()[:-300])
    torch.save({"state_dict": Payload(tmp_path / "it ran")}, evil)
    text.write_text("no checkpoint")
    flags = (f"--data_path={tiny_coco}", "--device=cpu", "--base_height=64", f"--output_dir={tmp_path}")
    for file, words in (
        (other, "another network"),
        (cut, "damaged or no checkpoint"),
        (evil, "was not run"),
        (text, "damaged or no"),
        (tmp_path / "none.pth", "no such checkpoint"),
    ):
        found = refused(evaluation, monkeypatch, *flags, f"--checkpoint_path={file}")
        assert words in found and str(file) in found
    assert not (tmp_path / "it ran").exists()


def test_evaluation_of_a_damaged_image_stops_or_counts(coco: Path, monkeypatch, capsys) -> None:
    image = sorted((coco / "val2017").iterdir())[0]
    image.write_bytes(b"no image")
    flags = (f"--data_path={coco}", "--device=cpu", "--base_height=64", f"--output_dir={coco.parent}")
    flags += (f"--checkpoint_path={save_network(coco.parent / 'a.pth')}",)
    assert image.name in refused(evaluation, monkeypatch, *flags)
    monkeypatch.setattr(sys, "argv", ["eval", *flags, "--on_bad_image=skip", "--save_images=1"])
    evaluation.main()
    size = json.loads((coco / "annotations" / "person_keypoints_val2017.json").read_text())["images"]
    said = capsys.readouterr().out
    assert "skipped 1" in said and f"images {len(size)}" in said
