# SPDX-License-Identifier: Apache-2.0
"""The high-resolution network (Sun et al. 2019, arXiv:1902.09212, section 3): parallel branches that exchange.

State-dict keys are those of the original project, so its ImageNet and COCO files load. Widths are arguments. The last
branch has stride 32: the sides of the input must be multiples of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from common.cli import UserError
from common.topdown.resnet import BasicBlock, Bottleneck, convolution, residual_layer

from torch import Tensor, nn


@dataclass(frozen=True)
class Stage:
    """Stage 2, 3 or 4: `modules` in turn, each of `blocks` blocks a branch; one entry of `channels` a branch."""

    modules: int
    blocks: int
    channels: tuple[int, ...]


def standard_stages(width: int) -> tuple[Stage, Stage, Stage]:
    """The layout of HRNet-W<width> (paper, section 4): 1, 4 and 3 modules; each branch doubles the width."""
    counts, blocks = (1, 4, 3), 4
    widths = tuple(width << branch for branch in range(len(counts) + 1))
    first, second, third = (Stage(count, blocks, widths[: 2 + n]) for n, count in enumerate(counts))
    return first, second, third


def normalised(inputs: int, outputs: int, kernel: int, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """Convolution, batch normalisation and, if asked for, ReLU."""
    layers = (convolution(inputs, outputs, kernel, stride), nn.BatchNorm2d(outputs))
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


def exchange(channels: Sequence[int], source: int, target: int) -> nn.Module:
    """What brings branch `source` to the width and size of branch `target`."""
    inputs, outputs = channels[source], channels[target]
    if source == target:
        return nn.Identity()
    if source > target:
        up = nn.Upsample(scale_factor=2 ** (source - target), mode="nearest")
        return nn.Sequential(*normalised(inputs, outputs, 1, relu=False), up)
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
        return [self.fused(number, done) for number in range(len(self.fuse_layers))]

    def fused(self, target: int, branches: list[Tensor]) -> Tensor:
        """The sum that branch `target` becomes: (B, channels[target], ...)."""
        first, second, *rest = (
            layer(one) for layer, one in zip(self.fuse_layers[target].children(), branches, strict=True)
        )
        total = first + second  # a new tensor: branch 0 itself is still needed by the other sums
        for one in rest:
            total += one
        return self.relu(total)  # type: ignore[no-any-return]


def transition(before: Sequence[int], after: Sequence[int]) -> nn.ModuleList:
    """What turns the branches of a stage into the inputs of the next: kept, widened, or begun from the last one."""
    kept = [
        nn.Identity() if old == new else normalised(old, new, 3)
        for old, new in zip(before, after[: len(before)], strict=True)
    ]
    begun = [nn.Sequential(normalised(before[-1], new, 3, 2)) for new in after[len(before) :]]
    return nn.ModuleList([*kept, *begun])


class HRNet(nn.Module):
    """Stem of stride 4, one layer of bottlenecks, three stages of 2, 3 and 4 branches.

    `stem`: width of the stem and planes of the bottlenecks. `first_blocks`: bottlenecks in the layer. `stages`: see
    `standard_stages`. Raises UserError where a stage does not add exactly one branch.
    """

    def __init__(self, stem: int, first_blocks: int, stages: Sequence[Stage]) -> None:
        super().__init__()
        if [len(stage.channels) for stage in stages] != [2, 3, 4]:
            raise UserError(f"NUM_CHANNELS {[list(s.channels) for s in stages]}: HRNet has 2, 3 and 4 branches")
        self.conv1 = convolution(3, stem, 3, 2)
        self.bn1 = nn.BatchNorm2d(stem)
        self.conv2 = convolution(stem, stem, 3, 2)
        self.bn2 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = residual_layer(Bottleneck, stem, stem, first_blocks)
        self.stages = tuple(stages)
        before: tuple[int, ...] = (stem * Bottleneck.expansion,)
        for number, stage in enumerate(stages, 2):
            setattr(self, f"transition{number - 1}", transition(before, stage.channels))
            setattr(self, f"stage{number}", self._stage(stage, last=stage is stages[-1]))
            before = stage.channels

    def _stage(self, stage: Stage, last: bool) -> nn.Sequential:
        outputs = [len(stage.channels)] * (stage.modules - 1) + [1 if last else len(stage.channels)]
        return nn.Sequential(*(ExchangeModule(stage.blocks, stage.channels, count) for count in outputs))

    def begin(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> the inputs of stage 2: (B, C, H / 4, W / 4) and (B, 2C, H / 8, W / 8)."""
        features = self.relu(self.bn1(self.conv1(images)))
        features = self.relu(self.bn2(self.conv2(features)))
        return self._transition(1, [self.layer1(features)])

    def stage(self, number: int, branches: list[Tensor]) -> list[Tensor]:
        """Stage 2, 3 or 4 on its inputs -> the inputs of the next; of stage 4, the one branch of stride 4."""
        out: list[Tensor] = getattr(self, f"stage{number}")(branches)
        return out if number > len(self.stages) else self._transition(number, out)

    def _transition(self, number: int, branches: list[Tensor]) -> list[Tensor]:
        layers = getattr(self, f"transition{number}")
        sources = [*branches, *[branches[-1]] * (len(layers) - len(branches))]
        return [layer(source) for layer, source in zip(layers, sources, strict=True)]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H / 4, W / 4), C the width of the first branch."""
        branches = self.begin(images)
        for number in range(2, 2 + len(self.stages)):
            branches = self.stage(number, branches)
        return branches[0]
