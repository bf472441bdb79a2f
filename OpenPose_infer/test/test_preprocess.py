# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

from common.cli import UserError
from OpenPose_infer import OpenPose_preprocess, pads
from OpenPose_infer.config import CHANNELS, HEIGHT, RULE, WIDTH

import cv2
import numpy as np
import pytest

BIN_BYTES = 2826240  # 1 x 3 x 368 x 640 float32


def run_program(monkeypatch, source: Path, target: Path, *flags: str) -> None:
    words = [f"--src_path={source}", f"--save_path={target / 'bins'}", f"--pad_txt_path={target / 'out' / 'pad.txt'}"]
    monkeypatch.setattr(sys, "argv", ["OpenPose_preprocess.py", *words, *flags])
    OpenPose_preprocess.main()


def lines(target: Path) -> list[str]:
    return (target / "out" / "pad.txt").read_text().splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images of different shapes, and two files that are no images."""
    (tmp_path / "images" / "folder.jpg").mkdir(parents=True)
    (tmp_path / "images" / "notes.txt").touch()
    random = np.random.default_rng(0)
    for name, height, width in (("a.b.jpg", 40, 60), ("c d.png", 60, 40), ("e.JPG", 7, 640)):
        cv2.imwrite(str(tmp_path / "images" / name), random.integers(0, 256, (height, width, 3), np.uint8))
    return tmp_path / "images"


def test_same_as_the_original(shared, tmp_path, monkeypatch, capsys):
    golden = json.loads((shared / "golden/lightweight_openpose/misc.json").read_text())["acl_preprocess"]
    images = tmp_path / "images"
    images.mkdir()
    for case in golden:
        content = (shared / "data/coco-mini/val2017" / case["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == case["sha256"]
        (images / case["file"]).write_bytes(content)
    run_program(monkeypatch, images, tmp_path)
    expected = "".join(case["pad_line"] for case in sorted(golden, key=lambda case: case["file"]))
    assert (tmp_path / "out" / "pad.txt").read_text() == expected
    for case in golden:
        path = tmp_path / "bins" / f"{case['file'].removesuffix('.jpg')}.bin"
        assert path.stat().st_size == case["bin_bytes"] == BIN_BYTES
        pixels = np.fromfile(path, np.float32).reshape(CHANNELS, HEIGHT, WIDTH)
        np.testing.assert_allclose(pixels[:, ::23, ::29], case["sample_0::23,::29"], atol=1e-6)
        assert pixels.mean() == pytest.approx(case["mean"], abs=1e-6)
        assert pixels.std() == pytest.approx(case["std"], abs=1e-6)
        if cv2.__version__.startswith("5.0.0"):  # of the golden data
            assert hashlib.sha256(path.read_bytes()).hexdigest() == case["bin_sha256"]
    assert "3 images, 0 unreadable" in capsys.readouterr().out


def test_images_of_a_folder_in_order_of_their_names(folder, tmp_path, monkeypatch):
    run_program(monkeypatch, folder, tmp_path)
    assert lines(tmp_path) == ["a.b.jpg 40 60 0 0 44 44", "c d.png 60 40 0 0 197 198", "e.JPG 7 640 180 181 0 0"]
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "bins").iterdir()}
    assert sizes == dict.fromkeys(("a.b.bin", "c d.bin", "e.bin"), BIN_BYTES)
    sizes = {"a.b.jpg": (40, 60), "c d.png": (60, 40), "e.JPG": (7, 640)}
    places = {name: RULE.letterbox(size).geometry for name, size in sizes.items()}
    assert pads.read(tmp_path / "out" / "pad.txt") == places


def test_only_the_images_of_an_annotation_file(tiny_coco, tmp_path, monkeypatch):
    images = shutil.copytree(tiny_coco / "val2017", tmp_path / "val2017")
    annotations = tiny_coco / "annotations" / "person_keypoints_val2017.json"
    names = sorted(image["file_name"] for image in json.loads(annotations.read_text())["images"])
    shutil.copy(images / names[0], images / "0.jpg")
    run_program(monkeypatch, images, tmp_path, f"--annotations={annotations}")
    assert [line.split()[0] for line in lines(tmp_path)] == names


def test_an_unreadable_image_stops_or_is_counted(folder, tmp_path, monkeypatch, capsys):
    run_program(monkeypatch, folder, tmp_path)
    (folder / "c d.png").write_bytes((folder / "c d.png").read_bytes()[:200])
    (tmp_path / "out" / "pad.txt").unlink()
    with pytest.raises(UserError, match=r"c d\.png: .*--on_bad_image=skip"):
        run_program(monkeypatch, folder, tmp_path)
    assert not (tmp_path / "out" / "pad.txt").exists()
    capsys.readouterr()
    run_program(monkeypatch, folder, tmp_path, "--on_bad_image=skip")
    said = capsys.readouterr()
    assert "c d.png" in said.out + said.err and "2 images, 1 unreadable" in said.out
    assert [line.split()[0] for line in lines(tmp_path)] == ["a.b.jpg", "e.JPG"]
    assert not (tmp_path / "bins" / "c d.bin").exists()  # an image without pad line has no network input
    for name in ("a.b.jpg", "e.JPG"):
        (folder / name).write_bytes(b"no image")
    with pytest.raises(UserError, match="none of 3 images can be read"):
        run_program(monkeypatch, folder, tmp_path, "--on_bad_image=skip")


def test_two_images_of_one_name(folder, tmp_path, monkeypatch):
    shutil.copy(folder / "c d.png", folder / "a.b.png")
    with pytest.raises(UserError, match=r"a\.b\.jpg and a\.b\.png would both become a\.b\.bin; rename one"):
        run_program(monkeypatch, folder, tmp_path)
    assert not (tmp_path / "bins").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--src_path=",), "--src_path .* needed"),
        (("--save_path=",), "--save_path .* needed"),
        (("--src_path=nowhere",), "--src_path=nowhere: no such folder"),
        (("--src_path=images/folder.jpg",), "no images"),
        (("--annotations=none.json",), "none.json"),
        (("--pad_txt_path=images",), "cannot write images: a folder is there"),
        (("--save_path=notes",), "cannot write .*notes"),
    ],
)
def test_bad_flags(folder, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").write_text("a file")
    with pytest.raises(UserError, match=message):
        run_program(monkeypatch, folder, tmp_path, *flags)


def test_pads_of_another_program_are_kept(tmp_path):
    ours = RULE.letterbox((478, 640))
    assert pads.line("x.jpg", ours) == "x.jpg 478 640 0 0 73 74\n"
    (tmp_path / "pad.txt").write_text("a 1.jpg 478 640 0 0 147 0\r\n\n2 3 478 640 0 0 73 74")
    found = pads.read(tmp_path / "pad.txt")
    assert list(found) == ["a 1.jpg", "2 3"]
    assert found["2 3"] == ours.geometry
    assert (found["a 1.jpg"].pad, found["a 1.jpg"].size) == ((0, 147, 0, 0), (478, 640))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no image"),
        ("a.jpg 478 640 0 0 73", "line 1: 'a.jpg 478 640 0 0 73' is not a file name of its own, height, width"),
        ("ok.jpg 478 640 0 0 73 74\na.jpg 478 640 0 0 73 7x", "line 2: "),
        ("a.jpg 478 640 0 0 -73 74", "line 1: .* is not a file name"),
        ("a.jpg 478 640 0 0 73 74\na.jpg 478 640 0 0 73 74", "line 2: .* of its own"),
    ],
)
def test_broken_pads(tmp_path, text, message):
    (tmp_path / "pad.txt").write_text(text)
    with pytest.raises(UserError, match=message) as found:
        pads.read(tmp_path / "pad.txt")
    assert str(found.value).startswith(f"{tmp_path / 'pad.txt'}") and "OpenPose_preprocess.py" in str(found.value)


def test_missing_pads(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("pipe", "pipe: no regular file"), ("pad.txt", r"pad\.txt: No such file")):
        with pytest.raises(UserError, match=message):
            pads.read(tmp_path / name)
