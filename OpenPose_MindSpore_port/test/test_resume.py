# SPDX-License-Identifier: Apache-2.0
"""kill -9 at any moment, then the same command again: the weights are those of a run that was never stopped."""

import random
import re
from pathlib import Path

from common.test.interruption import everybody_is_asked, everything, kill_after, main_process
from common.test.programs import equal, started, weights
from OpenPose_MindSpore_port.test.programs import small, small_done

import pytest

FLAGS = ("--epochs=3", "--eval_freq=2", "--save_every=2", "--keep_checkpoint_max=1")


def test_killed_and_started_again_is_bit_equal(tiny_coco: Path, tmp_path: Path) -> None:
    flags = (f"--data_path={tiny_coco}", *FLAGS)
    whole = small_done(tmp_path / "whole", *flags)
    assert whole.returncode == 0, whole.stderr
    moments = random.Random(1)
    for _ in range(2):
        process = started(*small(tmp_path / "cut", *flags))
        kill_after(moments.randint(3, 5), process, everything)
        assert process.returncode != 0
    again = small_done(tmp_path / "cut", *flags)
    assert again.returncode == 0 and "resumed at" in again.stdout, again.stderr
    one, other = (tmp_path / name / "train_checkpoints" for name in ("whole", "cut"))
    assert equal(weights(one), weights(other))
    assert equal(weights(one, "model_best.pth"), weights(other, "model_best.pth"))


@pytest.mark.parametrize("ask", [main_process, pytest.param(everybody_is_asked, marks=pytest.mark.slow)])
def test_a_request_to_stop_saves_and_the_next_run_goes_on(tiny_coco: Path, tmp_path: Path, ask) -> None:
    flags = (f"--data_path={tiny_coco}", *FLAGS, "--save_every=0")
    process = started(*small(tmp_path, *flags))
    kill_after(3, process, ask)
    assert process.returncode == 143
    again = small_done(tmp_path, *flags)
    assert again.returncode == 0 and re.search(r"resumed at epoch 0, step [3-9]", again.stdout), again.stdout
