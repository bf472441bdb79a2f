# SPDX-License-Identifier: Apache-2.0
"""A network of few channels: the same names, layers and files in a hundredth of the time and space."""

from collections.abc import Iterator
from pathlib import Path

from common.skeleton import OPENPOSE, Skeleton
from OpenPose_MindSpore_port import model
from OpenPose_MindSpore_port.model import OpenPose

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def narrow() -> Iterator[None]:
    """Every OpenPose that a test of the module builds is narrow: imported by test modules that want it so."""
    with pytest.MonkeyPatch.context() as patch:
        make_narrow(patch)
        yield


def make_narrow(patch: pytest.MonkeyPatch) -> None:
    """Every OpenPose that is built from now on is narrow."""
    patch.setattr(model, "VGG_LAYERS", tuple(entry if entry == model.POOLING else 8 for entry in model.VGG_LAYERS))
    patch.setattr(model, "FEATURES", 16)
    patch.setattr(model, "FIRST_STAGE_HIDDEN", 16)


def network(skeleton: Skeleton = OPENPOSE, vgg_with_bn: bool = False) -> OpenPose:
    """With weights that keep the signal's size, and so maps that differ from cell to cell."""
    torch.manual_seed(0)
    built = OpenPose(skeleton.num_heatmaps, skeleton.num_pafs, vgg_with_bn)
    for layer in built.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
            torch.nn.init.normal_(layer.bias, std=0.05)
    return built.eval()


def save(built: OpenPose, path: Path) -> Path:
    """Writes a checkpoint of it as PyTorch's."""
    torch.save({"state_dict": built.state_dict()}, path)
    return path
