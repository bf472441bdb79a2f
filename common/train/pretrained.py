# SPDX-License-Identifier: Apache-2.0
"""Weights that others trained: backbones from ImageNet, and published files by name."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import common.train.checkpoint
from common.train.checkpoint import CheckpointError, Match, Published

from torch import nn

RANDOM = "none"  # in place of a file: begin at random, said aloud
EVERY_LAYER = ("*",)

_TORCHVISION = "https://download.pytorch.org/models"
_OPENMMLAB = "https://download.openmmlab.com/mmpose/pretrain_models"  # the authors' own links are pages, not files
RESNETS = {
    18: "resnet18-f37072fd.pth",
    34: "resnet34-b627a593.pth",
    50: "resnet50-0676ba61.pth",
    101: "resnet101-63fe2227.pth",
    152: "resnet152-394f9c45.pth",
}
# the same weights under the names of older torchvision, which published configurations use
_OLD_RESNETS = (
    "resnet18-5c106cde.pth", "resnet34-333f7ec4.pth", "resnet50-19c8e357.pth", "resnet101-5d3b4d8f.pth",
    "resnet152-b121ed2d.pth",
)  # fmt: skip
HRNETS = {32: "hrnet_w32-36af842e.pth", 48: "hrnet_w48-8ef0771d.pth"}  # by width


def _published(folder: str, name: str) -> Published:
    # these names end in the beginning of the file's hash
    return Published(f"{folder}/{name}", name.removesuffix(".pth").split("-")[1])


PUBLISHED = {name: _published(_TORCHVISION, name) for name in (*RESNETS.values(), *_OLD_RESNETS)} | {
    name: _published(_OPENMMLAB, name) for name in HRNETS.values()
}

# classifiers and their feeders, and the sums of HRNet's last module that heatmaps do not need
_CLASSIFIER = re.compile(
    r"(fc|classifier|incre_modules|downsamp_modules|final_layer)\.|stage4\.\d+\.fuse_layers\.[1-3]\."
)


def locate(name: str, by_hand: Mapping[str, str], folders: tuple[Path, ...]) -> Path:
    """A checkpoint of a pose network by path or published name; a path that is not there counts by its last part.

    `by_hand`: names that only a browser can fetch -> the page that links them. `folders`: where such files are kept,
    the first is the one to name. Raises CheckpointError, naming the page or the published names, and the folder.
    """
    if Path(name).is_file():
        return Path(name)
    short = Path(name).name
    if short not in by_hand:
        raise CheckpointError(f"{name}: no such checkpoint, and not one of the published {', '.join(by_hand)}")
    for folder in folders:
        if (folder / short).is_file():
            return folder / short
    raise CheckpointError(f"{short} is not here: take it from {by_hand[short]} and put it into {folders[0]}")


def locate_backbone(name: str, folders: tuple[Path, ...]) -> Path:
    """ImageNet weights by path or published name, see `common.train.checkpoint.locate`. Raises CheckpointError."""
    return common.train.checkpoint.locate(name, PUBLISHED, folders)


def load_backbone(
    backbone: nn.Module, content: Mapping[str, Any], source: Path, own: str, unused: str = r"$.",
    layers: Sequence[str] = EVERY_LAYER,
) -> Match:  # fmt: skip
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
