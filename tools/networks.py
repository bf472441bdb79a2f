# SPDX-License-Identifier: Apache-2.0
"""The networks of all directories as they are published, with random weights: where the detections do not matter.

OpenPose_infer deploys Lightweight OpenPose's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import AlphaPose.config
import AlphaPose.model
import MIPNet.config
import MIPNet.model
from common.skeleton import COCO, OPENPOSE
from Lightweight_OpenPose.model import PoseEstimationWithMobileNet
from OpenPose_MindSpore_port.model import OpenPose
from OpenPose_MindSpore_port.predict import LastMaps

import torch
from torch import nn

MAPS = OPENPOSE.num_heatmaps, OPENPOSE.num_pafs


@dataclass(frozen=True)
class Published:
    """A network with random weights, and the height and width of its published input."""

    size_in: tuple[int, int]
    build: Callable[[], nn.Module]  # (B, 3, H, W) float32 -> maps


PUBLISHED = {
    "Lightweight_OpenPose": Published((368, 640), lambda: PoseEstimationWithMobileNet(1, *MAPS)),
    "AlphaPose": Published(
        (256, 192), lambda: AlphaPose.model.build(AlphaPose.config.Config().yaml.MODEL, COCO.num_keypoints)
    ),
    "MIPNet": Published((384, 288), lambda: MIPNet.model.build(MIPNet.config.Config().yaml.MODEL, COCO.num_keypoints)),
    "OpenPose_MindSpore_port": Published((368, 656), lambda: LastMaps(OpenPose(*MAPS))),
}


def build(name: str) -> nn.Module:
    """One of them in evaluation mode, the same at every call."""
    torch.manual_seed(0)
    return PUBLISHED[name].build().eval()
