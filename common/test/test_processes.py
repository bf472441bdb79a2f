# SPDX-License-Identifier: Apache-2.0
"""Whatever goes wrong in a training, it ends, with everything that it started, and says why on the last line."""

import signal
import sys
from pathlib import Path

from common.test import fault
from common.test.programs import SMALL_TRAINING, complaint, done

import pytest

SLOW = pytest.mark.slow  # rare variants of what others show
SECONDS = 60  # on a machine that others load; ci/kill_matrix.py measures


def train(what: str, data: Path, folder: Path, *flags: str, ranks: int = 1, **variables: str) -> fault.Outcome:
    place = (f"--data_path={data}", f"--output_dir={folder}", f"--log_dir={folder / 'logs'}")
    return fault.run(
        what, folder, "Lightweight_OpenPose.train", *SMALL_TRAINING, *place, *flags, ranks=ranks, **variables
    )


@pytest.mark.parametrize(
    ("what", "readers", "ranks", "code", "last"),
    [
        ("raise step 0", 2, 1, 1, "torch.OutOfMemoryError: CUDA out of memory"),
        ("kill reader 0", 1, 1, 1, "RuntimeError: DataLoader worker"),
        ("raise step 1", 1, 2, 1, "error: rank 1: torch.OutOfMemoryError: CUDA out of memory"),
        pytest.param("kill step 1", 0, 2, 128 + signal.SIGKILL, "error: rank 1 ended with signal", marks=SLOW),
        ("kill_launcher step 0", 1, 2, -signal.SIGKILL, ""),
        ("raise evaluation 1", 0, 2, 1, "error: rank 1: torch.OutOfMemoryError: CUDA out of memory"),
    ],
)
def test_a_fault_ends_everything(
    tiny_coco: Path, tmp_path: Path, what: str, readers: int, ranks: int, code: int, last: str
) -> None:
    end = train(what, tiny_coco, tmp_path, f"--num_workers={readers}", ranks=ranks)
    assert (end.code, end.left) == (code, []), end.said
    assert 0 <= end.seconds < SECONDS
    assert [line for line in end.said.splitlines() if line][-1].startswith(last), end.said


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=SLOW)])
def test_a_restart_goes_on_and_restarts_are_counted(tiny_coco: Path, tmp_path: Path, ranks: int) -> None:
    flags = ("--num_workers=1", "--save_every=1")
    end = train(f"raise_always step {ranks - 1}", tiny_coco, tmp_path, *flags, ranks=ranks, MAX_RESTARTS="1")
    assert (end.code, end.left) == (1, []) and "resumed at epoch 0, step 1" in end.said, end.said
    assert end.said.splitlines()[-1].startswith("error: ") and "CUDA out of memory" in end.said.splitlines()[-1]


def test_too_few_open_files(tiny_coco: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "Lightweight_OpenPose.train", *SMALL_TRAINING, f"--output_dir='{tmp_path}'"]
    command = " ".join([*words, f"--data_path='{tiny_coco}'", "--num_workers=1"])
    assert "ulimit -n" in complaint(done("bash", "-c", f"ulimit -n 24; exec {command}"))


def test_shared_memory_that_is_too_small(tiny_coco: Path, tmp_path: Path) -> None:
    place = (f"--output_dir={tmp_path}", f"--data_path={tiny_coco}", "--num_workers=1", "--net_input_size=368")
    small = "mount -t tmpfs -o size=64k tmpfs /dev/shm"
    if done("unshare", "-m", "bash", "-c", small).returncode:
        pytest.skip("may not mount")
    command = (sys.executable, "-m", "Lightweight_OpenPose.train", *SMALL_TRAINING, *place)
    run = done("unshare", "-m", "bash", "-c", f'{small} && exec "$@"', "bash", *command)
    assert "/dev/shm" in complaint(run) and "--num_workers=0" in complaint(run)
