# SPDX-License-Identifier: Apache-2.0
"""kill -9 at any moment, then the same command again: the weights are those of a run that was never stopped."""

import os
import random
import re
import signal
import subprocess
from pathlib import Path

from OpenPose_MindSpore_port.test.programs import STEP_LINE, done, equal, small, started, weights

import pytest

FLAGS = ("--epochs=3", "--eval_freq=2", "--save_every=2", "--keep_checkpoint_max=1")


def kill_after(lines: int, process: "subprocess.Popen[str]", victim, folder: Path = Path()) -> None:
    """Waits for so many lines of steps, then kills what `victim` says."""
    assert process.stdout
    for line in process.stdout:
        lines -= bool(STEP_LINE.match(line))
        if lines <= 0:
            break
    else:
        pytest.fail("the run ended before it was killed")
    victim(process, folder)
    process.communicate(timeout=60)


def everything(process: "subprocess.Popen[str]", folder: Path) -> None:
    os.killpg(process.pid, signal.SIGKILL)


def rank_one(process: "subprocess.Popen[str]", folder: Path) -> None:
    """The process with this rank among those that work for `folder`; each has a session of its own."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"RANK=1" in variables and f"--output_dir={folder}".encode() in words:
            os.kill(int(entry.name), signal.SIGKILL)
            return
    pytest.fail("rank 1 is not to be found")


def test_killed_and_started_again_is_bit_equal(tiny_coco: Path, tmp_path: Path) -> None:
    flags = (f"--data_path={tiny_coco}", *FLAGS)
    whole = done(*small(tmp_path / "whole", *flags))
    assert whole.returncode == 0, whole.stderr
    moments = random.Random(1)
    for _ in range(2):
        process = started(*small(tmp_path / "cut", *flags))
        kill_after(moments.randint(3, 5), process, everything)
        assert process.returncode != 0
    again = done(*small(tmp_path / "cut", *flags))
    assert again.returncode == 0 and "resumed at" in again.stdout, again.stderr
    one, other = (tmp_path / name / "train_checkpoints" for name in ("whole", "cut"))
    assert equal(weights(one), weights(other))
    assert equal(weights(one, "model_best.pth"), weights(other, "model_best.pth"))


def test_two_ranks_go_on_bit_equal(tiny_coco: Path, tmp_path: Path) -> None:
    flags = (f"--data_path={tiny_coco}", *FLAGS, "--eval_freq=0")
    assert done(*small(tmp_path / "whole", *flags, ranks=2)).returncode == 0
    process = started(*small(tmp_path / "cut", *flags, ranks=2))
    kill_after(3, process, rank_one, tmp_path / "cut")
    assert process.returncode not in (0, None)
    again = done(*small(tmp_path / "cut", *flags, ranks=2))
    assert again.returncode == 0 and "resumed at" in again.stdout, again.stderr
    assert equal(*(weights(tmp_path / name / "train_checkpoints") for name in ("whole", "cut")))


def everybody_is_asked(process: "subprocess.Popen[str]", folder: Path) -> None:
    """As timeout, Slurm or torchrun do it: the processes that read data are asked, too."""
    os.killpg(process.pid, signal.SIGTERM)


@pytest.mark.parametrize("ask", [lambda process, folder: process.terminate(), everybody_is_asked])
def test_a_request_to_stop_saves_and_the_next_run_goes_on(tiny_coco: Path, tmp_path: Path, ask) -> None:
    flags = (f"--data_path={tiny_coco}", *FLAGS, "--save_every=0")
    process = started(*small(tmp_path, *flags))
    kill_after(3, process, ask)
    assert process.returncode == 143
    again = done(*small(tmp_path, *flags))
    assert again.returncode == 0 and re.search(r"resumed at epoch 0, step [3-9]", again.stdout), again.stdout
