# SPDX-License-Identifier: Apache-2.0
"""The networks of MIPNet (Khirodkar et al. 2021, arXiv:2101.11223): HRNet and ResNet, plain or gated.

A gate weighs the channels of a feature map by squeeze and excitation, and in the multi-instance modulation block
(paper, section 3.2) by lambda too, which says which of the people in the box is meant: 1 the one whose box it is, 0
the other. What comes before the first lambda gate does not depend on lambda: `trunk` computes it once for all.
State-dict keys are the original's; `test/test_model.py` holds them.
Input: (B, 3, H, W) float; output: heatmaps (B, num_joints, H / 4, W / 4), without activation.
"""

from collections.abc import Sequence

from common.cli import UserError
from common.topdown.hrnet import HRNet, Stage
from common.topdown.resnet import ResNet, blocks_of, deconvolutions

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

STRIDE = 4  # input pixels a map cell
HRNET_FIRST_BLOCKS = 4
REDUCTION = 4  # of the channels inside a gate
LAMBDA_LENGTH = 2  # a lambda vector is (lambda, 1 - lambda)
POSITIONS = (1, 2, 3, 4)  # MODEL.SE_MODULES: in front of stages 2, 3, 4 and behind 4 (HRNet), of layers 1 to 4 (ResNet)
PLAIN, SE, LAMBDA, TWO_HEADS = "", "_se", "_se_lambda", "_multi_task_lambda"
VARIANTS = {f"pose_hrnet{variant}": variant for variant in (PLAIN, SE, LAMBDA, TWO_HEADS)} | {
    f"pose_resnet{variant}": variant for variant in (PLAIN, SE, LAMBDA)
}  # of MODEL.NAME


def lambda_vectors(values: Tensor) -> Tensor:
    """(N,) lambdas of 0 to 1 -> (N, 2) float32: lambda and 1 - lambda, as the networks take them."""
    values = values.float()
    return torch.stack([values, 1 - values], dim=1)


def check_lambdas(lambdas: Tensor | None, rows: int) -> Tensor:
    """Raises UserError where lambda is missing, or is not one vector of two a row; an exporter's trace has no sizes."""
    if lambdas is not None and (torch.jit.is_tracing() or lambdas.shape == (rows, LAMBDA_LENGTH)):
        return lambdas
    found = "none" if lambdas is None else list(lambdas.shape)
    raise UserError(f"lambda: {found} given, [{rows}, {LAMBDA_LENGTH}] is needed: (lambda, 1 - lambda) of each image")


class Gate(nn.Module):
    """Weighs channels: by the image (SE), and by lambda (MIMB)."""

    def __init__(self, channels: int, with_lambda: bool) -> None:
        super().__init__()
        hidden = channels // REDUCTION
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, channels, bias=False),
            nn.Sigmoid(),
        )
        self.fc_lambda = lambda_layers(channels, hidden) if with_lambda else None

    def forward(self, features: Tensor, lambdas: Tensor | None) -> Tensor:
        """(B, channels, h, w), (B, 2) or None -> (B, channels, h, w)."""
        weights = self.fc(features.mean(dim=(2, 3)))
        if self.fc_lambda is not None:
            weights = weights * self.fc_lambda(lambdas)
        return features * weights[:, :, None, None]


def lambda_layers(channels: int, hidden: int) -> nn.Sequential:
    """lambda vector -> a weight for each channel."""
    return nn.Sequential(
        nn.Linear(LAMBDA_LENGTH, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, channels),
        nn.Sigmoid(),
    )


class Gates(nn.Module):
    """One gate a branch."""

    def __init__(self, channels: Sequence[int], with_lambda: bool) -> None:
        super().__init__()
        self.se_layers = nn.ModuleList(Gate(width, with_lambda) for width in channels)

    def forward(self, branches: list[Tensor], lambdas: Tensor | None) -> list[Tensor]:
        """Branch i: (B, channels[i], ...), in and out."""
        return [gate(branch, lambdas) for gate, branch in zip(self.se_layers, branches, strict=True)]


class GatedNetwork(nn.Module):
    """What both families share: parts in turn with gates between, cut in two where lambda first matters.

    A family gives `begin`, (B, 3, H, W) -> the branches at position 1; `part`, what stands behind the gate of a
    position; `finish`, branches behind the last position -> heatmaps; it calls `add_gates` last: there its keys belong.
    """

    GATE_NAME: str
    variant: str
    uses_lambda: bool
    cut: int  # the first position whose gate takes lambda; behind the last where none does

    def add_gates(self, variant: str, se_modules: Sequence[bool], channels: Sequence[Sequence[int]]) -> None:
        """Registers a gate at each chosen position; `channels`: those of the branches at every position."""
        if len(se_modules) != len(POSITIONS):
            raise UserError(f"MODEL.SE_MODULES {list(se_modules)}: give true or false for each of {len(POSITIONS)}")
        chosen = [p for p in POSITIONS if se_modules[p - 1]] if variant in (SE, LAMBDA) else []
        for position in chosen:
            gates = Gates(channels[position - 1], with_lambda=variant == LAMBDA)
            setattr(self, self.GATE_NAME.format(position), gates)
        self.variant, self.uses_lambda = variant, variant in (LAMBDA, TWO_HEADS)
        self.cut = min(chosen, default=POSITIONS[-1] + 1) if variant == LAMBDA else POSITIONS[-1] + 1

    def _walk(self, features: list[Tensor], positions: range, lambdas: Tensor | None) -> list[Tensor]:
        for position in positions:
            gates = getattr(self, self.GATE_NAME.format(position), None)
            features = features if gates is None else gates(features, lambdas)
            features = self.part(position, features)
        return features

    def trunk(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> branches (B, ...): all that does not depend on lambda."""
        return self._walk(self.begin(images), range(POSITIONS[0], self.cut), None)

    def head(self, features: list[Tensor], lambdas: Tensor | None = None) -> Tensor:
        """What `trunk` returned and (B, 2) lambda vectors -> heatmaps. Raises UserError for other lambdas."""
        if self.uses_lambda:
            lambdas = check_lambdas(lambdas, features[0].shape[0])
        elif lambdas is not None:
            raise UserError(f"lambda: {type(self).__name__}{self.variant} takes none")
        return self.finish(self._walk(features, range(self.cut, POSITIONS[-1] + 1), lambdas), lambdas)

    def forward(self, images: Tensor, lambdas: Tensor | None = None) -> Tensor:
        """Heatmaps (N, num_joints, H / 4, W / 4) of images (B, 3, H, W) and lambda vectors (N, 2), N a multiple of B.

        Row b + B * i is for image b. Where N is more than B the trunk runs once and the head on all rows, which
        equals the whole network on the repeated images to the last bit, but for the running variances of the trunk,
        which divide by n - 1 for another n. Training takes N = 2B, lambda and 1 - lambda, so that the batch
        normalisation over lambda vectors sees both.
        """
        features = self.trunk(images)
        return self.head(features if lambdas is None else repeated(features, lambdas), lambdas)


def repeated(features: list[Tensor], lambdas: Tensor) -> list[Tensor]:
    """Branches (B, ...) -> (N, ...) for N lambda vectors: the batch again and again. A trace has N = B."""
    times = 1 if torch.jit.is_tracing() else lambdas.shape[0] // features[0].shape[0]
    return [torch.cat([branch] * times) for branch in features] if times > 1 else features


class PoseHRNet(GatedNetwork, HRNet):
    """HRNet with gates between its stages."""

    GATE_NAME = "stage{}_se"

    def __init__(self, cfg: CfgNode, num_joints: int) -> None:
        """`cfg`: the section MODEL of a yaml config."""
        stages, kernel = stages_of(cfg.EXTRA), cfg.EXTRA.FINAL_CONV_KERNEL
        HRNet.__init__(self, cfg.EXTRA.STEM_INPLANES, HRNET_FIRST_BLOCKS, stages)
        width, variant = stages[-1].channels[0], VARIANTS[cfg.NAME]
        self.final_layer = final_convolution(width, num_joints, kernel)
        if variant == TWO_HEADS:
            self.final_layer_other = final_convolution(width, num_joints, kernel)
        self.add_gates(variant, cfg.SE_MODULES, [*(stage.channels for stage in stages), (width,)])

    def part(self, position: int, features: list[Tensor]) -> list[Tensor]:
        """See GatedNetwork: stages 2 to 4, then nothing."""
        return features if position == POSITIONS[-1] else self.stage(position + 1, features)

    def finish(self, features: list[Tensor], lambdas: Tensor | None) -> Tensor:
        """See GatedNetwork. Two heads are mixed by lambda: `final_layer` for 1, `final_layer_other` for 0."""
        maps = self.final_layer(features[0])
        if self.variant != TWO_HEADS or lambdas is None:
            return maps
        share = lambdas[:, 0, None, None, None]
        return maps * share + self.final_layer_other(features[0]) * (1 - share)


def stages_of(extra: CfgNode) -> list[Stage]:
    """HRNet's stages 2 to 4, of MODEL.EXTRA. Raises UserError where they do not follow each other."""
    sections = {number: extra[f"STAGE{number}"] for number in (2, 3, 4)}
    channels = [section.NUM_CHANNELS for section in sections.values()]
    if any(before != after[: len(before)] for before, after in zip(channels, channels[1:], strict=False)):
        raise UserError(f"NUM_CHANNELS {channels}: the branches of a stage are those of the one before, and one more")
    for number, section in sections.items():
        if len(set(section.NUM_BLOCKS)) != 1:
            place = f"MODEL.EXTRA.STAGE{number}.NUM_BLOCKS"
            raise UserError(f"{place} is {list(section.NUM_BLOCKS)}: the same number is needed for each branch")
    return [Stage(one.NUM_MODULES, one.NUM_BLOCKS[0], one.NUM_CHANNELS) for one in sections.values()]


class PoseResNet(GatedNetwork, ResNet):
    """SimpleBaseline (Xiao et al. 2018, arXiv:1804.06208) with gates in front of its layers."""

    GATE_NAME = "layer{}_se"

    def __init__(self, cfg: CfgNode, num_joints: int) -> None:
        """`cfg`: the section MODEL of a yaml config."""
        extra = cfg.EXTRA
        block, counts = blocks_of(extra.NUM_LAYERS)
        ResNet.__init__(self, (block,) * len(counts), counts, extra.STEM_INPLANES)
        self.deconv_layers = deconvolutions(self.inputs[-1], extra.NUM_DECONV_FILTERS, extra.NUM_DECONV_KERNELS)
        self.final_layer = final_convolution(extra.NUM_DECONV_FILTERS[-1], num_joints, extra.FINAL_CONV_KERNEL)
        self.add_gates(VARIANTS[cfg.NAME], cfg.SE_MODULES, [(width,) for width in self.inputs])

    def begin(self, images: Tensor) -> list[Tensor]:
        """See GatedNetwork."""
        return [self.stem(images)]

    def part(self, position: int, features: list[Tensor]) -> list[Tensor]:
        """See GatedNetwork: layers 1 to 4."""
        return [self.layer(position, features[0])]

    def finish(self, features: list[Tensor], lambdas: Tensor | None) -> Tensor:
        """See GatedNetwork."""
        return self.final_layer(self.deconv_layers(features[0]))


def final_convolution(channels: int, num_joints: int, kernel: int) -> nn.Conv2d:
    """The convolution that makes the heatmaps. Raises UserError for a kernel that would change their size."""
    if kernel % 2 == 0:
        raise UserError(f"FINAL_CONV_KERNEL {kernel}: must be odd")
    return nn.Conv2d(channels, num_joints, kernel, padding=kernel // 2)


def build(cfg: CfgNode, num_joints: int) -> PoseHRNet | PoseResNet:
    """The network of the section MODEL of a yaml config. Raises UserError for impossible values."""
    family = PoseHRNet if cfg.NAME.startswith("pose_hrnet") else PoseResNet
    return family(cfg, num_joints)
