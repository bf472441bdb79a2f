# SPDX-License-Identifier: Apache-2.0
"""The initial weights of a run of MIPNet, and networks from checkpoints."""

import re
from collections.abc import Iterable
from pathlib import Path

import common.train.checkpoint
from common.train.checkpoint import RANDOM, CheckpointError
from MIPNet.config import MODEL_FOLDER, NETWORK, Config
from MIPNet.model import GatedNetwork

from torch import nn

# the first is ours; the others are those of the published instructions and configurations
WEIGHT_FOLDERS = tuple(
    MODEL_FOLDER / name for name in ("weights", "", "lib/models/imagenet", "lib/models/pytorch/imagenet")
)
RANDOM_START = "random start: no pre-trained weights"
_GATES = re.compile(r"(stage|layer)\d_se\.")
_HEAD = "final_layer."  # its size is the number of joints
_OWN = rf"^(deconv_layers\.|{_HEAD}|{_GATES.pattern})"  # what no ImageNet file has
SMALL = 0.001  # standard deviation of initial weights


def locate_checkpoint(name: str) -> Path:
    """A checkpoint by path, or a published one by name. Raises CheckpointError."""
    from common.train import published  # a resumed training needs none

    return published.locate(name, NETWORK, WEIGHT_FOLDERS)


def initialise(model: nn.Module) -> None:
    """Weights of convolutions and linear layers ~ N(0, 0.001), biases 0; batch normalisation is 1 and 0 already."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, std=SMALL)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def load_start(model: GatedNetwork, config: Config) -> str:
    """Initialises the network and loads what a training begins with; returns the report of it.

    A checkpoint of the whole network (--pth_path, else TEST.MODEL_FILE) takes the place of ImageNet weights
    (MODEL.PRETRAINED). A run that measures speed may begin at random. Raises CheckpointError, naming flag or key, for a
    file that is missing or of another network.
    """
    initialise(model)
    whole, trunk = config.check_point or config.yaml.TEST.MODEL_FILE, config.yaml.MODEL.PRETRAINED
    if (whole or trunk) in ("", RANDOM):
        return RANDOM_START
    from common.train import published  # a resumed training needs none

    key = "--pth_path" if config.check_point else "TEST.MODEL_FILE" if whole else "MODEL.PRETRAINED"
    try:
        source = locate_checkpoint(whole) if whole else published.locate(trunk, published.IMAGENET, WEIGHT_FOLDERS)
    except CheckpointError as error:
        if config.case == "perf" and not config.check_point:
            return RANDOM_START
        raise CheckpointError(f"{key}: {error}; '{RANDOM}' in its place begins at random") from error
    if whole:
        return load_checkpoint(model, source, new_head=True)
    content = common.train.checkpoint.read(source)
    match = published.load_backbone(model, content, source, _OWN)
    return f"=> using ImageNet weights {source}: {match}"


def load_checkpoint(model: GatedNetwork, source: Path, new_head: bool = False) -> str:
    """Loads a checkpoint of this network, or of its plain or gated sibling; returns a report.

    A plain checkpoint fills the trunk of a gated network, whose gates stay as they began; of a gated checkpoint, a
    plain network leaves the gates out. `new_head`: another number of joints is allowed, its layer then stays as it
    began (training only). Raises CheckpointError for any other network's.
    """
    match = common.train.checkpoint.load_matching(model, common.train.checkpoint.read(source), source)
    lacking = [name for name in (*match.missing, *match.reshaped) if not name.endswith("num_batches_tracked")]
    begin_anew = [name for name in lacking if _GATES.match(name) or (new_head and name.startswith(_HEAD))]
    if begin_anew != lacking or not all(map(_GATES.match, match.unused)):
        raise CheckpointError(f"{source}: a checkpoint of another network: {match}")
    report = f"=> using model {source}: {match}"
    report += f"; initialised, as the file has none of this size: {_parts(lacking)}" if lacking else ""
    return report + (f"; not in this network, so left out: {_parts(match.unused)}" if match.unused else "")


def _parts(names: Iterable[str]) -> str:
    return ", ".join(sorted({name.split(".")[0] for name in names}))
