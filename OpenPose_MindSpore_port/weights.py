# SPDX-License-Identifier: Apache-2.0
"""The initial weights of a run, and networks rebuilt from checkpoints: MindSpore's .ckpt, PyTorch's .pth.

The original loads what fits and does not report the rest, so with a wrong prefix it uses random weights. Here a
tensor that is missing or of another size is an error.
"""

import zipfile
from pathlib import Path

import common.train.checkpoint
from common.cli import UserError
from common.skeleton import Skeleton
from common.train.checkpoint import CheckpointError, load_matching
from OpenPose_MindSpore_port import mindspore_checkpoint
from OpenPose_MindSpore_port.config import DIRECTORY, NO_WEIGHTS, PUBLISHED_VGG, WEIGHT_FOLDERS, Config
from OpenPose_MindSpore_port.model import OpenPose

import torch
from torch import Tensor

RANDOM_START = "random start: no pre-trained weights"
MINDSPORE_VGG, TORCHVISION_VGG = PUBLISHED_VGG
CONVOLUTION_AXES = 4


def locate_checkpoint(name: str) -> Path:
    """A checkpoint by path, or a published one by name. Raises CheckpointError."""
    from common.train import published  # a resumed training needs none

    return published.locate(name, DIRECTORY, WEIGHT_FOLDERS)


def read(source: Path) -> dict[str, Tensor]:
    """The weights of a file by the network's names: no `network.` or `module.` before them, no optimiser's state.

    Raises CheckpointError where the file is missing, damaged or encrypted.
    """
    if source.suffix == ".ckpt" and not zipfile.is_zipfile(source):  # PyTorch's files of that name are zip files
        return mindspore_checkpoint.network_weights(mindspore_checkpoint.read(source, mindspore_checkpoint.is_weight))
    tensors = common.train.checkpoint.state_dict(common.train.checkpoint.read(source))
    return mindspore_checkpoint.network_weights(tensors)


def starting_vgg(vgg_path: str, may_be_random: bool = False) -> Path | None:
    """The VGG19 file that training begins from, None for a random trunk.

    `vgg_path`: a file; `none`; or empty: the file of the publication or torchvision's, from a folder for weights or
    downloaded. Raises UserError where there is none and a random start is not allowed: such a training would be wasted.
    """
    if vgg_path == NO_WEIGHTS:
        return None
    here = [folder / MINDSPORE_VGG for folder in WEIGHT_FOLDERS if (folder / MINDSPORE_VGG).is_file()]
    try:
        return locate_checkpoint(vgg_path or str((*here, TORCHVISION_VGG)[0]))
    except CheckpointError as error:
        if may_be_random and not vgg_path:
            return None
        raise UserError(f"{error}; --vgg_path names a VGG19 file, --vgg_path={NO_WEIGHTS} begins at random") from error


def load_start(model: OpenPose, config: Config) -> str:
    """Loads the weights that a training begins with, of the whole network or of VGG19; returns the report of it."""
    if config.load_pretrain:
        source = locate_checkpoint(config.pretrained_model_path)
        return f"=> using pre-trained model {source}: {load_matching(model, read(source), source, complete=True)}"
    vgg = starting_vgg(config.vgg_path, may_be_random=config.case == "perf")
    return RANDOM_START if vgg is None else load_vgg(model, vgg)


def load_network(source: Path, skeleton: Skeleton) -> OpenPose:
    """The network of a checkpoint, with batch normalisation where that has it, in evaluation mode.

    Raises CheckpointError where a weight is missing or of another size: another network or skeleton.
    """
    weights = read(source)
    has_batch_norm = any(name.endswith(".gamma") for name in weights)
    model = OpenPose(skeleton.num_heatmaps, skeleton.num_pafs, has_batch_norm)
    load_matching(model, weights, source, complete=True)
    return model.eval()


def load_vgg(model: OpenPose, source: Path) -> str:
    """Loads the first ten convolutions of a VGG19 into the trunk; returns the report.

    The file may be MindSpore's, torchvision's, or that of a whole OpenPose. A convolution without bias (MindSpore's own
    VGG19 recipe) gets bias 0. Raises CheckpointError where a weight is missing or of another size.
    """
    layers = read(source)
    biases = {
        name.removesuffix("weight") + "bias": torch.zeros(len(tensor))
        for name, tensor in layers.items()
        if name.endswith("weight") and tensor.ndim == CONVOLUTION_AXES
    }
    try:
        match = load_matching(model.base.vgg_base.layers, biases | layers, source, complete=True)
    except CheckpointError as error:
        kinds = f"MindSpore's {MINDSPORE_VGG}, or torchvision's {TORCHVISION_VGG}; --vgg_with_bn: with batch norms"
        raise CheckpointError(f"{error}; --vgg_path takes a VGG19 such as {kinds}") from error
    note = "" if biases.keys() <= layers.keys() else "; biases that it lacks begin at 0"
    return f"=> using VGG19 {source}: {match}{note}"
