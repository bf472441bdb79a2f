# SPDX-License-Identifier: Apache-2.0
"""The real programs, launchers and scripts, run as a user runs them, at sizes that take seconds."""

import os
import re
import subprocess
import sys
from pathlib import Path

import common.checkpoint

import torch

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "OpenPose_MindSpore_port"
TEST, SCRIPTS = MODEL / "test", MODEL / "scripts"
SMALL = (
    "--device=cpu", "--vgg_path=none", "--insize=64", "--inference_img_size=64", "--batch_size=2", "--num_workers=1",
    "--print_freq=1", "--log_interval=2", "--amp=O0", "--val_images=2", "--freeze_steps=2", "--lr=1e-3",
)  # fmt: skip
STEP_LINE = re.compile(r"^Epoch: \[\d+\]\[")
Done = subprocess.CompletedProcess[str]


def environment(**more: str) -> dict[str, str]:
    """One thread a process: sums are added up in one order."""
    return {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **more}


def done(*command: str, cwd: Path | None = None, **more: str) -> Done:
    """Runs a command to its end."""
    return subprocess.run(
        command, capture_output=True, text=True, env=environment(**more), timeout=300, check=False, cwd=cwd
    )  # fmt: skip


def launcher(name: str, *flags: str) -> Done:
    """Runs test/<name> to its end."""
    return done("bash", str(TEST / name), *flags)


def script(name: str, *words: str, shell: str = "sh", cwd: Path | None = None, **more: str) -> Done:
    """Runs scripts/<name> to its end, with the shell of the published commands."""
    return done(shell, str(SCRIPTS / name), *words, cwd=cwd, **more)


def module(name: str, *flags: str) -> Done:
    """Runs `python -m OpenPose_MindSpore_port.<name>` to its end."""
    return done(sys.executable, "-m", f"OpenPose_MindSpore_port.{name}", *flags)


def small(folder: Path, *flags: str, ranks: int = 1) -> list[str]:
    """The command that trains a network of few channels into `folder`, see `small_train`."""
    logs = f"--log_dir={folder / 'logs'}"
    return [
        sys.executable, "-m", "common.launch", f"--ranks={ranks}", logs, "-m",
        "OpenPose_MindSpore_port.test.small_train", f"--output_dir={folder}", logs, *SMALL, *flags,
    ]  # fmt: skip


def started(*command: str) -> "subprocess.Popen[str]":
    """Starts a command in a process group of its own; its output is to be read."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(), start_new_session=True,
    )  # fmt: skip


def complaint(run: Done) -> str:
    """The one line that a program ended with."""
    assert run.returncode == 2, run.stdout + run.stderr
    lines = [line for line in run.stderr.splitlines() if line and not line.startswith("note: ")]
    assert len(lines) == 1 and lines[0].startswith("error: "), run.stderr
    return lines[0]


def weights(folder: Path, name: str = common.checkpoint.LAST) -> dict[str, torch.Tensor]:
    """The state dict of a checkpoint."""
    return common.checkpoint.state_dict(common.checkpoint.read(folder / name))


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two state dicts are the same to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
