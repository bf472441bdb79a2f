# SPDX-License-Identifier: Apache-2.0
"""The real programs and launchers, run as a user runs them, at sizes that take seconds."""

import os
import subprocess
import sys
from pathlib import Path

import common.checkpoint

import torch

ROOT = Path(__file__).parents[2]
TEST = ROOT / "Lightweight_OpenPose" / "test"
SMALL = (
    "--device=cpu", "--net_input_size=64", "--base_height=64", "--batch_size=4", "--num_workers=1", "--print_freq=1",
    "--amp=O0", "--val_images=0",
)  # fmt: skip
FROM_SCRATCH = ("--checkpoint_path=none",)
Done = subprocess.CompletedProcess[str]


def environment() -> dict[str, str]:
    """One thread a process: sums are added up in one order."""
    return {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def launcher(name: str, *flags: str) -> Done:
    """Runs test/<name> to its end."""
    command = ["bash", str(TEST / name), *flags]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=300, check=False)


def module(name: str, *flags: str, cwd: Path | None = None) -> Done:
    """Runs `python -m Lightweight_OpenPose.<name>` to its end."""
    command = [sys.executable, "-m", f"Lightweight_OpenPose.{name}", *flags]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment(), timeout=300, check=False, cwd=cwd
    )  # fmt: skip


def started(name: str, *flags: str) -> subprocess.Popen[str]:
    """Starts a launcher in a process group of its own; its output is to be read."""
    return subprocess.Popen(
        ["bash", str(TEST / name), *flags],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(), start_new_session=True,
    )  # fmt: skip


def weights(folder: Path, name: str = common.checkpoint.LAST) -> dict[str, torch.Tensor]:
    """The state dict of a checkpoint."""
    return common.checkpoint.state_dict(common.checkpoint.read(folder / name))


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two state dicts are the same to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
