# SPDX-License-Identifier: Apache-2.0
"""The high-resolution network (Sun et al. 2019, arXiv:1902.09212, section 3): parallel branches that exchange.

State-dict keys are those of the original project, so its ImageNet and COCO files load. Widths are arguments. The last
branch has stride 32: the sides of the input must be multiples of it.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from common.cli import UserError
from common.topdown.resnet import BasicBlock, Bottleneck, convolution, residual_layer

import torch
from torch import Tensor, nn

FIRST_BLOCKS = 4  # bottlenecks in front of the branches


class Stage(NamedTuple):
    """Stage 2, 3 or 4: `modules` in turn, each of `blocks` blocks a branch; one entry of `channels` a branch."""

    modules: int
    blocks: int
    channels: tuple[int, ...]


def normalised(inputs: int, outputs: int, kernel: int, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """Convolution, batch normalisation and, if asked for, ReLU."""
    layers = (convolution(inputs, outputs, kernel, stride), nn.BatchNorm2d(outputs))
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


def exchange(channels: Sequence[int], source: int, target: int) -> nn.Module:
    """Brings branch `source` to the width and size of branch `target`."""
    inputs, outputs = channels[source], channels[target]
    if source == target:
        return nn.Identity()
    if source > target:
        larger = nn.Upsample(scale_factor=2 ** (source - target))
        return nn.Sequential(*normalised(inputs, outputs, 1, relu=False), larger)
    halvings = [normalised(inputs, inputs, 3, 2) for _ in range(target - source - 1)]
    return nn.Sequential(*halvings, normalised(inputs, outputs, 3, 2, relu=False))


class ExchangeModule(nn.Module):
    """Blocks in every branch, then each of the first `outputs` branches becomes the sum of all."""

    def __init__(self, blocks: int, channels: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(residual_layer(BasicBlock, width, width, blocks) for width in channels)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(exchange(channels, source, target) for source in range(len(channels)))
            for target in range(outputs)
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        """Branch i: (B, channels[i], h / 2^i, w / 2^i), in and out."""
        done = [block(branch) for block, branch in zip(self.branches, branches, strict=True)]
        return [self._fused(layers.children(), done) for layers in self.fuse_layers]

    def _fused(self, layers: Iterable[nn.Module], branches: list[Tensor]) -> Tensor:
        moved = [layer(branch) for layer, branch in zip(layers, branches, strict=True)]
        return self.relu(functools.reduce(torch.add, moved))  # type: ignore[no-any-return]


def transition(before: Sequence[int], after: Sequence[int]) -> nn.ModuleList:
    """Turns the branches of a stage into the inputs of the next: kept, widened, or new from the last one."""
    kept = [nn.Identity() if old == new else normalised(old, new, 3) for old, new in zip(before, after, strict=False)]
    return nn.ModuleList([*kept, nn.Sequential(normalised(before[-1], after[-1], 3, 2))])


class HRNet(nn.Module):
    """Stem of stride 4, one layer of bottlenecks, three stages of 2, 3 and 4 branches.

    `stem`: width of the stem and planes of the bottlenecks. `stages`: stages 2, 3 and 4. Raises UserError where a
    stage does not add exactly one branch.
    """

    def __init__(self, stem: int, stages: Sequence[Stage]) -> None:
        super().__init__()
        if [len(stage.channels) for stage in stages] != [2, 3, 4]:
            raise UserError(f"NUM_CHANNELS {[list(s.channels) for s in stages]}: HRNet has 2, 3 and 4 branches")
        self.conv1 = convolution(3, stem, 3, 2)
        self.bn1 = nn.BatchNorm2d(stem)
        self.conv2 = convolution(stem, stem, 3, 2)
        self.bn2 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = residual_layer(Bottleneck, stem, stem, FIRST_BLOCKS)
        before: tuple[int, ...] = (stem * Bottleneck.expansion,)
        for number, (modules, blocks, channels) in enumerate(stages, 2):
            last = 1 if number == 4 else len(channels)  # of stage 4 only the branch of stride 4 is read
            outputs = [len(channels)] * (modules - 1) + [last]
            setattr(self, f"transition{number - 1}", transition(before, channels))
            setattr(self, f"stage{number}", nn.Sequential(*(ExchangeModule(blocks, channels, n) for n in outputs)))
            before = channels

    def begin(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> the inputs of stage 2: (B, C, H / 4, W / 4) and (B, 2C, H / 8, W / 8)."""
        features = self.relu(self.bn1(self.conv1(images)))
        features = self.relu(self.bn2(self.conv2(features)))
        return self._transition(1, [self.layer1(features)])

    def stage(self, number: int, branches: list[Tensor]) -> list[Tensor]:
        """Stage 2, 3 or 4 on its inputs -> the inputs of the next; of stage 4, the one branch of stride 4."""
        return self._transition(number, getattr(self, f"stage{number}")(branches))

    def _transition(self, number: int, branches: list[Tensor]) -> list[Tensor]:
        layers = getattr(self, f"transition{number}", [nn.Identity()])
        sources = [*branches, branches[-1]]  # a new branch begins from the last one
        return [layer(source) for layer, source in zip(layers, sources, strict=False)]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H / 4, W / 4), C the width of the first branch."""
        branches = self.begin(images)
        for number in (2, 3, 4):
            branches = self.stage(number, branches)
        return branches[0]
