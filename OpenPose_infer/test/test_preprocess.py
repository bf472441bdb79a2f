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


def write_image(path: Path, height: int = 40, width: int = 60, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))
    return path


def lines(target: Path) -> list[str]:
    return (target / "out" / "pad.txt").read_text().splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images of different shapes, and two files that are no images."""
    for seed, (name, height, width) in enumerate((("a.b.jpg", 40, 60), ("c d.png", 60, 40), ("e.JPG", 7, 640))):
        write_image(tmp_path / "images" / name, height, width, seed)
    (tmp_path / "images" / "notes.txt").write_text("no image")
    (tmp_path / "images" / "folder.jpg").mkdir()
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
    assert "3 images, 0 of them from before, 0 unreadable" in capsys.readouterr().out


def test_images_of_a_folder_in_order_of_their_names(folder, tmp_path, monkeypatch):
    run_program(monkeypatch, folder, tmp_path)
    assert lines(tmp_path) == ["a.b.jpg 40 60 0 0 44 44", "c d.png 60 40 0 0 197 198", "e.JPG 7 640 180 181 0 0"]
    assert sorted(path.name for path in (tmp_path / "bins").iterdir()) == ["a.b.bin", "c d.bin", "e.bin"]
    for path in (tmp_path / "bins").iterdir():
        assert path.stat().st_size == BIN_BYTES
    sizes = {"a.b.jpg": (40, 60), "c d.png": (60, 40), "e.JPG": (7, 640)}
    assert pads.read(tmp_path / "out" / "pad.txt") == {name: RULE.letterbox(size) for name, size in sizes.items()}


def test_a_second_run_computes_what_is_missing_broken_or_older(folder, tmp_path, monkeypatch, capsys):
    run_program(monkeypatch, folder, tmp_path)
    bins = tmp_path / "bins"
    wanted = {path.name: path.read_bytes() for path in bins.iterdir()}
    marked = bytes(BIN_BYTES)
    for name in wanted:
        (bins / name).write_bytes(marked)
    (bins / "e.bin").write_bytes(marked[:100])
    future = (bins / "e.bin").stat().st_mtime + 1000
    os.utime(folder / "a.b.jpg", (future, future))
    run_program(monkeypatch, folder, tmp_path)
    assert "3 images, 1 of them from before" in capsys.readouterr().out
    assert len(lines(tmp_path)) == 3
    assert (bins / "c d.bin").read_bytes() == marked  # was whole, so it stayed
    assert all((bins / name).read_bytes() == wanted[name] for name in ("a.b.bin", "e.bin"))
    run_program(monkeypatch, folder, tmp_path, "--fresh")
    assert {path.name: path.read_bytes() for path in bins.iterdir()} == wanted


def test_only_the_images_of_an_annotation_file(tiny_coco, tmp_path, monkeypatch, capsys):
    images = shutil.copytree(tiny_coco / "val2017", tmp_path / "val2017")
    annotations = tiny_coco / "annotations" / "person_keypoints_val2017.json"
    names = sorted(image["file_name"] for image in json.loads(annotations.read_text())["images"])
    write_image(images / "0.jpg")
    run_program(monkeypatch, images, tmp_path)
    assert len(lines(tmp_path)) == len(names) + 1
    run_program(monkeypatch, images, tmp_path, f"--annotations={annotations}")
    assert [line.split()[0] for line in lines(tmp_path)] == names
    assert "note: " in (said := capsys.readouterr().out) and "0.bin" in said  # the .bin of before


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
    assert "c d.png" in said.out + said.err and "2 images, 2 of them from before, 1 unreadable" in said.out
    assert [line.split()[0] for line in lines(tmp_path)] == ["a.b.jpg", "e.JPG"]
    assert not (tmp_path / "bins" / "c d.bin").exists()  # an image without pad line has no network input


def test_nothing_readable(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match="no images"):
        run_program(monkeypatch, tmp_path / "images", tmp_path)
    (tmp_path / "images" / "a.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match="none of 1 images can be read"):
        run_program(monkeypatch, tmp_path / "images", tmp_path, "--on_bad_image=skip")


def test_two_images_of_one_name(folder, tmp_path, monkeypatch):
    write_image(folder / "a.b.png")
    with pytest.raises(UserError, match=r"a\.b\.jpg and a\.b\.png would both become a\.b\.bin; rename one"):
        run_program(monkeypatch, folder, tmp_path)
    assert not (tmp_path / "bins").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--src_path=",), "--src_path .* needed"),
        (("--save_path=",), "--save_path .* needed"),
        (("--src_path=nowhere",), "--src_path=nowhere: no such folder"),
        (("--num_workers=0",), "--num_workers=0: a number"),
        (("--annotations=none.json",), "none.json"),
        (("--pad_txt_path=images",), "cannot write images: a folder is there"),
        (("--save_path=notes",), "--save_path=notes: "),
    ],
)
def test_bad_flags(folder, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").write_text("a file")
    with pytest.raises(UserError, match=message):
        run_program(monkeypatch, folder, tmp_path, *flags)


def pad_file(tmp_path: Path, text: str) -> Path:
    (tmp_path / "pad.txt").write_text(text)
    return tmp_path / "pad.txt"


def test_pads_of_another_program_are_kept(tmp_path):
    ours = RULE.letterbox((478, 640))
    assert pads.line("x.jpg", ours) == "x.jpg 478 640 0 0 73 74"
    found = pads.read(
        pad_file(tmp_path, "a 1.jpg 478 640 0 0 147 0\r\n\nb.jpg 478 640 0 0 74 74\n2 3 478 640 0 0 73 74")
    )
    assert list(found) == ["a 1.jpg", "b.jpg", "2 3"]
    assert found["2 3"] == ours
    assert found["a 1.jpg"].pad_in == (0, 147, 0, 0) and found["b.jpg"].pad_in == (0, 74, 0, 74)
    assert {place.size_img for place in found.values()} == {(478, 640)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no image"),
        ("a.jpg 478 640 0 0 73", "line 1: 'a.jpg 478 640 0 0 73' is not a file name, height, width"),
        ("ok.jpg 478 640 0 0 73 74\na.jpg 478 640 0 0 73 7x", "line 2: "),
        ("a.jpg 478 640 0 0 -73 74", "line 1: .* is not a file name"),
        ("a.jpg 0 640 0 0 73 74", "line 1: an image of 0 x 640 pixels"),
        ("a.jpg 478 640 0 0 73 7", "line 1: pads that leave 368 x 560 of 368 x 640 pixels; .* takes 368 x 493"),
        ("a.jpg 478 640 0 73 0 74", "line 1: pads that leave 295 x 566"),  # top, left, bottom, right
        ("a.jpg 478 640 0 0 73 74\na.jpg 478 640 0 0 73 74", "line 2: a.jpg stands there twice"),
    ],
)
def test_broken_pads(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as found:
        pads.read(pad_file(tmp_path, text))
    assert str(found.value).startswith(f"{tmp_path / 'pad.txt'}") and "OpenPose_preprocess.py" in str(found.value)


def test_missing_pads(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe: no regular file"):
        pads.read(tmp_path / "pipe")
    with pytest.raises(UserError, match=r"pad\.txt: No such file.*OpenPose_preprocess\.py writes it"):
        pads.read(tmp_path / "pad.txt")
