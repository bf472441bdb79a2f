# SPDX-License-Identifier: Apache-2.0
"""Mistakes at the keyboard: one line that names file or flag and the cure, exit code 2, nothing overwritten."""

import json
import os
import shutil
from pathlib import Path

from common.test.programs import Done, complaint
from Lightweight_OpenPose.test.programs import FROM_SCRATCH, SMALL, launcher, module

import pytest
import torch


@pytest.fixture
def coco(tiny_coco: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_coco, tmp_path / "coco")


def train(folder: Path, *flags: str, recipe: str = "performance") -> Done:
    """What the launchers run."""
    return module("train", f"--recipe={recipe}", *SMALL, *FROM_SCRATCH, f"--output_dir={folder.parent}", *flags)


def test_no_data_path(tmp_path: Path) -> None:
    """Through a launcher: it adds no line of its own, and keeps the exit code."""
    done = launcher("train_performance_1p.sh", *SMALL, *FROM_SCRATCH, f"--output_dir={tmp_path}")
    assert "--data_path is needed" in complaint(done)


def test_a_folder_that_is_no_data_set(tmp_path: Path) -> None:
    text = complaint(train(tmp_path / "x", f"--data_path={tmp_path}"))
    assert "annotations" in text and "--data_path=mini" in text


def test_annotations_cut_short(coco: Path) -> None:
    file = coco / "annotations" / "person_keypoints_train2017.json"
    file.write_text(file.read_text()[:5000])
    assert str(file) in complaint(train(coco, f"--data_path={coco}"))
    assert not (coco.parent / "prepared_train_annotation.pkl").exists()


def test_an_image_that_is_missing(coco: Path) -> None:
    for image in (coco / "train2017").iterdir():
        image.unlink()
    text = complaint(train(coco, f"--data_path={coco}"))
    assert "train2017" in text and ".jpg" in text


def test_images_cut_short_are_counted_where_asked(coco: Path) -> None:
    images = sorted((coco / "train2017").iterdir())
    for image in images[:4]:
        image.write_bytes(image.read_bytes()[:3000])
    done = train(coco, f"--data_path={coco}", "--on_bad_image=skip")
    assert done.returncode == 0 and "unreadable images replaced" in done.stdout, done.stderr


@pytest.mark.parametrize("step", ["4", "0", "two"])
def test_a_step_that_does_not_exist(tmp_path: Path, step: str) -> None:
    text = complaint(train(tmp_path / "x", "--data_path=mini", f"--step={step}", recipe="full"))
    assert "step" in text


def test_a_step_is_needed(tmp_path: Path) -> None:
    assert "--step is needed" in complaint(train(tmp_path / "x", "--data_path=mini", recipe="full"))


def test_step_two_before_step_one(coco: Path) -> None:
    flags = (f"--data_path={coco}", f"--output_dir={coco.parent}", "--step=2")
    assert "run --step=1 first" in complaint(module("train", "--recipe=full", *SMALL, *flags))


def test_an_unknown_flag(tmp_path: Path) -> None:
    assert "--leraning_rate" in complaint(train(tmp_path / "x", "--data_path=mini", "--leraning_rate=1"))


def test_eight_npus_where_there_are_none(tmp_path: Path) -> None:
    done = launcher("train_performance_8p.sh", "--data_path=mini", "--device=npu", f"--output_dir={tmp_path}")
    assert "--device=cpu" in complaint(done)


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_checkpoints_of_the_wrong_kind(tiny_coco: Path, tmp_path: Path) -> None:
    other, cut, evil, text = (tmp_path / f"{name}.pth" for name in ("other", "cut", "evil", "text"))
    torch.save({"state_dict": {"fc.weight": torch.zeros(3)}}, other)
    cut.write_bytes(other.read_bytes()[:-300])
    torch.save({"state_dict": Payload(tmp_path / "it ran")}, evil)
    text.write_text("no checkpoint")
    flags = (f"--data_path={tiny_coco}", "--device=cpu", "--base_height=64", f"--output_dir={tmp_path}")
    for file, words in ((other, "another network"), (cut, "cut short"), (evil, "was not run"), (text, "damaged or no")):
        found = complaint(module("eval", *flags, f"--checkpoint_path={file}"))
        assert words in found and str(file) in found
    assert not (tmp_path / "it ran").exists()
    assert "no such checkpoint" in complaint(module("eval", *flags, f"--checkpoint_path={tmp_path / 'none.pth'}"))


def test_labels_of_another_skeleton(tiny_coco: Path, tmp_path: Path) -> None:
    done = train(tmp_path / "x", f"--data_path={tiny_coco}", "--skeleton=crowdpose")
    assert "keypoints" in complaint(done)


def test_evaluation_of_a_damaged_image_stops_or_counts(coco: Path) -> None:
    image = sorted((coco / "val2017").iterdir())[0]
    image.write_bytes(b"no image")
    from common.skeleton import OPENPOSE
    from Lightweight_OpenPose.model import PoseEstimationWithMobileNet

    model = PoseEstimationWithMobileNet(1, OPENPOSE.num_heatmaps, OPENPOSE.num_fields)
    torch.save({"state_dict": model.state_dict()}, coco.parent / "a.pth")
    flags = (f"--data_path={coco}", "--device=cpu", "--base_height=64", f"--output_dir={coco.parent}",
             f"--checkpoint_path={coco.parent / 'a.pth'}")  # fmt: skip
    assert image.name in complaint(module("eval", *flags))
    done = module("eval", *flags, "--on_bad_image=skip")
    assert done.returncode == 0 and "skipped 1" in done.stdout, done.stderr
    size = json.loads((coco / "annotations" / "person_keypoints_val2017.json").read_text())["images"]
    assert f"images {len(size)}" in done.stdout
