# SPDX-License-Identifier: Apache-2.0
"""Trunks that others trained on ImageNet, by the names in common/weights.json."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import common.train.checkpoint
from common.train.checkpoint import CheckpointError, Match

from torch import nn

RANDOM = "none"  # in place of a file: begin at random, said aloud
EVERY_LAYER = ("*",)

RESNETS = {
    18: "resnet18-f37072fd.pth",
    34: "resnet34-b627a593.pth",
    50: "resnet50-0676ba61.pth",
    101: "resnet101-63fe2227.pth",
    152: "resnet152-394f9c45.pth",
}
HRNETS = {32: "hrnet_w32-36af842e.pth", 48: "hrnet_w48-8ef0771d.pth"}  # by width

# classifiers and their feeders, and the sums of HRNet's last module that heatmaps do not need
_CLASSIFIER = re.compile(
    r"(fc|classifier|incre_modules|downsamp_modules|final_layer)\.|stage4\.\d+\.fuse_layers\.[1-3]\."
)


def locate_backbone(name: str, folders: tuple[Path, ...]) -> Path:
    """ImageNet weights by path or published name, see `common.train.published.locate`. Raises CheckpointError."""
    from common.train import published  # a training that goes on has its weights

    return published.locate(name, published.IMAGENET, folders)


def load_backbone(
    backbone: nn.Module,
    content: Mapping[str, Any],
    source: Path,
    own: str,
    unused: str = r"$.",
    layers: Sequence[str] = EVERY_LAYER,
) -> Match:
    """Copies ImageNet weights into a backbone, and reports it.

    `own`: pattern of the names in the backbone that no such file has; `unused`: of names in the file, beside the
    classifier, that the backbone need not have. `layers`: first parts of the names to take (PRETRAINED_LAYERS of the
    published configurations). Raises CheckpointError for the weights of another depth, width or network.
    """
    found = common.train.checkpoint.state_dict(content)
    chosen = {
        name: tensor
        for name, tensor in common.train.checkpoint.by_names_of(backbone.state_dict(), found).items()
        if tuple(layers) == EVERY_LAYER or name.split(".")[0] in layers
    }
    match = common.train.checkpoint.load_matching(backbone, chosen, source)
    lacking = [
        name
        for name in (*match.missing, *match.reshaped)
        if not (re.search(own, name) or name.endswith("num_batches_tracked"))
        and (tuple(layers) == EVERY_LAYER or name.split(".")[0] in layers)
    ]
    left = [name for name in match.unused if not (_CLASSIFIER.match(name) or re.search(unused, name))]
    if lacking or left:
        raise CheckpointError(f"{source}: weights of another network, depth or width: {match}")
    return match
