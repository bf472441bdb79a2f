# SPDX-License-Identifier: Apache-2.0
"""The programs and launchers of this directory, run as a user runs them, at sizes that take seconds."""

from pathlib import Path

from common.skeleton import OPENPOSE
from common.test import programs
from common.test.programs import ROOT, Done
from Lightweight_OpenPose.model import PoseEstimationWithMobileNet

import torch

TEST = ROOT / "Lightweight_OpenPose" / "test"
SMALL = (
    "--device=cpu",
    "--net_input_size=32",
    "--base_height=64",
    "--batch_size=4",
    "--num_workers=1",
    "--print_freq=1",
    "--amp=O0",
    "--val_images=0",
)
FROM_SCRATCH = ("--checkpoint_path=none",)


def save_network(path: Path, num_stages: int = 1) -> Path:
    """A checkpoint of a network without training; returns its path."""
    torch.manual_seed(0)
    model = PoseEstimationWithMobileNet(num_stages, OPENPOSE.num_heatmaps, OPENPOSE.num_pafs)
    torch.save({"state_dict": model.state_dict()}, path)
    return path


def launcher(name: str, *flags: str) -> Done:
    """Runs test/<name> to its end."""
    return programs.launcher("Lightweight_OpenPose", name, *flags)


def trained(folder: Path, *flags: str) -> Done:
    """What test/train_full_1p.sh runs, to its end."""
    return programs.launched(
        "Lightweight_OpenPose.train",
        folder / "logs",
        "--recipe=full",
        f"--output_dir={folder}",
        f"--log_dir={folder / 'logs'}",
        *flags,
    )


def module(name: str, *flags: str, cwd: Path | None = None) -> Done:
    """Runs `python -m Lightweight_OpenPose.<name>` to its end."""
    return programs.module(f"Lightweight_OpenPose.{name}", *flags, cwd=cwd)
