# SPDX-License-Identifier: Apache-2.0
"""What several tests of this directory ask for."""

from pathlib import Path

import common.train.checkpoint
from AlphaPose.model import SimplePose
from common.skeleton import COCO

import pytest
import torch

SMALL_NETWORK = {
    "MODEL.TYPE": "SimplePose",
    "MODEL.NUM_LAYERS": 18,
    "DATA_PRESET.IMAGE_SIZE": (64, 48),
    "DATA_PRESET.HEATMAP_SIZE": (16, 12),
    "DATA_PRESET.NUM_JOINTS": COCO.num_keypoints,
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network as training leaves it: it says of itself what it is, and its running means differ."""
    torch.manual_seed(0)
    model = SimplePose(COCO.num_keypoints, 18)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
    path = tmp_path_factory.mktemp("weights") / "model_best.pth"
    common.train.checkpoint.save(path, {"state_dict": model.state_dict(), "config": SMALL_NETWORK})
    return path
