# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from common.topdown.resnet import BASIC_BLOCKS, BOTTLENECK_BLOCKS, BasicBlock, ResNet, blocks_of
from common.train.checkpoint import CheckpointError
from common.train.pretrained import load_backbone

import pytest
import torch


def test_a_backbone_takes_its_own_depth_only() -> None:
    def trunk(counts: tuple[int, ...]) -> ResNet:
        return ResNet((BasicBlock,) * 4, counts, 8)

    source, path = trunk((2, 1, 1, 1)).state_dict() | {"fc.weight": torch.zeros(2)}, Path("file.pth")
    assert "1 unused (fc.weight)" in str(load_backbone(trunk((2, 1, 1, 1)), source, path, own=r"$."))
    for counts in ((1, 1, 1, 1), (2, 2, 1, 1)):
        with pytest.raises(CheckpointError, match="file.pth: weights of another network, depth or width"):
            load_backbone(trunk(counts), source, path, own=r"$.")


def test_depths_of_resnets() -> None:
    for depth in BASIC_BLOCKS | BOTTLENECK_BLOCKS:
        block, counts = blocks_of(depth)
        convolutions = 3 if depth in BOTTLENECK_BLOCKS else 2
        assert convolutions * sum(counts) + 2 == depth  # with the stem and the classifier
        assert block.expansion == (4 if depth in BOTTLENECK_BLOCKS else 1)
