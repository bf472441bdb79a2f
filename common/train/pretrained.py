# SPDX-License-Identifier: Apache-2.0
"""Trunks that others trained on ImageNet, by the names in common/weights.json."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.train.checkpoint import CheckpointError, Match, load_matching

from torch import nn

RANDOM = "none"  # in place of a file: random initialisation

# classifiers and their feeders, and the sums of HRNet's last module that heatmaps do not need
_CLASSIFIER = re.compile(
    r"(fc|classifier|incre_modules|downsamp_modules|final_layer)\.|stage4\.\d+\.fuse_layers\.[1-3]\."
)


def locate_backbone(name: str, folders: tuple[Path, ...]) -> Path:
    """ImageNet weights by path or published name, see `common.train.published.locate`. Raises CheckpointError."""
    from common.train import published  # a training that goes on has its weights

    return published.locate(name, published.IMAGENET, folders)


def load_backbone(
    backbone: nn.Module, content: Mapping[str, Any], source: Path, own: str, unused: str = r"$."
) -> Match:
    """Copies ImageNet weights into a backbone, and reports it.

    `own`: pattern of the names in the backbone that no such file has; `unused`: of names in the file, beside the
    classifier, that the backbone need not have. Raises CheckpointError for the weights of another depth, width or
    network.
    """
    match = load_matching(backbone, content, source)
    lacking = [
        name for name in (*match.missing, *match.reshaped) if not re.search(rf"{own}|num_batches_tracked$", name)
    ]
    left = [name for name in match.unused if not (_CLASSIFIER.match(name) or re.search(unused, name))]
    if lacking or left:
        raise CheckpointError(f"{source}: weights of another network, depth or width: {match}")
    return match
