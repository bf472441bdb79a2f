# SPDX-License-Identifier: Apache-2.0
"""The real programs and launchers, run as a user runs them, at sizes that take seconds."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import common.checkpoint

import torch

ROOT = Path(__file__).parents[2]
SMALL = (
    "--recipe=smoke", "--lambda", "--device=cpu", "--image_size=64,64", "--heatmap_size=16,16", "--print_freq=1",
    "--eval_freq=0",
)  # fmt: skip
RUN = Path("output/coco_lambda/pose_hrnet_se_lambda/w48_384x288_adam_lr1e-3_lambda_smoke")
Done = subprocess.CompletedProcess[str]


def environment(**variables: str) -> dict[str, str]:
    """One thread a process: sums are added up in one order."""
    return {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **variables}


def run(command: list[str], **options: Any) -> Done:
    """Runs a command to its end."""
    options = {"env": environment(), **options}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)


def script(name: str, *flags: str) -> list[str]:
    """The command of test/<name>."""
    return ["bash", str(ROOT / "MIPNet" / "test" / name), *flags]


def weights(folder: Path, name: str = common.checkpoint.LAST) -> dict[str, torch.Tensor]:
    """The state dict of a checkpoint of the run in an output folder."""
    return common.checkpoint.state_dict(common.checkpoint.read(folder / RUN / name))
