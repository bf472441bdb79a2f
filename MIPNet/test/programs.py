# SPDX-License-Identifier: Apache-2.0
"""The programs and launchers of this directory, run as a user runs them, and networks at sizes that take seconds."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from common.cli import settings
from common.test.programs import ROOT
from MIPNet import weights
from MIPNet.config import SMALL_NETWORK, Config, parse
from MIPNet.model import GatedNetwork, build

import torch

SIZES = ("--image_size=64,64", "--heatmap_size=16,16")
SMALL = ("--recipe=smoke", "--lambda", "--device=cpu", *SIZES, "--print_freq=1", "--eval_freq=0")
RUN = Path("output/coco_lambda/pose_hrnet_se_lambda/w48_384x288_adam_lr1e-3_lambda_smoke")
PUBLISHED_GATES, ALL_GATES, LAST_GATE = (False, False, True, True), (True,) * 4, (False, False, False, True)
TINY = [*SMALL_NETWORK, "MODEL.EXTRA.NUM_LAYERS", 18, "MODEL.SE_MODULES", PUBLISHED_GATES]
for stage, channels in enumerate(((8, 16), (8, 16, 32), (8, 16, 32, 64)), 2):
    TINY += [f"MODEL.EXTRA.STAGE{stage}.NUM_CHANNELS", channels]


def run(program: ModuleType, *flags: object) -> None:
    """Runs a program's `main` with a command line."""
    with mock.patch.object(sys, "argv", [program.__name__, *map(str, flags)]):
        program.main()


def script(name: str, *flags: str) -> list[str]:
    """The command of test/<name>."""
    return ["bash", str(ROOT / "MIPNet" / "test" / name), *flags]


def tiny(name: str, num_joints: int = 5, **changes: Any) -> GatedNetwork:
    """A network of random weights; `changes`: keys of MODEL, or of MODEL.EXTRA in small letters."""
    words = ["MODEL.NAME", name]
    for key, value in changes.items():
        words += [f"MODEL.{key}" if key.isupper() else f"MODEL.EXTRA.{key.upper()}", value]
    return build(Config(opts=(*TINY, *words)).yaml.MODEL, num_joints)


def small_checkpoint(folder: Path, *words: str) -> tuple[Config, Path]:
    """The settings of a small network, and a checkpoint of it that knows them."""
    config = parse(["--recipe=smoke", "--device=cpu", "--num_workers=0", *SIZES, *words])
    torch.manual_seed(0)
    network = build(config.yaml.MODEL, config.load_skeleton().num_keypoints)
    weights.initialise(network)
    torch.save({"state_dict": network.state_dict(), "config": settings(config)}, folder / "small.pth")
    return config, folder / "small.pth"
