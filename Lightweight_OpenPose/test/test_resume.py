# SPDX-License-Identifier: Apache-2.0
"""kill -9 at any moment, then the same command again: the weights are those of a run that was never stopped."""

import os
import random
import re
import signal
import subprocess
from pathlib import Path

from Lightweight_OpenPose.test.programs import FROM_SCRATCH, SMALL, equal, launcher, started, weights

import pytest

FLAGS = (*SMALL, *FROM_SCRATCH, "--step=1", "--epochs=3", "--eval_freq=2", "--save_every=2")
STEP_LINE = re.compile(r"^Epoch: \[\d+\]\[")


def kill_after(lines: int, process: subprocess.Popen[str], victim, folder: Path) -> None:
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


def everything(process: subprocess.Popen[str], folder: Path) -> None:
    os.killpg(process.pid, signal.SIGKILL)


def rank_one(process: subprocess.Popen[str], folder: Path) -> None:
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


@pytest.mark.parametrize(("ranks", "victim"), [(1, everything), (2, rank_one)])
def test_killed_and_started_again_is_bit_equal(tiny_coco: Path, tmp_path: Path, ranks: int, victim) -> None:
    flags = (f"--data_path={tiny_coco}", f"--ranks={ranks}", *FLAGS)
    whole = launcher("train_full_1p.sh", *flags, f"--output_dir={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.stderr
    moments = random.Random(ranks)
    for _ in range(2):
        process = started("train_full_1p.sh", *flags, f"--output_dir={tmp_path / 'cut'}")
        kill_after(moments.randint(3, 6), process, victim, tmp_path / "cut")
        assert process.returncode != 0
    again = launcher("train_full_1p.sh", *flags, f"--output_dir={tmp_path / 'cut'}")
    assert again.returncode == 0 and "resumed at" in again.stdout, again.stderr
    one, other = (tmp_path / name / "step_one_checkpoints" for name in ("whole", "cut"))
    assert equal(weights(one), weights(other))
    assert equal(weights(one, "model_best.pth"), weights(other, "model_best.pth"))


def test_a_damaged_newest_checkpoint_costs_two_steps_not_the_run(tiny_coco: Path, tmp_path: Path) -> None:
    flags = (f"--data_path={tiny_coco}", *FLAGS, f"--output_dir={tmp_path}")
    process = started("train_full_1p.sh", *flags)
    kill_after(5, process, everything, tmp_path)
    last = tmp_path / "step_one_checkpoints" / "last.pth"
    last.write_bytes(last.read_bytes()[:1000])
    again = launcher("train_full_1p.sh", *flags)
    assert again.returncode == 0, again.stderr
    assert "last.pth: cut short" in again.stdout and "resumed at epoch 0, step 2" in again.stdout


def test_a_request_to_stop_saves_and_the_next_run_goes_on(tiny_coco: Path, tmp_path: Path) -> None:
    flags = (f"--data_path={tiny_coco}", *FLAGS, "--save_every=0", f"--output_dir={tmp_path}")
    process = started("train_full_1p.sh", *flags)
    kill_after(3, process, lambda process, folder: process.terminate(), tmp_path)
    assert process.returncode == 143
    again = launcher("train_full_1p.sh", *flags)
    assert again.returncode == 0 and re.search(r"resumed at epoch 0, step [3-9]", again.stdout), again.stdout
