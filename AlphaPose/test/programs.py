# SPDX-License-Identifier: Apache-2.0
"""The programs and launchers of this directory, run as a user runs them, at sizes that take seconds."""

from pathlib import Path

from common.test import programs
from common.test.programs import Done

_SMALL = """--device=cpu --model=SimplePose --num_layers=18 --image_size=64,32 --heatmap_size=16,8 --sigma=1
    --batch_size=4 --num_workers=1 --backbone=none --print_freq=1 --amp=O0 --exp_id=x"""
SMALL = tuple(_SMALL.split())
EXPERIMENT = Path("exp") / "x-256x192_res50_lr1e-3_1x.yaml"


def launcher(name: str, *flags: str) -> Done:
    """Runs test/<name> to its end."""
    return programs.launcher("AlphaPose", name, *flags)


def trained(folder: Path, *flags: str) -> Done:
    """What test/train_full_1p.sh runs, to its end."""
    flags = ("--recipe=full", f"--output_dir={folder}", f"--log_dir={folder / 'logs'}", *flags)
    return programs.launched("AlphaPose.train", folder / "logs", *flags)
