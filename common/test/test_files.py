# SPDX-License-Identifier: Apache-2.0
"""What is no JSON file is named; a file is written whole or not at all."""

import json
import os
import pickle
import stat
import subprocess
from pathlib import Path

from common import files
from common.cli import UserError

import pytest


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("files") / "content.json"


@pytest.mark.parametrize("indent", [None, 1])
def test_a_file_that_is_cut_short_anywhere_is_named(path, indent):
    text = json.dumps({"images": [{"id": 1, "name": "a b"}, {"id": 2}], "n": 3}, indent=indent)
    for length in range(len(text)):
        path.write_text(text[:length])
        with pytest.raises(UserError, match=r"content\.json: cut short or damaged at line \d+, character \d+ of"):
            files.read_json(path)


def test_missing_and_binary_files_are_named(path, tmp_path):
    with pytest.raises(UserError, match=r"none\.json: No such file or directory$"):
        files.read_json(tmp_path / "none.json")
    path.write_bytes(b'{"a": "\xff\xfe"}')
    with pytest.raises(UserError, match="not a JSON text"):
        files.read_json(path)
    path.write_bytes(pickle.dumps([{"keypoints": []}]))
    with pytest.raises(UserError, match="content.json: a pickle, .*: name the file that it was made from"):
        files.read_json(path)


def test_writing_replaces_the_file_and_a_failure_keeps_the_old_one(tmp_path, monkeypatch):
    target = tmp_path / "new folder" / "x.bin"
    for content in (b"older", b"old"):
        files.write_atomically(target, content)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    older = target.with_name("older.bin")
    with pytest.raises(UserError, match=r"cannot write .*x\.bin: No space"), files.replacing(target, older) as file:
        file.write(b"new")
    assert target.read_bytes() == b"old" and list(target.parent.iterdir()) == [target]


def test_what_killed_processes_left_half_written_goes_and_nothing_else(tmp_path: Path) -> None:
    killed = subprocess.Popen(["true"])
    killed.wait()
    (tmp_path / f".a.pth.{killed.pid}.unfinished").write_bytes(b"half")
    (tmp_path / f".masks.{killed.pid}.unfinished").mkdir()
    (tmp_path / f".masks.{killed.pid}.unfinished" / "1.png").touch()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / f".sheet.png.{killed.pid}.unfinished").touch()
    others = {f".b.pth.{os.getppid()}.unfinished", ".unfinished", f".c.{killed.pid}", ".d.x.unfinished"}
    for name in others:
        (tmp_path / name).touch()
    files.remove_unfinished(tmp_path)
    assert {entry.name for entry in tmp_path.rglob("*")} == {*others, "pictures"}


def test_only_files_and_new_names_are_written_and_a_link_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "pipe_link").symlink_to("pipe")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "file")
    for name in ("pipe", "pipe_link", "circle", "folder"):
        with pytest.raises(UserError, match=f"cannot write .*{name}: .* is there; name another file"):
            files.write_atomically(tmp_path / name, b"x")
    for content in (b"new", b"newer"):
        files.write_atomically(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink() and (tmp_path / "folder" / "file").read_bytes() == content
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["circle", "folder", "link", "pipe", "pipe_link"]
