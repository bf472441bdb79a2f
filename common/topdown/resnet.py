# SPDX-License-Identifier: Apache-2.0
"""Residual networks (He et al. 2016, arXiv:1512.03385): blocks, trunk, and the deconvolutions of SimpleBaseline.

The stride of a bottleneck sits in its 3x3 convolution, as in torchvision, so its ImageNet files load. Widths are
arguments: nothing here knows the channels of one model.
"""

from collections.abc import Sequence

from common.cli import UserError

from torch import Tensor, nn


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size but for its stride."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class BasicBlock(nn.Module):
    """relu(residual(x) + shortcut); the residual is two 3x3 convolutions.

    `downsample` brings the shortcut to the residual's size where a layer begins; it is registered last, where its
    keys belong.
    """

    expansion = 1  # output channels over `planes`

    def __init__(self, inputs: int, planes: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.build(inputs, planes, stride, begins=downsample is not None)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def build(self, inputs: int, planes: int, stride: int, begins: bool) -> None:
        """Registers the layers of the residual in the order of their keys; `begins`: the first block of a layer."""
        self.conv1 = convolution(inputs, planes, 3, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2: nn.Module = convolution(planes, planes, 3)
        self.bn2 = nn.BatchNorm2d(planes)

    def residual(self, features: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, planes * expansion, h / stride, w / stride), a tensor of its own."""
        return self.bn2(self.conv2(self.relu(self.bn1(self.conv1(features)))))  # type: ignore[no-any-return]

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, planes * expansion, h / stride, w / stride)."""
        residual = self.residual(features)
        residual += features if self.downsample is None else self.downsample(features)
        return self.relu(residual)  # type: ignore[no-any-return]


class Bottleneck(BasicBlock):
    """Its residual is 1x1, 3x3 and 1x1 convolutions; the last widens four times."""

    expansion = 4

    def build(self, inputs: int, planes: int, stride: int, begins: bool) -> None:
        """See BasicBlock."""
        self.conv1 = convolution(inputs, planes, 1)
        self.bn1 = nn.BatchNorm2d(planes)
        self.build_spatial(planes, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = convolution(planes, planes * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)

    def build_spatial(self, planes: int, stride: int) -> None:
        """Registers the convolution that looks around and strides."""
        self.conv2 = convolution(planes, planes, 3, stride)

    def spatial(self, features: Tensor) -> Tensor:
        """(B, planes, h, w) -> (B, planes, h / stride, w / stride)."""
        return self.conv2(features)  # type: ignore[no-any-return]

    def residual(self, features: Tensor) -> Tensor:
        """See BasicBlock."""
        out = self.relu(self.bn2(self.spatial(self.relu(self.bn1(self.conv1(features))))))
        return self.bn3(self.conv3(out))  # type: ignore[no-any-return]


Block = type[BasicBlock]
# the kind of block, and how many each of the four layers has (He et al. 2016, table 1)
BLOCKS: dict[int, tuple[Block, tuple[int, int, int, int]]]
BLOCKS = {18: (BasicBlock, (2, 2, 2, 2)), 34: (BasicBlock, (3, 4, 6, 3)), 50: (Bottleneck, (3, 4, 6, 3))}
BLOCKS |= {101: (Bottleneck, (3, 4, 23, 3)), 152: (Bottleneck, (3, 8, 36, 3))}


def residual_layer(block: Block, inputs: int, planes: int, count: int, stride: int = 1) -> nn.Sequential:
    """`count` blocks; the first strides, and projects its shortcut where the size or width changes."""
    outputs = planes * block.expansion
    downsample = None
    if stride != 1 or inputs != outputs:
        downsample = nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
    rest = (block(outputs, planes) for _ in range(count - 1))
    return nn.Sequential(block(inputs, planes, stride, downsample), *rest)


class ResNet(nn.Module):
    """Stem and four layers: stride 4, 8, 16 and 32. Keys as torchvision's, without its classifier.

    `planes`: width of the stem and of the blocks in layer 1; each further layer doubles it. `counts`: blocks a layer.
    `blocks`: the kind of block of each layer.
    """

    STRIDES = (1, 2, 2, 2)

    def __init__(self, blocks: Sequence[Block], counts: Sequence[int], planes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, planes, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.inputs = [planes]  # channels that enter each layer, then those that leave the last
        for number, (block, count, stride) in enumerate(zip(blocks, counts, self.STRIDES, strict=True)):
            width = planes << number
            setattr(self, f"layer{number + 1}", residual_layer(block, self.inputs[-1], width, count, stride))
            self.inputs.append(width * block.expansion)

    def stem(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, planes, H / 4, W / 4)."""
        return self.maxpool(self.relu(self.bn1(self.conv1(images))))  # type: ignore[no-any-return]

    def layer(self, number: int, features: Tensor) -> Tensor:
        """Layer 1 to 4 on what the one before returned."""
        return getattr(self, f"layer{number}")(features)  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, inputs[-1], H / 32, W / 32)."""
        return self.layer(4, self.layer(3, self.layer(2, self.layer(1, self.stem(images)))))


def blocks_of(depth: int) -> tuple[Block, tuple[int, int, int, int]]:
    """Of BLOCKS. Raises UserError for another depth."""
    if depth not in BLOCKS:
        raise UserError(f"NUM_LAYERS {depth}: there is no such ResNet; take one of {', '.join(map(str, BLOCKS))}")
    return BLOCKS[depth]


def deconvolutions(inputs: int, filters: Sequence[int]) -> nn.Sequential:
    """Transposed 4x4 convolutions that each double the size, with batch normalisation and ReLU.

    SimpleBaseline (Xiao et al. 2018, arXiv:1804.06208, section 2).
    """
    modules: list[nn.Module] = []
    for before, outputs in zip([inputs, *filters], filters, strict=False):
        modules.append(nn.ConvTranspose2d(before, outputs, 4, 2, 1, bias=False))
        modules += [nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*modules)
