# SPDX-License-Identifier: Apache-2.0
"""A small network of random weights that finds somebody in every image."""

from pathlib import Path

from AlphaPose.config import DEFAULT_CFG, Config
from AlphaPose.model import build
from common.cli import settings

import torch

WORDS = ("MODEL.TYPE", "SimplePose", "MODEL.NUM_LAYERS", 18, "DATA_PRESET.IMAGE_SIZE", [64, 32],
         "DATA_PRESET.HEATMAP_SIZE", [16, 8], "DATA_PRESET.SIGMA", 1)  # fmt: skip


def alphapose(folder: Path) -> Path:
    """Its checkpoint, for 64 x 32 pixels."""
    config = Config(cfg=DEFAULT_CFG, opts=WORDS)
    torch.manual_seed(0)
    network = build(config.yaml.MODEL, config.load_skeleton().num_keypoints)
    last = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)][-1]
    torch.nn.init.constant_(last.bias, 0.5)  # sure enough for pose NMS
    torch.save({"state_dict": network.state_dict(), "config": settings(config)}, folder / "small.pth")
    return folder / "small.pth"
