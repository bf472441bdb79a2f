# SPDX-License-Identifier: Apache-2.0
"""Which weights a run of MIPNet begins with, and networks from checkpoints."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common.train.checkpoint
import common.train.pretrained
from common.train.checkpoint import CheckpointError, Match
from common.train.pretrained import RANDOM
from MIPNet import keys
from MIPNet.config import DEFAULT_CFG, MODEL_FOLDER, NETWORK, Config
from MIPNet.model import GatedNetwork, PoseHRNet, PoseResNet

from torch import nn

# the first is ours; the others are those of the published instructions and configurations
WEIGHT_FOLDERS = tuple(
    MODEL_FOLDER / name for name in ("weights", "", "lib/models/imagenet", "lib/models/pytorch/imagenet")
)
RANDOM_START = "random start: no pre-trained weights"
_OWN = r"^(deconv_layers|final_layer|final_layer_other|(stage|layer)\d_se)\."  # what no ImageNet file has
_EXTRA = re.compile(r"((stage|layer)\d_se|final_layer_other)\.")  # what tells the variants of a network apart
_HEAD = re.compile(r"final_layer(_other)?\.")  # its size is the number of joints
SMALL = 0.001  # standard deviation of initial weights


def locate_checkpoint(name: str) -> Path:
    """A checkpoint by path, or a published one by name. Raises CheckpointError."""
    from common.train import published  # a training that goes on has its weights

    return published.locate(name, NETWORK, WEIGHT_FOLDERS)


def initialise(model: nn.Module, only: tuple[str, ...] = ("",)) -> None:
    """Weights of convolutions and linear layers ~ N(0, 0.001), biases 0; 2-d batch normalisation 1 and 0.

    `only`: beginnings of the names that it is done to.
    """
    for name, module in model.named_modules():
        if not name.startswith(only):
            continue
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, std=SMALL)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


def load_start(model: PoseHRNet | PoseResNet, config: Config) -> str:
    """Loads what a training begins with; returns the report of it. A run that measures speed may begin at random.

    A checkpoint of the whole network takes the place of ImageNet weights. Raises CheckpointError.
    """
    cfg = config.yaml.MODEL
    try:
        source = _whole_network(config)
        if not source:
            return load_imagenet(model, cfg.PRETRAINED, cfg.EXTRA.PRETRAINED_LAYERS)
    except CheckpointError:
        if config.case == "perf" and not config.check_point:
            return load_imagenet(model, RANDOM)
        raise
    initialise(model)
    return load_checkpoint(model, source, new_head=True)


def _whole_network(config: Config) -> Path | None:
    """The checkpoint that a flag or key names, None where none does. Raises CheckpointError, naming that."""
    flag = "--pth_path" if config.check_point else "TEST.MODEL_FILE"
    name = config.check_point or config.yaml.TEST.MODEL_FILE
    try:
        return locate_checkpoint(name) if name else None
    except CheckpointError as error:
        raise CheckpointError(f"{flag}: {error}") from error


def load_imagenet(model: PoseHRNet | PoseResNet, pretrained: str, layers: Sequence[str] = keys.HRNET_LAYERS) -> str:
    """Initialises the network and loads ImageNet weights into its trunk; returns the report of it.

    `pretrained` (MODEL.PRETRAINED): file or published name; empty or RANDOM begins at random. `layers`: first parts
    of the names that HRNet takes; ("*",) takes all. Raises CheckpointError for a file that is missing or of another
    network.
    """
    if pretrained in ("", RANDOM):
        initialise(model)
        return RANDOM_START
    is_hrnet = isinstance(model, PoseHRNet)
    initialise(model, ("",) if is_hrnet else ("deconv_layers", "final_layer"))
    try:
        source = common.train.pretrained.locate_backbone(pretrained, WEIGHT_FOLDERS)
    except CheckpointError as error:
        raise CheckpointError(f"MODEL.PRETRAINED: {error}; '{RANDOM}' begins at random") from error
    content, own = common.train.checkpoint.read(source), _OWN
    if is_hrnet and "*" not in layers:
        found = common.train.checkpoint.state_dict(content)
        named = common.train.checkpoint.by_names_of(model.state_dict(), found)
        content = {name: tensor for name, tensor in named.items() if name.split(".")[0] in layers}
        own += rf"|^(?!({'|'.join(map(re.escape, layers))})\.)"
    match = common.train.pretrained.load_backbone(model, content, source, own)
    return f"=> using ImageNet weights {source}: {match}"


def load_config(source: Path | None, cfg: str, opts: Sequence[Any] = (), **flags: Any) -> Config:
    """The settings that a network file belongs to. Raises UserError for an unreadable file.

    The yaml config `cfg` (empty: the one that the checkpoint was trained with, else the published one), above it what
    a checkpoint says of its own network, above that `opts`, KEY VALUE words. `flags` are fields of Config.
    """
    from common.runtime import metadata  # a training has no use for these
    from common.runtime.session import PYTORCH

    exported, skeleton = metadata.of(source, NETWORK, flags.get("skeleton", "")) if source else ({}, "")
    content = common.train.checkpoint.read(source) if source and source.suffix in PYTORCH else exported
    known = content.get("config") if isinstance(content.get("config"), dict) else {}
    own = keys.of_checkpoint(str(source), known, with_data_set=not cfg)
    flags["skeleton"] = skeleton or flags.get("skeleton") or str(known.get("skeleton", ""))
    return Config(cfg=cfg or _trained_with(str(known.get("cfg", ""))), opts=(*own, *opts), **flags)


def _trained_with(cfg: str) -> str:
    """The yaml config of a run, where it is still there; else the published one."""
    return cfg if cfg and (Path(cfg).is_file() or (MODEL_FOLDER / cfg).is_file()) else DEFAULT_CFG


def load_checkpoint(model: GatedNetwork, source: Path, new_head: bool = False) -> str:
    """Loads a checkpoint of this network, or of its plain or gated sibling; returns what happened.

    A plain checkpoint fills the trunk of a gated network, whose gates stay as they began; of a gated checkpoint, a
    plain network leaves the gates out. `new_head`: another number of joints is allowed, its layer then stays as it
    began (training only). Raises CheckpointError for any other network's.
    """
    match = common.train.checkpoint.load_matching(model, common.train.checkpoint.read(source), source)
    bare = [name for name in (*match.missing, *match.reshaped) if not name.endswith("num_batches_tracked")]
    gates = [name for name in bare if _EXTRA.match(name) and name in match.missing]
    heads = [name for name in bare if new_head and _HEAD.match(name) and name in match.reshaped]
    strange = [name for name in match.unused if not _EXTRA.match(name)]
    if strange or len(gates) + len(heads) < len(bare):
        raise CheckpointError(f"{source}: a checkpoint of another network: {match}")
    return "; ".join([f"=> using model {source}: {match}", *_remarks(match, gates, heads)])


def _remarks(match: Match, gates: Sequence[str], heads: Sequence[str]) -> list[str]:
    remarks = []
    spare = [name for name in match.unused if _EXTRA.match(name)]
    if gates:
        remarks.append(f"the file's network lacks {_parts(gates)}: the rest is loaded, these begin anew")
    if spare:
        remarks.append(f"this network lacks {_parts(spare)} of the file: they are left out")
    if heads:
        remarks.append("it has another number of joints: the last layer begins anew")
    return remarks


def _parts(names: Sequence[str]) -> str:
    return ", ".join(sorted({name.split(".")[0] for name in names}))
