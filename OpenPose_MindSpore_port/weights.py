# SPDX-License-Identifier: Apache-2.0
"""Which weights a run begins with, and networks rebuilt from checkpoints: MindSpore's .ckpt, .pth, .safetensors.

The original loads what fits and reports nothing of the rest, so a wrong prefix begins, or evaluates, at random. Here a
tensor that is missing or of another size is an error.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import common.train.checkpoint
from common.cli import UserError
from common.skeleton import Skeleton
from common.train.checkpoint import CheckpointError
from OpenPose_MindSpore_port import mindspore_checkpoint
from OpenPose_MindSpore_port.config import DIRECTORY, NO_WEIGHTS, PUBLISHED_VGG, WEIGHT_FOLDERS, Config
from OpenPose_MindSpore_port.model import BATCH_NORM_NAMES, OpenPose

import torch
from torch import Tensor

RANDOM_START = "random start: no pre-trained weights"
TORCHVISION_VGG = PUBLISHED_VGG[1]
# What stands before a layer's number: MindSpore's wrappers, torchvision, and a whole OpenPose
VGG_PREFIXES = (
    "network.backbone.layers",
    "network.layers",
    "backbone.layers",
    "layers",
    "features",
    "network.base.vgg_base.layers",
    "base.vgg_base.layers",
)
_LAYER = re.compile(rf"({'|'.join(map(re.escape, VGG_PREFIXES))})\.(\d+\.\w+)")
_PICKLED = (b"PK", b"\x80")  # how PyTorch's files begin, new and old
_NORMALISED = re.compile(r"(.*\.)?base\.vgg_base\.layers\.1\.")  # without batch normalisation a ReLU


def locate(name: str) -> Path:
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
        return locate(vgg_path)
    for folder in WEIGHT_FOLDERS:
        if (folder / PUBLISHED_VGG[0]).is_file():
            return folder / PUBLISHED_VGG[0]
    try:
        return locate(TORCHVISION_VGG)
    except CheckpointError as error:
        if may_be_random:
            return None
        raise UserError(
            f"{error}, or name another VGG19 file with --vgg_path; --vgg_path={NO_WEIGHTS} begins at random"
        ) from error


def load_start(model: OpenPose, config: Config) -> str:
    """Loads the weights that a training begins with, of the whole network or of VGG19; returns the report of it."""
    if config.load_pretrain:
        return load_pretrained(model, locate(config.pretrained_model_path))
    vgg = starting_vgg(config.vgg_path, may_be_random=config.case == "perf")
    return RANDOM_START if vgg is None else load_vgg(model, vgg)


def load_pretrained(model: OpenPose, source: Path) -> str:
    """Loads a checkpoint of the whole network, weights only; returns the report.

    Raises CheckpointError where a weight is missing or of another size.
    """
    return f"=> using pre-trained model {source}: {_load_all(model, read(source), source)}"


def load_network(source: Path, skeleton: Skeleton) -> OpenPose:
    """The network of a checkpoint in evaluation mode, see `network_of`."""
    return network_of(read(source), source, skeleton)


def network_of(weights: Mapping[str, Tensor], source: Path, skeleton: Skeleton) -> OpenPose:
    """The network of weights as `read` gives them, with batch normalisation where they have it, in evaluation mode.

    Raises CheckpointError where a weight is missing or of another size: another network or skeleton.
    """
    model = OpenPose(skeleton.num_heatmaps, skeleton.num_pafs, has_batch_norm(weights))
    _load_all(model, weights, source)
    return model.eval()


def has_batch_norm(weights: Mapping[str, Tensor]) -> bool:
    """Whether the trunk of a whole network's weights has batch normalisation."""
    return any(_NORMALISED.match(name) for name in weights)


def _load_all(model: OpenPose, weights: Mapping[str, Tensor], source: Path) -> common.train.checkpoint.Match:
    if weights and has_batch_norm(weights) != model.vgg_with_bn and not model.vgg_with_bn:
        raise CheckpointError(f"{source}: its VGG19 has batch normalisation: type --vgg_with_bn")
    try:
        return common.train.checkpoint.load_matching(model, weights, source, complete=True)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}; give a checkpoint of OpenPose with VGG19 and of the same --skeleton"
        ) from error


def load_vgg(model: OpenPose, source: Path) -> str:
    """Loads the first ten convolutions of a VGG19 into the trunk; returns the report.

    Names may have any of `VGG_PREFIXES`; later layers and the classifier are left out; a convolution without bias
    (MindSpore's own VGG19 recipe) gets bias 0. Raises CheckpointError where there are no such names, or a weight is
    missing or of another size.
    """
    trunk = model.base.vgg_base.layers
    layers, own = _vgg_layers(read(source), source), trunk.state_dict()
    without_bias = [name for name in own if name.endswith(".bias") and name not in layers]
    chosen = {name: layers.get(name) for name in own} | {name: torch.zeros_like(own[name]) for name in without_bias}
    wrong = [name for name, tensor in chosen.items() if tensor is None or tensor.shape != own[name].shape]
    if wrong or len(without_bias) == len(own):
        raise CheckpointError(_other_vgg(model, layers, wrong, source))
    common.train.checkpoint.check_finite(layers, source)
    trunk.load_state_dict(chosen)
    note = f"; {len(without_bias)} biases are not in it and begin at 0" if without_bias else ""
    return f"=> using VGG19 {source}: {len(own) - len(without_bias)} tensors matched{note}"


def _vgg_layers(weights: Mapping[str, Tensor], source: Path) -> dict[str, Tensor]:
    """{"0.weight": tensor, ...} of the first known prefix, batch normalisation by MindSpore's names."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        if match := _LAYER.fullmatch(name):
            found.setdefault(match[1], {})[match[2]] = tensor
    for prefix in VGG_PREFIXES:
        if prefix in found:
            return _mindspore_names(found[prefix])
    names = ", ".join(list(weights)[:3]) or "no tensors"
    raise CheckpointError(
        f"{source}: no VGG19 in it (found {names}; known are {', '.join(VGG_PREFIXES)}): --vgg_path wants a VGG19 of "
        f"MindSpore, such as {PUBLISHED_VGG[0]}, or torchvision's {TORCHVISION_VGG}"
    )


def _mindspore_names(layers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames torch's batch normalisation, which is told from a convolution by its weight of one dimension."""
    named = {}
    for name, tensor in layers.items():
        number, part = name.split(".")
        normalises = f"{number}.weight" in layers and layers[f"{number}.weight"].ndim == 1
        named[f"{number}.{BATCH_NORM_NAMES.get(part, part) if normalises else part}"] = tensor
    return named


def _other_vgg(model: OpenPose, layers: Mapping[str, Tensor], wrong: list[str], source: Path) -> str:
    normalised = "1.gamma" in layers  # where a trunk without it has a ReLU
    if normalised != model.vgg_with_bn:
        has, cure = ("has", "--vgg_with_bn") if normalised else ("has no", "--vgg_with_bn=False")
        return f"{source}: this VGG19 {has} batch normalisation: type {cure}, or name another file with --vgg_path"
    words = ", ".join(f"{name} {list(layers[name].shape) if name in layers else 'is missing'}" for name in wrong[:3])
    return f"{source}: not a VGG19 ({words}{', ...' if wrong[3:] else ''}): name another file with --vgg_path"
