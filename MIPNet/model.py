# SPDX-License-Identifier: Apache-2.0
"""The networks of MIPNet (Khirodkar et al. 2021, arXiv:2101.11223): HRNet and ResNet, plain or with lambda.

A gate, the paper's multi-instance modulation block (section 3.2), weighs the channels of a feature map by squeeze and
excitation, and by lambda, which selects a person in the box: 1 the one whose box it is, 0 the other.
What comes before the first gate does not depend on lambda: `trunk` computes it once for all.
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
REDUCTION = 4  # of the channels inside a gate
LAMBDA_LENGTH = 2  # a lambda vector is (lambda, 1 - lambda)
POSITIONS = (1, 2, 3, 4)  # MODEL.SE_MODULES: in front of stages 2, 3, 4 and behind 4 (HRNet), of layers 1 to 4 (ResNet)
LAMBDA = "_se_lambda"  # ending of MODEL.NAME
NAMES = ("pose_hrnet", "pose_hrnet_se_lambda", "pose_resnet", "pose_resnet_se_lambda")  # MODEL.NAME


def lambda_vectors(values: Tensor) -> Tensor:
    """(N,) lambdas of 0 to 1 -> (N, 2) float32: lambda and 1 - lambda, as the networks take them."""
    values = values.float()
    return torch.stack([values, 1 - values], dim=1)


class Gate(nn.Module):
    """Weighs channels by the image, and by lambda."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // REDUCTION
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, channels, bias=False),
            nn.Sigmoid(),
        )
        self.fc_lambda = nn.Sequential(
            nn.Linear(LAMBDA_LENGTH, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, channels),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor, lambdas: Tensor) -> Tensor:
        """(B, channels, h, w), (B, 2) -> (B, channels, h, w)."""
        weights = self.fc(features.mean(dim=(2, 3))) * self.fc_lambda(lambdas)
        return features * weights[:, :, None, None]


class GatedNetwork(nn.Module):
    """What both families share: parts in turn with gates between, cut in two at the first gate.

    A family gives `begin`, (B, 3, H, W) -> the branches at position 1; `part`, what follows the gate of a
    position; `finish`, branches after the last position -> heatmaps; it calls `add_gates` last, for the order of keys.
    """

    GATE_NAME: str
    uses_lambda: bool
    cut: int  # the first position that has a gate; behind the last where none has

    def add_gates(self, cfg: CfgNode, channels: Sequence[Sequence[int]]) -> None:
        """Registers a gate at each position of SE_MODULES; `channels`: those of the branches at every position."""
        if len(cfg.SE_MODULES) != len(POSITIONS):
            raise UserError(f"MODEL.SE_MODULES {list(cfg.SE_MODULES)}: give true or false for each of {len(POSITIONS)}")
        self.uses_lambda = cfg.NAME.endswith(LAMBDA)
        chosen = [position for position in POSITIONS if self.uses_lambda and cfg.SE_MODULES[position - 1]]
        for position in chosen:
            gates = nn.ModuleList(map(Gate, channels[position - 1]))  # one a branch
            setattr(self, self.GATE_NAME.format(position), nn.ModuleDict({"se_layers": gates}))
        self.cut = min(chosen, default=POSITIONS[-1] + 1)

    def trunk(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> branches (B, ...): all that does not depend on lambda."""
        features = self.begin(images)
        for position in range(POSITIONS[0], self.cut):
            features = self.part(position, features)
        return features

    def head(self, features: list[Tensor], lambdas: Tensor | None = None) -> Tensor:
        """What `trunk` returned and (B, 2) lambda vectors -> heatmaps (B, num_joints, H / 4, W / 4)."""
        for position in range(self.cut, POSITIONS[-1] + 1):
            if gates := getattr(self, self.GATE_NAME.format(position), None):
                features = [gate(branch, lambdas) for gate, branch in zip(gates["se_layers"], features, strict=True)]
            features = self.part(position, features)
        return self.finish(features)

    def forward(self, images: Tensor, lambdas: Tensor | None = None) -> Tensor:
        """Heatmaps (N, num_joints, H / 4, W / 4) of images (B, 3, H, W) and lambda vectors (N, 2), N a multiple of B.

        Row b + B * i is for image b. Where N is more than B the trunk runs once and the head on all rows, which
        equals the whole network on the repeated images to the last bit, but for the running variances of the trunk,
        which divide by n - 1 for another n. Training takes N = 2B, lambda and 1 - lambda, so that the batch
        normalisation over lambda vectors sees both.
        """
        features = self.trunk(images)
        if lambdas is not None and not torch.jit.is_tracing():  # a trace has N = B
            features = [torch.cat([branch] * (len(lambdas) // len(images))) for branch in features]
        return self.head(features, lambdas)


class PoseHRNet(GatedNetwork, HRNet):
    """HRNet with gates between its stages."""

    GATE_NAME = "stage{}_se"

    def __init__(self, cfg: CfgNode, num_joints: int) -> None:
        """`cfg`: the section MODEL of a yaml config."""
        stages = [_stage_of(cfg.EXTRA[f"STAGE{number}"]) for number in (2, 3, 4)]
        HRNet.__init__(self, cfg.EXTRA.STEM_INPLANES, stages)
        width, kernel = stages[-1].channels[0], cfg.EXTRA.FINAL_CONV_KERNEL
        self.final_layer = nn.Conv2d(width, num_joints, kernel, padding=kernel // 2)
        self.add_gates(cfg, [*(stage.channels for stage in stages), (width,)])

    def part(self, position: int, features: list[Tensor]) -> list[Tensor]:
        """See GatedNetwork: stages 2 to 4, then nothing."""
        return features if position == POSITIONS[-1] else self.stage(position + 1, features)

    def finish(self, features: list[Tensor]) -> Tensor:
        """See GatedNetwork."""
        return self.final_layer(features[0])


def _stage_of(section: CfgNode) -> Stage:
    """Raises UserError where branches have different numbers of blocks."""
    if len(set(section.NUM_BLOCKS)) != 1:
        raise UserError(f"NUM_BLOCKS is {list(section.NUM_BLOCKS)}: the same number is needed for each branch")
    return Stage(section.NUM_MODULES, section.NUM_BLOCKS[0], section.NUM_CHANNELS)


class PoseResNet(GatedNetwork, ResNet):
    """SimpleBaseline (Xiao et al. 2018, arXiv:1804.06208) with gates in front of its layers."""

    GATE_NAME = "layer{}_se"

    def __init__(self, cfg: CfgNode, num_joints: int) -> None:
        """`cfg`: the section MODEL of a yaml config."""
        extra, kernel = cfg.EXTRA, cfg.EXTRA.FINAL_CONV_KERNEL
        block, counts = blocks_of(extra.NUM_LAYERS)
        ResNet.__init__(self, (block,) * len(counts), counts, extra.STEM_INPLANES)
        self.deconv_layers = deconvolutions(self.inputs[-1], extra.NUM_DECONV_FILTERS)
        self.final_layer = nn.Conv2d(extra.NUM_DECONV_FILTERS[-1], num_joints, kernel, padding=kernel // 2)
        self.add_gates(cfg, [(width,) for width in self.inputs])

    def begin(self, images: Tensor) -> list[Tensor]:
        """See GatedNetwork."""
        return [self.stem(images)]

    def part(self, position: int, features: list[Tensor]) -> list[Tensor]:
        """See GatedNetwork: layers 1 to 4."""
        return [self.layer(position, features[0])]

    def finish(self, features: list[Tensor]) -> Tensor:
        """See GatedNetwork."""
        return self.final_layer(self.deconv_layers(features[0]))


def build(cfg: CfgNode, num_joints: int) -> PoseHRNet | PoseResNet:
    """The network of the section MODEL of a yaml config. Raises UserError for impossible values."""
    return (PoseHRNet if cfg.NAME.startswith("pose_hrnet") else PoseResNet)(cfg, num_joints)
