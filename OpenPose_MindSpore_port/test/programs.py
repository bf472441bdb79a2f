# SPDX-License-Identifier: Apache-2.0
"""The programs and scripts of this directory, run as a user runs them, at sizes that take seconds."""

from pathlib import Path

from common.test import programs
from common.test.programs import ROOT, Done

MODEL = ROOT / "OpenPose_MindSpore_port"
SMALL_TRAIN = f"{MODEL.name}.test.small_train"
SCRIPTS = MODEL / "scripts"
SMALL = (
    "--device=cpu",
    "--vgg_path=none",
    "--insize=64",
    "--inference_img_size=64",
    "--batch_size=2",
    "--num_workers=1",
    "--print_freq=1",
    "--log_interval=2",
    "--amp=O0",
    "--val_images=2",
    "--freeze_steps=2",
    "--lr=1e-3",
)


def script(name: str, *words: str, shell: str = "sh", cwd: Path | None = None, **more: str) -> Done:
    """Runs scripts/<name> to its end, with the shell of the published commands."""
    return programs.done(shell, str(SCRIPTS / name), *words, cwd=cwd, **more)


def small(folder: Path, *flags: str, ranks: int = 1) -> list[str]:
    """The command that trains a network of few channels into `folder`, see `small_train`."""
    return programs.launch_command(SMALL_TRAIN, folder / "logs", *_small_flags(folder), *flags, ranks=ranks)


def small_done(folder: Path, *flags: str, ranks: int = 1) -> Done:
    """Runs that command to its end."""
    return programs.launched(SMALL_TRAIN, folder / "logs", *_small_flags(folder), *flags, ranks=ranks)


def _small_flags(folder: Path) -> tuple[str, ...]:
    return f"--output_dir={folder}", f"--log_dir={folder / 'logs'}", *SMALL
