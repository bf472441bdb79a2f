# SPDX-License-Identifier: Apache-2.0
"""Whatever goes wrong in a training, it ends, with everything that it started, and says why on the last line."""

import signal
from pathlib import Path

from common.test import fault

import pytest

SECONDS = 30  # on a machine that others load; ci/kill_matrix.py measures
SMALL = (
    "--device=cpu", "--net_input_size=64", "--batch_size=4", "--print_freq=1", "--amp=O0", "--checkpoint_path=none",
    "--recipe=full", "--step=1", "--epochs=1", "--eval_freq=0",
)  # fmt: skip


def train(what: str, data: Path, folder: Path, *flags: str, ranks: int = 1, **variables: str) -> fault.Outcome:
    place = (f"--data_path={data}", f"--output_dir={folder}", f"--log_dir={folder / 'logs'}")
    return fault.run(what, folder, "Lightweight_OpenPose.train", *SMALL, *place, *flags, ranks=ranks, **variables)


@pytest.mark.parametrize(
    ("what", "readers", "ranks", "code", "last"),
    [
        ("raise step 0", 2, 1, 1, "torch.OutOfMemoryError: CUDA out of memory"),
        ("raise reader 0", 1, 1, 1, "torch.OutOfMemoryError: CUDA out of memory"),
        ("kill reader 0", 1, 1, 1, "RuntimeError: DataLoader worker"),
        ("kill step 0", 2, 1, -signal.SIGKILL, ""),
        ("raise step 1", 1, 2, 1, "error: rank 1: torch.OutOfMemoryError: CUDA out of memory"),
        ("kill reader 1", 1, 2, 1, "error: rank 1: RuntimeError: DataLoader worker"),
        ("kill step 1", 0, 2, 128 + signal.SIGKILL, "error: rank 1 ended with signal SIGKILL"),
        ("kill_launcher step 0", 1, 2, -signal.SIGKILL, ""),
    ],
)
def test_a_fault_ends_everything(
    tiny_coco: Path, tmp_path: Path, what: str, readers: int, ranks: int, code: int, last: str
) -> None:
    end = train(what, tiny_coco, tmp_path, f"--num_workers={readers}", ranks=ranks)
    assert (end.code, end.left) == (code, []), end.said
    assert 0 <= end.seconds < SECONDS
    assert [line for line in end.said.splitlines() if line][-1].startswith(last), end.said
