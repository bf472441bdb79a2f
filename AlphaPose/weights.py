# SPDX-License-Identifier: Apache-2.0
"""Which weights a run of AlphaPose begins with, and what checkpoints hold."""

import re
from pathlib import Path

import common.train.checkpoint
import common.train.pretrained
from AlphaPose.config import BACKBONE_AUTO, NETWORK, Config
from AlphaPose.model import HRNET_WIDTH, PoseHighResolutionNet, backbone, initialise
from common.cli import UserError
from common.train.checkpoint import CheckpointError
from common.train.pretrained import RANDOM

from torch import nn

WEIGHT_FOLDERS = (Path(__file__).parent / "weights", Path(__file__).parent)
RANDOM_START = "random start: no pre-trained weights"
RESNETS = {  # of ImageNet, by depth
    18: "resnet18-f37072fd.pth",
    34: "resnet34-b627a593.pth",
    50: "resnet50-0676ba61.pth",
    101: "resnet101-63fe2227.pth",
    152: "resnet152-394f9c45.pth",
}
HRNETS = {32: "hrnet_w32-36af842e.pth", 48: "hrnet_w48-8ef0771d.pth"}  # by width
# what the ResNet of FastPose has beside an ordinary one, and what it has in another form
_OWN = r"\.se\.|\.conv2_offset\.|\.conv2\.1\.|^final_layer\."
_FOLDED = r"^layer[234]\.0\.conv2\.weight$"


def locate_checkpoint(name: str) -> Path:
    """A checkpoint by path, or a published one by name. Raises CheckpointError.

    `model_<n>.pth`, the original's name of what epoch n (from 0) left, stands for checkpoint_<n + 1>.pth beside it.
    """
    numbered = re.fullmatch(r"model_(\d+)\.pth", Path(name).name)
    ours = Path(name).with_name(f"checkpoint_{int(numbered[1]) + 1}.pth") if numbered else Path(name)
    if not Path(name).is_file() and ours.is_file():
        return ours
    from common.train import published  # a training that goes on has its weights

    return published.locate(name, NETWORK, WEIGHT_FOLDERS)


def checkpoint_of(name: str, folder: Path) -> Path:
    """A checkpoint by path or published name; without a name the best of a run, in `folder`. Raises UserError."""
    if name:
        return locate_checkpoint(name)
    best = folder / common.train.checkpoint.BEST
    if not best.is_file():
        raise UserError(f"--checkpoint is needed: {best} is not there")
    return best


def load_start(model: nn.Module, config: Config) -> str:
    """Initialises the network and loads what it begins with; returns the report of it.

    MODEL.PRETRAINED is a checkpoint of the whole network; else the backbone has ImageNet weights (`--backbone`), over
    which those tensors of MODEL.TRY_LOAD are taken whose name and size fit. A run that measures speed may begin at
    random. Raises CheckpointError for a file that is missing or of another network.
    """
    cfg = config.yaml.MODEL
    initialise(model)
    if cfg.PRETRAINED:
        source = locate_checkpoint(cfg.PRETRAINED)
        match = common.train.checkpoint.load_matching(
            model, common.train.checkpoint.read(source), source, complete=True
        )
        return f"=> using pre-trained model {source}: {match}"
    try:
        report = _load_imagenet(model, imagenet_name(config))
    except CheckpointError:
        if config.case != "perf" or cfg.TRY_LOAD:
            raise
        report = RANDOM_START
    if not cfg.TRY_LOAD:
        return report
    source = locate_checkpoint(cfg.TRY_LOAD)
    match = common.train.checkpoint.load_matching(model, common.train.checkpoint.read(source), source)
    return f"{report}; then what fits of {source}: {match}"


def imagenet_name(config: Config) -> str:
    """The ImageNet file of the backbone: the named one, else the published one. Raises UserError for lack of one."""
    cfg = config.yaml.MODEL
    if config.backbone != BACKBONE_AUTO:
        return config.backbone
    name = HRNETS[HRNET_WIDTH] if PoseHighResolutionNet.__name__ == cfg.TYPE else RESNETS.get(cfg.NUM_LAYERS)
    if name is None:
        raise UserError(f"{cfg.TYPE}: no ImageNet weights of this size are published; begin with '{RANDOM}'")
    return name


def _load_imagenet(model: nn.Module, name: str) -> str:
    if name == RANDOM:
        return RANDOM_START
    try:
        source = common.train.pretrained.locate_backbone(name, WEIGHT_FOLDERS)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; '{RANDOM}' in its place begins at random") from error
    content = common.train.checkpoint.read(source)
    match = common.train.pretrained.load_backbone(backbone(model), content, source, _OWN, _FOLDED)
    return f"=> using ImageNet weights {source}: {match}"


def load_network(model: nn.Module, source: Path) -> nn.Module:
    """`model` with all weights of a checkpoint, in evaluation mode. Raises CheckpointError for another network's."""
    common.train.checkpoint.load_matching(model, common.train.checkpoint.read(source), source, complete=True)
    return model.eval()
