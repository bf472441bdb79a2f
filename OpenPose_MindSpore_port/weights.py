# SPDX-License-Identifier: Apache-2.0
"""Which weights a run begins with, and networks rebuilt from checkpoints: MindSpore's .ckpt, .pth, .safetensors.

The original loads what fits and reports nothing of the rest, so a wrong prefix begins, or evaluates, at random. Here a
tensor that is missing or of another size is an error.
"""

from collections.abc import Mapping
from pathlib import Path

import common.train.checkpoint
from common.cli import UserError
from common.skeleton import Skeleton
from common.train.checkpoint import CheckpointError, Match, load_matching
from OpenPose_MindSpore_port import mindspore_checkpoint
from OpenPose_MindSpore_port.config import DIRECTORY, NO_WEIGHTS, PUBLISHED_VGG, WEIGHT_FOLDERS, Config
from OpenPose_MindSpore_port.model import BATCH_NORM_NAMES, OpenPose

import torch
from torch import Tensor

RANDOM_START = "random start: no pre-trained weights"
TORCHVISION_VGG = PUBLISHED_VGG[1]
CONVOLUTION_AXES = 4
_PICKLED = (b"PK", b"\x80")  # how PyTorch's files begin, new and old
_GAMMA = "." + BATCH_NORM_NAMES["weight"]  # of batch normalisation, which only VGG19 has


def locate_checkpoint(name: str) -> Path:
    """A checkpoint by path, or a published one by name. Raises CheckpointError."""
    from common.train import published  # a training that goes on has its weights

    return published.locate(name, DIRECTORY, WEIGHT_FOLDERS)


def read(source: Path) -> dict[str, Tensor]:
    """The weights of a file by the network's names: no `network.` or `module.` before them, no optimiser's state.

    .ckpt of MindSpore (or of PyTorch, told apart by content), .safetensors, or a checkpoint of PyTorch. Raises
    CheckpointError where the file is missing, damaged or encrypted.
    """
    if not source.is_file():
        raise CheckpointError(f"{source}: no such checkpoint")
    if source.suffix == ".safetensors":
        from OpenPose_MindSpore_port import convert  # other formats need the package safetensors

        entries, _ = convert.read(source, weights_only=True)
    elif source.suffix == ".ckpt" and not _head(source).startswith(_PICKLED):
        entries = mindspore_checkpoint.read(source, mindspore_checkpoint.is_weight)
    else:
        entries = common.train.checkpoint.read(source)
    return common.train.checkpoint.state_dict(
        mindspore_checkpoint.network_weights(common.train.checkpoint.state_dict(entries))
    )


def _head(source: Path) -> bytes:
    with source.open("rb") as file:
        return file.read(2)


def starting_vgg(vgg_path: str, may_be_random: bool = False) -> Path | None:
    """The VGG19 file that training begins from, None for a random trunk.

    `vgg_path`: a file; `none`; or empty: the file of the publication or torchvision's, from a folder for weights or
    downloaded. Raises UserError where there is none and it may not be random: such a training would be lost.
    """
    if vgg_path == NO_WEIGHTS:
        return None
    if vgg_path and vgg_path not in PUBLISHED_VGG and not Path(vgg_path).is_file():
        raise UserError(f"--vgg_path={vgg_path}: no such file; name a VGG19 file, or `{NO_WEIGHTS}` to begin at random")
    if vgg_path:
        return locate_checkpoint(vgg_path)
    for folder in WEIGHT_FOLDERS:
        if (folder / PUBLISHED_VGG[0]).is_file():
            return folder / PUBLISHED_VGG[0]
    try:
        return locate_checkpoint(TORCHVISION_VGG)
    except CheckpointError as error:
        if may_be_random:
            return None
        raise UserError(
            f"{error}, or name another VGG19 file with --vgg_path; --vgg_path={NO_WEIGHTS} begins at random"
        ) from error


def load_start(model: OpenPose, config: Config) -> str:
    """Loads the weights that a training begins with, of the whole network or of VGG19; returns the report of it."""
    if config.load_pretrain:
        source = locate_checkpoint(config.pretrained_model_path)
        return f"=> using pre-trained model {source}: {_load_all(model, read(source), source)}"
    vgg = starting_vgg(config.vgg_path, may_be_random=config.case == "perf")
    return RANDOM_START if vgg is None else load_vgg(model, vgg)


def load_network(source: Path, skeleton: Skeleton) -> OpenPose:
    """The network of a checkpoint, with batch normalisation where that has it, in evaluation mode.

    Raises CheckpointError where a weight is missing or of another size: another network or skeleton.
    """
    weights = read(source)
    model = OpenPose(skeleton.num_heatmaps, skeleton.num_pafs, has_batch_norm(weights))
    _load_all(model, weights, source)
    return model.eval()


def has_batch_norm(weights: Mapping[str, Tensor]) -> bool:
    """Whether weights by MindSpore's names have batch normalisation."""
    return any(name.endswith(_GAMMA) for name in weights)


def _load_all(model: OpenPose, weights: Mapping[str, Tensor], source: Path) -> Match:
    if has_batch_norm(weights) and not model.vgg_with_bn:
        raise CheckpointError(f"{source}: its VGG19 has batch normalisation: type --vgg_with_bn")
    try:
        return load_matching(model, weights, source, complete=True)
    except CheckpointError as error:
        cure = "give a checkpoint of OpenPose with VGG19 and of the same --skeleton"
        raise CheckpointError(f"{error}; {cure}") from error


def load_vgg(model: OpenPose, source: Path) -> str:
    """Loads the first ten convolutions of a VGG19 into the trunk; returns the report.

    The file may be MindSpore's, torchvision's, or that of a whole OpenPose. A convolution without bias (MindSpore's own
    VGG19 recipe) gets bias 0. Raises CheckpointError where a weight is missing or of another size.
    """
    layers = _mindspore_names(read(source))
    biases = {
        name.removesuffix("weight") + "bias": torch.zeros(len(tensor))
        for name, tensor in layers.items()
        if name.endswith("weight") and tensor.ndim == CONVOLUTION_AXES
    }
    try:
        match = load_matching(model.base.vgg_base.layers, biases | layers, source, complete=True)
    except CheckpointError as error:
        cure = f"--vgg_path wants a VGG19 of MindSpore, such as {PUBLISHED_VGG[0]}, or torchvision's {TORCHVISION_VGG}"
        if has_batch_norm(layers) != model.vgg_with_bn:
            has, flag = ("has no", "--vgg_with_bn=False") if model.vgg_with_bn else ("has", "--vgg_with_bn")
            cure += f"; this one {has} batch normalisation: type {flag}"
        raise CheckpointError(f"{error}; {cure}") from error
    note = "" if biases.keys() <= layers.keys() else "; biases that it lacks begin at 0"
    return f"=> using VGG19 {source}: {match}{note}"


def _mindspore_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights with torch's batch normalisation under MindSpore's names."""
    named = dict(weights)
    for layer in [name.removesuffix("running_mean") for name in weights if name.endswith(".running_mean")]:
        for torchs, ours in BATCH_NORM_NAMES.items():
            if layer + torchs in named:
                named[layer + ours] = named.pop(layer + torchs)
    return named
