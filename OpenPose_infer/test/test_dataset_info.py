# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

from common.cli import UserError
from OpenPose_infer import gen_dataset_info

import cv2
import numpy as np
import pytest


def run_program(monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["gen_dataset_info.py", *words])
    gen_dataset_info.main()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """`bins` with three files, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bins").mkdir()
    for name in ("b.bin", "000.bin", "a b.bin", ".hidden.bin", "notes.txt"):
        (tmp_path / "bins" / name).touch()
    return tmp_path / "bins"


@pytest.mark.parametrize("given", ["bins", "./bins/", "ABSOLUTE"])
def test_lines_as_published_with_paths_as_given(folder, monkeypatch, capsys, given):
    given = given.replace("ABSOLUTE", str(folder))
    run_program(monkeypatch, "bin", given, "out/prep.info", "8", "4")
    prefix = given if given.endswith("/") else f"{given}/"
    expected = [f"{index} {prefix}{name} 8 4" for index, name in enumerate(("000.bin", "a b.bin", "b.bin"))]
    assert Path("out/prep.info").read_text() == "".join(f"{line}\n" for line in expected)
    assert capsys.readouterr().out == "out/prep.info: 3 files\n"


def test_sizes_of_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, (height, width) in {"b.jpg": (10, 20), "a.jpg": (30, 7)}.items():
        cv2.imwrite(name, np.zeros((height, width, 3), np.uint8))
    run_program(monkeypatch, "jpg", ".", "jpg.info")
    assert Path("jpg.info").read_text() == "0 ./a.jpg 7 30\n1 ./b.jpg 20 10\n"
    Path("b.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"b\.jpg"):
        run_program(monkeypatch, "jpg", ".", "jpg.info")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "usage: gen_dataset_info.py bin FOLDER"),
        (("bin", "bins", "x.info"), "usage: "),
        (("jpg", "bins", "x.info", "640", "368"), "usage: "),
        (("png", "bins", "x.info"), "usage: "),
        (("bin", "bins", "x.info", "wide", "368"), "usage: "),
        (("bin", "nowhere", "x.info", "640", "368"), "nowhere: No such file or directory; OpenPose_preprocess"),
        (("jpg", "bins", "x.info"), "bins: no .jpg files"),
        (("bin", "bins", "bins", "8", "4"), "cannot write bins: a folder is there"),
    ],
)
def test_bad_words(folder, monkeypatch, words, message):
    with pytest.raises(UserError, match=message):
        run_program(monkeypatch, *words)
    assert not Path("x.info").exists()
