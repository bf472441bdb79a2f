# SPDX-License-Identifier: Apache-2.0
"""The network of Lightweight OpenPose (Osokin 2018, arXiv:1811.12004, section 4).

A dilated MobileNet v1 of stride 8, a small context module, one initial stage and any number of refinement stages; each
stage predicts heatmaps and part affinity fields. State-dict keys are those of the original project, so its official
checkpoints load; `test/test_model.py` holds them.
"""

import torch
from torch import Tensor, nn

STRIDE = 8  # input pixels a map cell
BACKBONE_CHANNELS = 512
REFINEMENT_BLOCKS = 5


def conv(
    inputs: int, outputs: int, kernel: int = 3, dilation: int = 1, bn: bool = True, relu: bool = True
) -> nn.Sequential:
    """Convolution that keeps the size of its maps, optionally followed by batch normalisation and ReLU."""
    padding = dilation * (kernel // 2)
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, 1, padding, dilation)]
    if bn:
        layers.append(nn.BatchNorm2d(outputs))
    if relu:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def conv_depthwise(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """A MobileNet block: 3x3 depthwise and 1x1 pointwise convolution, each with batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, dilation, dilation, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def conv_depthwise_elu(channels: int) -> nn.Sequential:
    """The same without batch normalisation, with ELU."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.ELU(inplace=True),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.ELU(inplace=True),
    )


class ContextModule(nn.Module):
    """Narrows the backbone's features and widens the receptive field (the paper's replacement of VGG's layers)."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.align = conv(inputs, channels, kernel=1, bn=False)
        self.trunk = nn.Sequential(*(conv_depthwise_elu(channels) for _ in range(3)))
        self.conv = conv(channels, channels, bn=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, channels, h, w)."""
        aligned = self.align(features)
        # ELU works in place on the trunk's own convolution output, never on `aligned`
        return self.conv(aligned + self.trunk(aligned))


class Stage(nn.Module):
    """Heatmaps and pafs from features: a trunk, then two 1x1 convolutions each, without activation after the last."""

    def __init__(self, trunk: nn.Sequential, channels: int, hidden: int, num_heatmaps: int, num_pafs: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.heatmaps, self.pafs = (
            nn.Sequential(conv(channels, hidden, 1, bn=False), conv(hidden, number, 1, bn=False, relu=False))
            for number in (num_heatmaps, num_pafs)
        )

    def forward(self, features: Tensor) -> list[Tensor]:
        """(B, inputs of the trunk, h, w) -> [heatmaps (B, num_heatmaps, h, w), pafs (B, num_pafs, h, w)]."""
        trunk = self.trunk(features)
        return [self.heatmaps(trunk), self.pafs(trunk)]


def initial_stage(channels: int, num_heatmaps: int, num_pafs: int) -> Stage:
    """The first prediction."""
    trunk = nn.Sequential(*(conv(channels, channels, bn=False) for _ in range(3)))
    return Stage(trunk, channels, BACKBONE_CHANNELS, num_heatmaps, num_pafs)


def refinement_stage(channels: int, num_heatmaps: int, num_pafs: int) -> Stage:
    """Refines the maps of the stage before, from these maps and the features."""
    widths = [channels + num_heatmaps + num_pafs] + [channels] * (REFINEMENT_BLOCKS - 1)
    trunk = nn.Sequential(*(RefinementBlock(width, channels) for width in widths))
    return Stage(trunk, channels, channels, num_heatmaps, num_pafs)


class RefinementBlock(nn.Module):
    """A 1x1 convolution and a residual pair of 3x3 ones: the receptive field of the original's 7x7 at a third of it."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.initial = conv(inputs, channels, kernel=1, bn=False)
        self.trunk = nn.Sequential(conv(channels, channels), conv(channels, channels, dilation=2))

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, channels, h, w)."""
        initial = self.initial(features)
        return initial + self.trunk(initial)


class PoseEstimationWithMobileNet(nn.Module):
    """Lightweight OpenPose. Counts of maps come from the skeleton: `num_heatmaps` with background, `num_pafs`."""

    def __init__(self, num_refinement_stages: int, num_heatmaps: int, num_pafs: int, num_channels: int = 128) -> None:
        super().__init__()
        self.model = mobilenet_backbone()
        self.cpm = ContextModule(BACKBONE_CHANNELS, num_channels)
        self.initial_stage = initial_stage(num_channels, num_heatmaps, num_pafs)
        self.refinement_stages = nn.ModuleList(
            refinement_stage(num_channels, num_heatmaps, num_pafs) for _ in range(num_refinement_stages)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps of every stage, the best last.

        `images`: (B, 3, H, W) float, BGR, (pixel - 128) / 256. Returns [heatmaps_0, pafs_0, heatmaps_1, ...]:
        (B, num_heatmaps or num_pafs, ceil(H / 8), ceil(W / 8)) each, without activation.
        """
        features = self.cpm(self.model(images))
        maps: list[Tensor] = self.initial_stage(features)
        for stage in self.refinement_stages:
            maps = maps + stage(torch.cat([features, maps[-2], maps[-1]], dim=1))
        return maps


def mobilenet_backbone() -> nn.Sequential:
    """MobileNet v1 up to 512 channels, its last two strides taken out (dilation 2 instead): stride 8."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True)),
        conv_depthwise(32, 64),
        conv_depthwise(64, 128, stride=2),
        conv_depthwise(128, 128),
        conv_depthwise(128, 256, stride=2),
        conv_depthwise(256, 256),
        conv_depthwise(256, 512),
        conv_depthwise(512, 512, dilation=2),
        *(conv_depthwise(512, BACKBONE_CHANNELS) for _ in range(4)),
    )
