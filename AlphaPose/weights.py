# SPDX-License-Identifier: Apache-2.0
"""Which weights a run of AlphaPose begins with, and what checkpoints hold."""

from pathlib import Path

from AlphaPose.config import BACKBONE_AUTO, NETWORK, Config
from AlphaPose.model import initialise
from common.cli import UserError
from common.train import checkpoint
from common.train.checkpoint import RANDOM, CheckpointError

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
HRNET = "hrnet_w32-36af842e.pth"
# layers of FastPose's ResNet that an ordinary one lacks, or has in another form
_OWN = r"\.se\.|\.conv2_offset\.|\.conv2\.1\.|^final_layer\."
_FOLDED = r"^layer[234]\.0\.conv2\.weight$"


def locate_checkpoint(name: str) -> Path:
    """A checkpoint by path, or a published one by name. Raises CheckpointError."""
    from common.train import published  # a resumed training needs none

    return published.locate(name, NETWORK, WEIGHT_FOLDERS)


def checkpoint_of(name: str, folder: Path) -> Path:
    """A checkpoint by path or published name; without a name the best of a run, in `folder`. Raises UserError."""
    if name:
        return locate_checkpoint(name)
    if not (best := folder / checkpoint.BEST).is_file():
        raise UserError(f"--checkpoint is needed: {best} is not there")
    return best


def load_start(model: nn.Module, config: Config) -> str:
    """Initialises the network and loads what it begins with; returns the report of it.

    MODEL.PRETRAINED is a checkpoint of the whole network; else the backbone has ImageNet weights (`--backbone`), over
    which those tensors of MODEL.TRY_LOAD are taken whose name and size fit. Raises CheckpointError for a file that is
    missing or of another network.
    """
    cfg = config.yaml.MODEL
    initialise(model)
    if cfg.PRETRAINED:
        return f"=> using pre-trained model {_load(model, cfg.PRETRAINED, complete=True)}"
    report = _load_imagenet(model, config)
    return f"{report}; then what fits of {_load(model, cfg.TRY_LOAD)}" if cfg.TRY_LOAD else report


def _load(model: nn.Module, name: str, complete: bool = False) -> str:
    source = locate_checkpoint(name)
    return f"{source}: {checkpoint.load_matching(model, checkpoint.read(source), source, complete)}"


def imagenet_name(config: Config) -> str:
    """The ImageNet file of the backbone: the named one, else the published one."""
    if config.backbone != BACKBONE_AUTO:
        return config.backbone
    cfg = config.yaml.MODEL
    return HRNET if cfg.TYPE == "PoseHighResolutionNet" else RESNETS[cfg.NUM_LAYERS]


def _load_imagenet(model: nn.Module, config: Config) -> str:
    if (name := imagenet_name(config)) == RANDOM:
        return RANDOM_START
    from common.train import published  # a resumed training needs none

    try:
        source = published.locate(name, published.IMAGENET, WEIGHT_FOLDERS)
    except CheckpointError as error:
        if config.case == "perf":  # speed does not depend on the weights
            return RANDOM_START
        raise CheckpointError(f"{error}; '{RANDOM}' in its place begins at random") from error
    backbone = getattr(model, "preact", model)
    match = published.load_backbone(backbone, checkpoint.read(source), source, _OWN, _FOLDED)
    return f"=> using ImageNet weights {source}: {match}"


def load_network(model: nn.Module, source: Path) -> nn.Module:
    """`model` with all weights of a checkpoint, in evaluation mode. Raises CheckpointError for another network's."""
    checkpoint.load_matching(model, checkpoint.read(source), source, complete=True)
    return model.eval()
