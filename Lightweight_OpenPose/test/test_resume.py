# SPDX-License-Identifier: Apache-2.0
"""kill -9 at any moment, then the same command again: the weights are those of a run that was never stopped."""

import re
import subprocess
from pathlib import Path

from common.test import programs
from common.test.interruption import everything, kill_after, main_process, rank_one
from common.test.programs import complaint, equal, weights
from common.train.checkpoint import BEST, LAST
from Lightweight_OpenPose.test.programs import FROM_SCRATCH, SMALL, TEST, launcher, trained

FLAGS = (*SMALL, *FROM_SCRATCH, "--step=1", "--epochs=3", "--eval_freq=2", "--save_every=2")


def started(*flags: str) -> "subprocess.Popen[str]":
    return programs.started("bash", str(TEST / "train_full_1p.sh"), *flags)


def bit_equal(folder: Path) -> bool:
    """Whether the runs in whole/ and cut/ ended with the same weights."""
    one, other = (folder / name / "step_one_checkpoints" for name in ("whole", "cut"))
    names = LAST, BEST
    return all(equal(weights(one, name), weights(other, name)) for name in names)


def test_one_of_two_ranks_killed_and_all_started_again_is_bit_equal(tiny_coco: Path, tmp_path: Path) -> None:
    flags = (f"--data_path={tiny_coco}", "--ranks=2", *FLAGS)
    whole = launcher("train_full_1p.sh", *flags, f"--output_dir={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.stderr
    process = started(*flags, f"--output_dir={tmp_path / 'cut'}")
    kill_after(4, process, rank_one, tmp_path / "cut")
    assert process.returncode != 0
    again = launcher("train_full_1p.sh", *flags, f"--output_dir={tmp_path / 'cut'}")
    assert again.returncode == 0 and "resumed at" in again.stdout, again.stderr
    assert bit_equal(tmp_path)


def test_a_damaged_newest_checkpoint_costs_two_steps_not_the_run(tiny_coco: Path, tmp_path: Path) -> None:
    flags = (f"--data_path={tiny_coco}", *FLAGS)
    kill_after(5, started(*flags, f"--output_dir={tmp_path}"), everything)
    last = tmp_path / "step_one_checkpoints" / LAST
    last.write_bytes(last.read_bytes()[:1000])
    again = trained(tmp_path, *flags)
    assert again.returncode == 0, again.stderr
    assert "last.pth: damaged" in again.stdout and "resumed at epoch 0, step 2" in again.stdout
    checkpoints = {path: path.read_bytes()[:1000] for path in last.parent.glob("*.pth")}
    for path, content in checkpoints.items():
        path.write_bytes(content)
    said = complaint(trained(tmp_path, *flags))
    assert "last.pth: damaged" in said and "previous.pth: damaged" in said and "--resume=no" in said
    assert all(path.read_bytes() == content for path, content in checkpoints.items())
    anew = trained(tmp_path, *flags, "--resume=no", "--epochs=1")
    assert anew.returncode == 0 and "is kept as step_one_checkpoints.old1" in anew.stdout, anew.stderr
    older = last.parent.with_name("step_one_checkpoints.old1")
    assert all((older / path.name).read_bytes() == content for path, content in checkpoints.items())
    start = f"--checkpoint_path={last}"  # weights of the folder that is kept under another name
    third = trained(tmp_path, *flags, "--resume=no", "--epochs=1", start, "--weights_only")
    assert third.returncode == 0 and "is kept as step_one_checkpoints.old2" in third.stdout, third.stderr


def test_a_request_to_stop_saves_and_the_next_run_goes_on(tiny_coco: Path, tmp_path: Path) -> None:
    flags = (f"--data_path={tiny_coco}", *FLAGS, "--save_every=0")
    process = started(*flags, f"--output_dir={tmp_path}")
    kill_after(3, process, main_process)
    assert process.returncode == 143
    again = trained(tmp_path, *flags, "--seed=7", "--num_workers=0")
    assert "note: settings have changed since: seed 0 -> 7\n" in again.stdout
    assert again.returncode == 0 and re.search(r"resumed at epoch 0, step [3-9]", again.stdout), again.stdout
