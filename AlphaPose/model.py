# SPDX-License-Identifier: Apache-2.0
"""The networks of AlphaPose: FastPose, FastPose_DUC, SimplePose and HRNet.

FastPose (Fang et al. 2022, arXiv:2211.03375): a ResNet whose layers begin with squeeze and excitation (Hu et al.
2018, arXiv:1709.01507), then pixel shuffles (Shi et al. 2016, arXiv:1609.05158) back to a quarter of the input. The
state-dict keys are the original's, so its checkpoints load; `test/test_model.py` holds them.
Input of all: (B, 3, H, W) float; output: heatmaps (B, num_joints, H / 4, W / 4), without activation. A network for
the loss L1JointRegression is the same network: its coordinates are an integral over these maps, see `loss.py`.
All but HRNet are modules one after the other, in the order in which they are named.
"""

from collections import OrderedDict
from collections.abc import Sequence

from common.cli import UserError
from common.topdown.hrnet import HRNet, Stage
from common.topdown.resnet import Block, Bottleneck, ResNet, blocks_of, convolution, deconvolutions

from easydict import EasyDict
from torch import Tensor, nn

KERNEL = 3  # of the deformable convolution; its offsets are (dy, dx) of each tap
STEM = 64  # channels behind the stem of every backbone
DECONV_FILTERS = (256, 256, 256)
HRNET_STAGES = Stage(1, 4, (32, 64)), Stage(4, 4, (32, 64, 128)), Stage(3, 4, (32, 64, 128, 256))
NO_DCN = (False, False, False, False)
SHUFFLED_LAYERS = 50  # the published FastPose_DUC of this depth strides by folding, that of 152 layers does not
DUC_CONVOLUTIONS = (4, 2, 1)  # MODEL.STAGE{1,2,3}.NUM_CONV


class SqueezeExcitation(nn.Module):
    """Weighs channels by the whole image; no reduction between the two layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(inplace=True), nn.Linear(channels, channels), nn.Sigmoid()
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, h, w) -> the same size."""
        return features * self.fc(features.mean(dim=(2, 3)))[:, :, None, None]


class FastPoseBlock(Bottleneck):
    """A bottleneck; the first of a layer weighs its residual by squeeze and excitation."""

    def build(self, inputs: int, planes: int, stride: int, begins: bool) -> None:
        super().build(inputs, planes, stride, begins)
        self.se = SqueezeExcitation(planes * self.expansion) if begins else nn.Identity()

    def residual(self, features: Tensor) -> Tensor:
        return self.se(super().residual(features))


class ShuffleBlock(FastPoseBlock):
    """Strides by folding 2x2 cells into channels, so that no cell is skipped."""

    def build_spatial(self, planes: int, stride: int) -> None:
        """Keys conv2.1 where it strides: the folding before it has no weights."""
        super().build_spatial(planes, stride)
        if stride > 1:
            self.conv2 = nn.Sequential(nn.PixelUnshuffle(stride), convolution(planes * stride**2, planes, 3))


class DeformableBlock(FastPoseBlock):
    """Its 3x3 convolution samples at learned offsets (Dai et al. 2017, arXiv:1703.06211); they begin at zero."""

    def build_spatial(self, planes: int, stride: int) -> None:
        """Keys conv2_offset and conv2. Raises UserError where torchvision is not installed."""
        try:
            from torchvision.ops import DeformConv2d  # an optional dependency
        except ImportError as error:
            cure = "deformable convolution needs torchvision (pip install torchvision, of torch's version)"
            raise UserError(f"STAGE_WITH_DCN: {cure}") from error
        self.conv2_offset = nn.Conv2d(planes, 2 * KERNEL * KERNEL, KERNEL, stride, KERNEL // 2)
        nn.init.zeros_(self.conv2_offset.weight)
        nn.init.zeros_(self.conv2_offset.bias)
        self.conv2 = DeformConv2d(planes, planes, KERNEL, stride, KERNEL // 2, bias=False)

    def spatial(self, features: Tensor) -> Tensor:
        return self.conv2(features, self.conv2_offset(features))


def upsampling_convolution(inputs: int, outputs: int) -> nn.Sequential:
    """Dense upsampling convolution, DUC (Wang et al. 2018, arXiv:1702.08502): channels become 2x2 cells.

    (B, inputs, h, w) -> (B, outputs, 2h, 2w).
    """
    conv, bn = convolution(inputs, 4 * outputs, 3), nn.BatchNorm2d(4 * outputs)
    parts = {"conv": conv, "bn": bn, "relu": nn.ReLU(inplace=True), "pixel_shuffle": nn.PixelShuffle(2)}
    return nn.Sequential(OrderedDict(parts))


def se_resnet(num_layers: int, blocks: Sequence[Block]) -> ResNet:
    """SE-ResNet with the `blocks` of its four layers. Raises UserError for 18 and 34 layers, as of the original."""
    block, counts = blocks_of(num_layers)
    if block is not Bottleneck:
        raise UserError(f"NUM_LAYERS {num_layers}: FastPose is built on 50, 101 or 152 layers")
    return ResNet(blocks, counts, STEM)


class FastPose(nn.Sequential):
    """SE-ResNet, a pixel shuffle, two DUC, one convolution.

    `conv_dim`: channels that enter the last convolution. `deformable`: layers with deformable convolution.
    """

    def __init__(
        self, num_joints: int, num_layers: int = 50, conv_dim: int = 128, deformable: Sequence[bool] = NO_DCN
    ) -> None:
        super().__init__()
        self.preact = se_resnet(num_layers, [DeformableBlock if layer else FastPoseBlock for layer in deformable])
        self.suffle1 = nn.PixelShuffle(2)  # the original's name
        self.duc1 = upsampling_convolution(512, 256)
        self.duc2 = upsampling_convolution(256, conv_dim)
        self.conv_out = nn.Conv2d(conv_dim, num_joints, 3, padding=1)


def shuffled_convolutions(inputs: int, count: int) -> nn.Sequential:
    """A pixel shuffle, then `count` convolutions with batch normalisation and ReLU; the last one doubles the width."""
    width = inputs // 4
    modules: list[nn.Module] = [nn.PixelShuffle(2)]
    for outputs in [width] * (count - 1) + [2 * width]:
        modules += [convolution(width, outputs, 3), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*modules)


class FastPoseDUC(nn.Sequential):
    """SE-ResNet, three pixel shuffles with convolutions behind each, one convolution."""

    def __init__(self, num_joints: int, num_layers: int = 50) -> None:
        super().__init__()
        block = ShuffleBlock if num_layers == SHUFFLED_LAYERS else FastPoseBlock
        self.preact = se_resnet(num_layers, (block,) * len(ResNet.STRIDES))
        width = self.preact.inputs[-1]
        for number, count in enumerate(DUC_CONVOLUTIONS, 1):
            self.add_module(f"duc{number}", shuffled_convolutions(width, count))
            width //= 2
        self.conv_out = nn.Conv2d(width, num_joints, 3, padding=1)


class SimplePose(nn.Sequential):
    """SimpleBaseline (Xiao et al. 2018, arXiv:1804.06208): a plain ResNet and three deconvolutions."""

    def __init__(self, num_joints: int, num_layers: int = 50) -> None:
        super().__init__()
        block, counts = blocks_of(num_layers)
        self.preact = ResNet((block,) * len(counts), counts, STEM)
        self.deconv_layers = deconvolutions(self.preact.inputs[-1], DECONV_FILTERS)
        self.final_layer = nn.Conv2d(DECONV_FILTERS[-1], num_joints, 1)


class PoseHighResolutionNet(HRNet):
    """HRNet-W32 (Sun et al. 2019, arXiv:1902.09212) and one convolution."""

    def __init__(self, num_joints: int) -> None:
        super().__init__(STEM, HRNET_STAGES)
        self.final_layer = nn.Conv2d(HRNET_STAGES[0].channels[0], num_joints, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, num_joints, H / 4, W / 4)."""
        return self.final_layer(super().forward(images))


def build(cfg: EasyDict, num_joints: int) -> nn.Module:
    """The network that MODEL of a yaml config names, `cfg`.

    Raises UserError for FastPose on too few layers, and for deformable convolution without torchvision.
    """
    if cfg.TYPE == "FastPose":
        return FastPose(num_joints, cfg.NUM_LAYERS, cfg.CONV_DIM, cfg.STAGE_WITH_DCN)
    if cfg.TYPE == "PoseHighResolutionNet":
        return PoseHighResolutionNet(num_joints)
    return {"FastPose_DUC": FastPoseDUC, "SimplePose": SimplePose}[cfg.TYPE](num_joints, cfg.NUM_LAYERS)


def initialise(model: nn.Module) -> None:
    """Initialises as the original does before ImageNet weights are loaded: the rest keeps torch's defaults.

    FastPose: its last convolution ~ N(0, 0.001). SimplePose: also its deconvolutions. HRNet: all.
    """
    for name, module in model.named_modules():
        is_small = name in ("conv_out", "final_layer") or isinstance(module, nn.ConvTranspose2d)
        if is_small or (isinstance(model, HRNet) and isinstance(module, nn.Conv2d)):
            nn.init.normal_(module.weight, std=0.001)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
