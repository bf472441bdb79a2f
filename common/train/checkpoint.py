# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: written whole or not at all, read without executing anything, matched by name with a report."""

import errno
import os
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.cli
from common import files

import numpy as np
import torch
from torch import Tensor, nn

BEST, LAST = "model_best.pth", "last.pth"
RANDOM = "none"  # in place of a file: random initialisation
# where other projects' files keep their weights
_CONTAINERS = (
    *("state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "generator", "backbone"),
    *("ema", "model_ema", "ema_state_dict", "state_dict_ema", "best_state_dict"),
)
# what a NumPy scalar is pickled as, by NumPy 1 and 2: published checkpoints hold their AP as one
_SCALAR_NAMES = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
_NUMPY_SCALARS: list[Any] = [(np.float64(0).__reduce__()[0], name) for name in _SCALAR_NAMES]
_NUMPY_SCALARS += [np.dtype, *(type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "?"))]


class CheckpointError(common.cli.UserError):
    """A checkpoint that is missing, damaged, refused or of another network; the message names file and cure."""


def save(path: Path, content: Mapping[str, Any], before: Path | None = None) -> None:
    """Writes a checkpoint whole or not at all; an older one at `path` moves to `before`, where that is given.

    Raises UserError where the disk is full or the folder not writable; an older file at `path` stays as it was.
    """
    with files.replacing(path, before) as file:
        try:
            torch.save(dict(content), file)
        except RuntimeError as error:  # torch's error of a full disk
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} ({str(error).splitlines()[0]})") from error


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU, with `weights_only=True`: tensors and plain values, no code.

    Raises CheckpointError: missing, cut short, damaged, or a pickle that holds more than tensors and plain values.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        if zipfile.is_zipfile(path):  # files of the older format have no checksums
            with zipfile.ZipFile(path) as archive:
                if damaged := archive.testzip():  # torch does not check them
                    raise ValueError(f"the checksum of {damaged} is wrong")
        with torch.serialization.safe_globals(_NUMPY_SCALARS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other pickle protocols
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and zipfile raise many kinds for a damaged file
        why = f"damaged or no checkpoint ({' '.join(str(error).split())[:100] or type(error).__name__})"
        if "GLOBAL" in str(error):  # torch's name for a function or class that the file needs
            why = "it holds code, not only tensors: it was not run"
        raise CheckpointError(f"{path}: {why}; take an older one, or the file from its source again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a dictionary of tensors")
    return content


@dataclass(frozen=True)
class Match:
    """How the names of a checkpoint match those of a network."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]  # in the network, not in the file
    unused: tuple[str, ...]  # in the file, not in the network
    reshaped: tuple[str, ...]  # in both, of other sizes: not taken

    def __str__(self) -> str:
        parts = [f"{len(self.matched)} tensors matched"]
        for word in ("missing", "unused", "reshaped"):
            if names := getattr(self, word):
                parts.append(f"{len(names)} {word} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")
        return "; ".join(parts)


def state_dict(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a checkpoint by their names: bare or under a usual name, without the `module` of wrappers."""
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor) and isinstance(name, str)}
    inner = next((content[name] for name in _CONTAINERS if isinstance(content.get(name), Mapping)), None)
    if inner is not None and len(found := state_dict(inner)) > len(tensors):
        return found
    return {".".join(part for part in name.split(".") if part != "module"): value for name, value in tensors.items()}


def by_names_of(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefix, such as `backbone.` or `_orig_mod.`, under which most names and sizes are those of `own`."""
    prefixes: Counter[str] = Counter()
    for name, tensor in tensors.items():
        for rest in (name, *(name[dot.end() :] for dot in re.finditer(r"\.", name))):
            if rest in own and own[rest].shape == tensor.shape:
                prefixes[name.removesuffix(rest)] += 1
    prefix = max(prefixes, key=lambda one: (prefixes[one], -len(one)), default="")
    others = {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}
    return others | {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def load_matching(model: nn.Module, content: Mapping[str, Any], source: Path, complete: bool = False) -> Match:
    """Copies every tensor whose name and size fit into `model`, and reports the rest.

    Raises CheckpointError where nothing matches, a weight is not finite, or `complete` is asked for and one is missing.
    """
    own = model.state_dict()
    tensors = by_names_of(own, state_dict(content))
    fitting = {name: tensor for name, tensor in tensors.items() if name in own and tensor.shape == own[name].shape}
    match = Match(
        matched=tuple(fitting),
        missing=tuple(name for name in own if name not in tensors),
        unused=tuple(name for name in tensors if name not in own),
        reshaped=tuple(name for name in own if name in tensors and name not in fitting),
    )
    # counters of batches are not weights: files from before torch 0.4.1 lack them
    lacking = [name for name in (*match.missing, *match.reshaped) if not name.endswith("num_batches_tracked")]
    if not fitting or (complete and lacking):
        keys = ", ".join(str(key)[:40] for key in list(content)[:6])
        raise CheckpointError(f"{source}: a checkpoint of another network or --skeleton: {match}; it has {keys}")
    if bad := [name for name, tensor in fitting.items() if not torch.isfinite(tensor).all()]:
        raise CheckpointError(f"{source}: NaN or infinity in {len(bad)} tensors ({bad[0]}): take an older checkpoint")
    model.load_state_dict(fitting, strict=False)
    return match
