# SPDX-License-Identifier: Apache-2.0
"""The network of OpenPose (Cao et al. 2017, arXiv:1611.08050) with the trunk of VGG19, as published for MindSpore.

Ten convolutions of VGG19 and two of its own give features of stride 8; six stages of two branches each predict part
affinity fields (L1) and heatmaps (L2), every stage but the first from the maps before and the features. State-dict keys
are MindSpore's names, batch normalisation included: a `.ckpt` needs no translation.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 8  # input pixels a map cell
NUM_STAGES = 6
POOLING = "M"
VGG_LAYERS = (64, 64, POOLING, 128, 128, POOLING, 256, 256, 256, 256, POOLING, 512, 512)
FEATURES = 128  # channels of the features, and of all stages inside
FIRST_STAGE_HIDDEN = 512
PAF_BRANCH, HEATMAP_BRANCH = "L1", "L2"
CPM_STD = 0.01  # MindSpore 1.x: the standard deviation of a new convolution's weights


class Vgg(nn.Module):
    """VGG19 (Simonyan and Zisserman 2015) up to its tenth convolution: (B, 3, H, W) -> (B, 512, H / 8, W / 8)."""

    def __init__(self, with_bn: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for entry in VGG_LAYERS:
            if isinstance(entry, str):
                layers.append(nn.MaxPool2d(2, ceil_mode=True))  # MindSpore's padding `same`: an odd side rounds up
                continue
            layers += [conv(width, entry, 3), *([BatchNorm(entry)] if with_bn else []), nn.ReLU(inplace=True)]
            width = entry
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 512, ceil(H / 8), ceil(W / 8))."""
        return self.layers(images)


class BatchNorm(nn.Module):
    """Batch normalisation over (B, C, H, W) with MindSpore's names."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("moving_mean", torch.zeros(channels))
        self.register_buffer("moving_variance", torch.ones(channels))

    def forward(self, features: Tensor) -> Tensor:
        """Of the same shape. MindSpore's momentum of 0.9 is torch's of 0.1."""
        running = self.moving_mean, self.moving_variance
        return functional.batch_norm(features, *running, self.gamma, self.beta, self.training, momentum=0.1)


class Base(nn.Module):
    """The trunk, and two convolutions that narrow it to the features."""

    def __init__(self, vgg_with_bn: bool) -> None:
        super().__init__()
        self.vgg_base = Vgg(vgg_with_bn)
        self.conv4_3_CPM = conv(VGG_LAYERS[-1], 256, 3)
        self.conv4_4_CPM = conv(256, FEATURES, 3)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 128, h, w)."""
        return self.conv4_4_CPM(self.conv4_3_CPM(self.vgg_base(images)).relu_()).relu_()


class Stage(nn.Module):
    """Two branches of convolutions with ReLU between them, none after the last: pafs and heatmaps.

    Convolution `number` of a branch is called `conv<number><suffix>_L1`, as in MindSpore's files. `outputs`: channels
    of each branch's maps.
    """

    def __init__(self, inputs: int, hidden: Sequence[tuple[int, int]], outputs: dict[str, int], suffix: str) -> None:
        """`hidden`: channels and kernel of all convolutions but the last, which has kernel 1."""
        super().__init__()
        self.names = {branch: [f"conv{n}{suffix}_{branch}" for n in range(1, len(hidden) + 2)] for branch in outputs}
        for branch, maps in outputs.items():
            width = inputs
            for name, (channels, kernel) in zip(self.names[branch], (*hidden, (maps, 1)), strict=True):
                self.add_module(name, conv(width, channels, kernel))
                width = channels

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, inputs, h, w) -> pafs (B, num_pafs, h, w), heatmaps (B, num_heatmaps, h, w)."""
        return self._branch(PAF_BRANCH, features), self._branch(HEATMAP_BRANCH, features)

    def _branch(self, branch: str, features: Tensor) -> Tensor:
        *hidden, last = (getattr(self, name) for name in self.names[branch])
        for convolution in hidden:
            features = convolution(features).relu_()
        return last(features)


class OpenPose(nn.Module):
    """OpenPose. Counts of maps come from the skeleton: `num_heatmaps` with background, `num_pafs`.

    `vgg_with_bn`: batch normalisation after every convolution of the trunk.
    """

    def __init__(self, num_heatmaps: int, num_pafs: int, vgg_with_bn: bool = False) -> None:
        super().__init__()
        outputs = {PAF_BRANCH: num_pafs, HEATMAP_BRANCH: num_heatmaps}
        self.base = Base(vgg_with_bn)
        first = [(FEATURES, 3)] * 3 + [(FIRST_STAGE_HIDDEN, 1)]
        self.stage_1 = Stage(FEATURES, first, outputs, "_CPM")
        for number in range(2, NUM_STAGES + 1):
            refining = [(FEATURES, 7)] * 5 + [(FEATURES, 1)]
            self.add_module(f"stage_{number}", Stage(FEATURES + sum(outputs.values()), refining, outputs, ""))
        initialise(self)

    def forward(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Maps of every stage, the best last: (6 pafs, 6 heatmaps).

        `images`: (B, 3, H, W) float, BGR, pixel / 255 - 0.5. Maps: (B, num_pafs or num_heatmaps, ceil(H / 8),
        ceil(W / 8)) each, without activation.
        """
        features = self.base(images)
        stages = [getattr(self, f"stage_{number}") for number in range(1, NUM_STAGES + 1)]
        pafs, heatmaps = map(list, zip(stages[0](features), strict=True))
        for stage in stages[1:]:
            maps = stage(torch.cat([pafs[-1], heatmaps[-1], features], dim=1))
            pafs.append(maps[0])
            heatmaps.append(maps[1])
        return pafs, heatmaps


def conv(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    """A convolution of stride 1 that keeps the size, its weights not yet set: `initialise` sets all of them."""
    return nn.utils.skip_init(nn.Conv2d, inputs, outputs, kernel, padding=kernel // 2)


def initialise(model: OpenPose) -> None:
    """Sets the weights of all convolutions, as MindSpore 1.x and so as published: N(0, 0.01) and biases 0.

    The trunk alone is drawn from He's uniform distribution (2015, arXiv:1502.01852): N(0, 0.01) leaves it without
    signal (outputs near 1e-11). Its weights matter only where no VGG19 file is given.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.bias)
            if name.startswith("base.vgg_base."):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            else:
                nn.init.normal_(layer.weight, std=CPM_STD)
