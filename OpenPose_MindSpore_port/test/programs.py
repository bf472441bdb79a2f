# SPDX-License-Identifier: Apache-2.0
"""train.py with a narrow network, run as a user runs it, at sizes that take seconds."""

from pathlib import Path

from common.test import programs
from common.test.programs import Done

SMALL_TRAIN = "OpenPose_MindSpore_port.test.small_train"
SMALL = (
    "--device=cpu",
    "--vgg_path=none",
    "--insize=64",
    "--inference_img_size=64",
    "--batch_size=2",
    "--num_workers=1",
    "--log_interval=1",
    "--amp=O0",
    "--val_images=2",
    "--freeze_steps=2",
    "--lr=1e-3",
)


def flags_of(folder: Path, *flags: str) -> list[str]:
    """The flags of a small training into `folder`, and more."""
    return [f"--output_dir={folder}", f"--log_dir={folder / 'logs'}", *SMALL, *flags]


def small(folder: Path, *flags: str, ranks: int = 1) -> list[str]:
    """The command that trains a network of few channels into `folder`, see `small_train`."""
    return programs.launch_command(SMALL_TRAIN, folder / "logs", *flags_of(folder, *flags), ranks=ranks)


def small_done(folder: Path, *flags: str, ranks: int = 1) -> Done:
    """Runs that command to its end."""
    return programs.launched(SMALL_TRAIN, folder / "logs", *flags_of(folder, *flags), ranks=ranks)
