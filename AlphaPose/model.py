# SPDX-License-Identifier: Apache-2.0
"""The networks of AlphaPose: FastPose, FastPose_DUC, SimplePose and HRNet.

FastPose (Fang et al. 2022, arXiv:2211.03375): a ResNet whose layers begin with squeeze and excitation (Hu et al.
2018, arXiv:1709.01507), then pixel shuffles (Shi et al. 2016, arXiv:1609.05158) back to a quarter of the input. The
state-dict keys are the original's, so its checkpoints load; `test/test_model.py` holds them.
Input of all: (B, 3, H, W) float; output: heatmaps (B, num_joints, H / 4, W / 4), without activation. A network for
the loss L1JointRegression is the same network: its coordinates are an integral over these maps, see `loss.py`.
"""

import importlib
from collections.abc import Callable, Sequence

from common.cli import UserError
from common.topdown.hrnet import HRNet, standard_stages
from common.topdown.resnet import BOTTLENECK_BLOCKS, Block, Bottleneck, ResNet, blocks_of, convolution, deconvolutions

from easydict import EasyDict
from torch import Tensor, nn

STRIDE = 4  # input pixels a map cell
KERNEL = 3  # of the deformable convolution; its offsets are (dy, dx) of each tap
STEM = 64  # channels behind the stem of every backbone
FASTPOSE_CHANNELS = (512, 256)  # enter duc1 and duc2
CONV_DIMS = (128, 256)  # MODEL.CONV_DIM: channels that enter the last convolution of FastPose
DECONV_FILTERS, DECONV_KERNELS = (256, 256, 256), (4, 4, 4)
HRNET_WIDTH, HRNET_FIRST_BLOCKS = 32, 4
NO_DCN = (False, False, False, False)
SHUFFLED_LAYERS = 50  # the published FastPose_DUC of this depth strides by folding, that of 152 layers does not
DUC_CONVOLUTIONS = (4, 2, 1)  # MODEL.STAGE{1,2,3}.NUM_CONV as published


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
        """See common.topdown.resnet.ResidualBlock."""
        super().build(inputs, planes, stride, begins)
        self.se = SqueezeExcitation(planes * self.expansion) if begins else nn.Identity()

    def residual(self, features: Tensor) -> Tensor:
        """See common.topdown.resnet.ResidualBlock."""
        return self.se(super().residual(features))


class ShuffleBlock(FastPoseBlock):
    """Strides by folding 2x2 cells into channels, so that no cell is skipped."""

    def build_spatial(self, planes: int, stride: int) -> None:
        """Keys conv2.1: the folding before it has no weights."""
        if stride == 1:
            return super().build_spatial(planes, stride)
        folded = planes * stride * stride
        self.conv2 = nn.Sequential(nn.PixelUnshuffle(stride), convolution(folded, planes, 3))
        return None


class DeformableConvolution(nn.Module):
    """3x3 convolution that looks where `offsets` point (Dai et al. 2017, arXiv:1703.06211); torchvision's operation."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.weight = convolution(channels, channels, KERNEL, stride).weight
        self.stride = stride

    def forward(self, features: Tensor, offsets: Tensor) -> Tensor:
        """(B, C, h, w), offsets (B, 18, h / stride, w / stride) as dy, dx of each tap -> (B, C, h / stride, ...)."""
        operation = deformable_operation()
        return operation(features, offsets, self.weight, stride=self.stride, padding=KERNEL // 2)


class DeformableBlock(FastPoseBlock):
    """Its 3x3 convolution is deformable; the offsets begin at zero, where it is an ordinary one."""

    def build_spatial(self, planes: int, stride: int) -> None:
        """Keys conv2_offset and conv2."""
        self.conv2_offset = nn.Conv2d(planes, 2 * KERNEL * KERNEL, KERNEL, stride, KERNEL // 2)
        nn.init.zeros_(self.conv2_offset.weight)
        nn.init.zeros_(self.conv2_offset.bias)
        self.conv2 = DeformableConvolution(planes, stride)

    def spatial(self, features: Tensor) -> Tensor:
        """See common.topdown.resnet.Bottleneck."""
        return self.conv2(features, self.conv2_offset(features))


def deformable_operation() -> Callable[..., Tensor]:
    """torchvision's deform_conv2d. Raises UserError where torchvision is not installed."""
    try:
        return importlib.import_module("torchvision.ops").deform_conv2d
    except ImportError as error:
        raise UserError(
            "STAGE_WITH_DCN: deformable convolution needs torchvision (pip install torchvision, of torch's version)"
        ) from error


class UpsamplingConvolution(nn.Module):
    """Dense upsampling convolution, DUC (Wang et al. 2018, arXiv:1702.08502): channels become 2x2 cells."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.conv = convolution(inputs, channels, 3)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.pixel_shuffle = nn.PixelShuffle(2)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, channels / 4, 2h, 2w)."""
        return self.pixel_shuffle(self.relu(self.bn(self.conv(features))))


def fastpose_backbone(num_layers: int, deformable: Sequence[bool] = NO_DCN, shuffled: bool = False) -> ResNet:
    """SE-ResNet of 50, 101 or 152 layers; its four layers with deformable convolution, or strides by folding.

    Raises UserError for 18 and 34, which the original names and cannot build either.
    """
    if num_layers not in BOTTLENECK_BLOCKS:
        raise UserError(f"NUM_LAYERS {num_layers}: FastPose is built on 50, 101 or 152 layers")
    if len(deformable) != len(ResNet.STRIDES):
        raise UserError(f"STAGE_WITH_DCN {list(deformable)}: give true or false for each of four layers")
    plain: Block = ShuffleBlock if shuffled else FastPoseBlock
    return ResNet(tuple(DeformableBlock if d else plain for d in deformable), BOTTLENECK_BLOCKS[num_layers], STEM)


class FastPose(nn.Module):
    """SE-ResNet, a pixel shuffle, two DUC, one convolution. `conv_dim`: channels that enter the last, 128 or 256."""

    def __init__(
        self, num_joints: int, num_layers: int = 50, conv_dim: int = 128, deformable: Sequence[bool] = NO_DCN
    ) -> None:
        super().__init__()
        if conv_dim not in CONV_DIMS:
            raise UserError(f"CONV_DIM {conv_dim}: FastPose has {' or '.join(map(str, CONV_DIMS))}")
        first, second = FASTPOSE_CHANNELS
        self.preact = fastpose_backbone(num_layers, deformable)
        self.suffle1 = nn.PixelShuffle(2)  # the original's name
        self.duc1 = UpsamplingConvolution(first, 4 * second)
        self.duc2 = UpsamplingConvolution(second, 4 * conv_dim)
        self.conv_out = nn.Conv2d(conv_dim, num_joints, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, num_joints, H / 4, W / 4)."""
        return self.conv_out(self.duc2(self.duc1(self.suffle1(self.preact(images)))))


def shuffled_convolutions(inputs: int, count: int) -> nn.Sequential:
    """A pixel shuffle, then `count` convolutions with batch normalisation and ReLU; the last one doubles the width."""
    width = inputs // 4
    modules: list[nn.Module] = [nn.PixelShuffle(2)]
    for number in range(count):
        outputs = 2 * width if number == count - 1 else width
        modules += [convolution(width, outputs, 3), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*modules)


class FastPoseDUC(nn.Module):
    """SE-ResNet, three pixel shuffles with convolutions behind each, one convolution.

    `shuffled`: the ResNet strides by folding; None: as published, with 50 layers, not with more. `counts`:
    convolutions behind each shuffle.
    """

    def __init__(
        self,
        num_joints: int,
        num_layers: int = 50,
        shuffled: bool | None = None,
        counts: Sequence[int] = DUC_CONVOLUTIONS,
    ) -> None:
        super().__init__()
        shuffled = num_layers == SHUFFLED_LAYERS if shuffled is None else shuffled
        if len(counts) != len(DUC_CONVOLUTIONS) or min(counts) < 1:
            raise UserError(f"NUM_CONV {list(counts)} of STAGE1, STAGE2, STAGE3: at least 1 each")
        self.preact = fastpose_backbone(num_layers, shuffled=shuffled)
        width = self.preact.inputs[-1]
        for number, count in enumerate(counts, 1):
            setattr(self, f"duc{number}", shuffled_convolutions(width, count))
            width //= 2
        self.conv_out = nn.Conv2d(width, num_joints, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, num_joints, H / 4, W / 4)."""
        return self.conv_out(self.duc3(self.duc2(self.duc1(self.preact(images)))))


class SimplePose(nn.Module):
    """SimpleBaseline (Xiao et al. 2018, arXiv:1804.06208): a plain ResNet and three deconvolutions."""

    def __init__(self, num_joints: int, num_layers: int = 50) -> None:
        super().__init__()
        block, counts = blocks_of(num_layers)
        self.preact = ResNet((block,) * len(counts), counts, STEM)
        self.deconv_layers = deconvolutions(self.preact.inputs[-1], DECONV_FILTERS, DECONV_KERNELS)
        self.final_layer = nn.Conv2d(DECONV_FILTERS[-1], num_joints, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, num_joints, H / 4, W / 4)."""
        return self.final_layer(self.deconv_layers(self.preact(images)))


class PoseHighResolutionNet(HRNet):
    """HRNet (Sun et al. 2019, arXiv:1902.09212) and one convolution."""

    def __init__(self, num_joints: int, width: int = HRNET_WIDTH) -> None:
        super().__init__(STEM, HRNET_FIRST_BLOCKS, standard_stages(width))
        self.final_layer = nn.Conv2d(width, num_joints, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, num_joints, H / 4, W / 4)."""
        return self.final_layer(super().forward(images))


def build(cfg: EasyDict, num_joints: int) -> nn.Module:
    """The network that MODEL of a yaml config names, `cfg`.

    Raises UserError for values that the network cannot have, and for deformable convolution without torchvision.
    """
    if cfg.TYPE == "FastPose":
        if any(cfg.STAGE_WITH_DCN):
            deformable_operation()
        return FastPose(num_joints, cfg.NUM_LAYERS, cfg.CONV_DIM, cfg.STAGE_WITH_DCN or NO_DCN)
    if cfg.TYPE == "FastPose_DUC":
        return FastPoseDUC(num_joints, cfg.NUM_LAYERS, counts=[cfg[f"STAGE{n}"].NUM_CONV for n in (1, 2, 3)])
    if cfg.TYPE == "SimplePose":
        return SimplePose(num_joints, cfg.NUM_LAYERS)
    return PoseHighResolutionNet(num_joints)


def backbone(model: nn.Module) -> nn.Module:
    """The part of a network that ImageNet weights go into."""
    return getattr(model, "preact", model)


def initialise(model: nn.Module) -> None:
    """What the original sets before ImageNet weights come in: the rest keeps torch's defaults.

    FastPose: its last convolution ~ N(0, 0.001). SimplePose: also its deconvolutions. HRNet: all.
    """
    for name, module in model.named_modules():
        is_head = not name.startswith("preact")
        if isinstance(module, nn.ConvTranspose2d) or (is_head and _begins_small(model, name, module)):
            nn.init.normal_(module.weight, std=0.001)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _begins_small(model: nn.Module, name: str, module: nn.Module) -> bool:
    whole = isinstance(model, PoseHighResolutionNet)
    return isinstance(module, nn.Conv2d) and (whole or name in ("conv_out", "final_layer"))
