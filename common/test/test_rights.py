# SPDX-License-Identifier: Apache-2.0
"""Folders and files of another user, and full disks: one line that names the place, and exit code 2."""

import errno
import os
import shutil
import sys
from pathlib import Path

from common import cli
from common.cli import UserError
from common.test.programs import SMALL_TRAINING, Done, complaint, done

import pytest

# root may read everything, unless it lays that down
LAID_DOWN = "-dac_override,-dac_read_search"
OBEYING_MODES = ("setpriv", f"--inh-caps={LAID_DOWN}", f"--bounding-set={LAID_DOWN}")
FLAGS = (*SMALL_TRAINING, "--num_workers=0", "--eval_freq=0")

pytestmark = pytest.mark.skipif(
    os.name != "posix" or (os.geteuid() == 0 and not shutil.which("setpriv")), reason="rights of POSIX"
)


def train(folder: Path, data: Path) -> Done:
    command = (*OBEYING_MODES, sys.executable) if os.geteuid() == 0 else (sys.executable,)
    return done(*command, "-m", "Lightweight_OpenPose.train", *FLAGS, f"--output_dir={folder}", f"--data_path={data}")


@pytest.mark.parametrize("place", ["annotations", pytest.param("train2017", marks=pytest.mark.slow)])
def test_a_data_set_that_one_may_not_read(tiny_coco: Path, tmp_path: Path, place: str) -> None:
    data = shutil.copytree(tiny_coco, tmp_path / "data")
    (data / place).chmod(0)
    said = complaint(train(tmp_path, data))
    (data / place).chmod(0o755)
    assert str(data / place) in said and "Permission denied" in said


@pytest.mark.parametrize(
    "place",
    [
        "step_one_checkpoints",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("", "step_one_checkpoints/last.pth")),
    ],
)
def test_an_output_folder_that_one_may_not_use(tiny_coco: Path, tmp_path: Path, place: str) -> None:
    path = tmp_path / "out" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"") if path.suffix else path.mkdir()
    path.chmod(0)
    said = complaint(train(tmp_path / "out", tiny_coco))
    path.chmod(0o755)
    assert str(path) in said and "Permission denied" in said


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(errno.EACCES, "no", "a/b"), "a/b: Permission denied; change the rights"),
        (PermissionError(errno.EACCES, "no", b"a/\xff"), "a/\udcff: Permission denied; change the rights"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device; free space"),
        (RuntimeError(f"torch: {os.strerror(errno.EMFILE)}"), "Too many open files; type `ulimit -n 1024` before"),
    ],
)
def test_errors_of_the_file_system_are_one_line(error: Exception, line: str) -> None:
    said = cli.as_user_error(error)
    assert isinstance(said, UserError) and line in str(said)


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "no", "a"), OSError("x"), KeyError("a")])
def test_what_may_be_a_fault_of_the_program_keeps_its_trace(error: Exception) -> None:
    assert cli.as_user_error(error) is error
