# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: written whole or not at all, read without executing anything, matched by name with a report."""

import os
import urllib.error
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.cli

import numpy as np
import torch
from torch import Tensor, nn

BEST, LAST, PREVIOUS = "model_best.pth", "last.pth", "previous.pth"


class CheckpointError(common.cli.UserError):
    """A checkpoint that is missing, damaged, refused or of another network; the message names file and cure."""


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Writes `content` to a temporary file beside `path`, then renames it: `path` is never half written.

    Raises CheckpointError where the disk is full or the folder not writable; an older file at `path` stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for unfinished in path.parent.glob(f".{path.name}.*"):  # of a run that was killed while it saved
            unfinished.unlink(missing_ok=True)
        with temporary.open("wb") as file:
            torch.save(dict(content), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        temporary.unlink(missing_ok=True)
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"cannot write {path}: {reason}; free space there, then type the command again"
        ) from error


def _sync_folder(folder: Path) -> None:
    if hasattr(os, "O_DIRECTORY"):  # a rename is durable once its folder is on the disk
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(handle)
        os.close(handle)


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU, with `weights_only=True`: tensors and plain values, no code.

    Raises CheckpointError: missing, cut short, damaged, or a pickle that holds more than tensors and plain values.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    _check_integrity(path)
    try:
        with torch.serialization.safe_globals(_NUMPY_SCALARS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        refused = "GLOBAL" in str(error)  # torch's word for a function or class that the file asks for
        why = "it holds code, not only tensors: it was not run" if refused else "it is damaged or no checkpoint"
        raise CheckpointError(f"{path}: {why}; take the file from its source again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a dictionary of tensors")
    return content


def _check_integrity(path: Path) -> None:
    """Compares the sums inside a zip checkpoint, which torch.load itself does not; older formats have none."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise CheckpointError(f"{path}: cut short or damaged ({error}); take an older checkpoint") from error
    if damaged:
        raise CheckpointError(f"{path}: damaged at {damaged}; take an older checkpoint")


def _numpy_scalars() -> list[Any]:
    """What a NumPy scalar is pickled as, by NumPy 1 and 2: published checkpoints hold their AP as one."""
    scalar = np.float64(0).__reduce__()[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    kinds = {type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_)}
    return [*((scalar, name) for name in names), np.dtype, *kinds]


_NUMPY_SCALARS = _numpy_scalars()


class Store:
    """The checkpoints of one run, in one folder: the last two, the best, and every n-th epoch's as far as kept."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def save_last(self, content: Mapping[str, Any]) -> None:
        """Writes the newest state; the one before stays as a way back should this file be damaged."""
        newest = self.folder / f".newest_{LAST}"
        save(newest, content)
        if (self.folder / LAST).is_file():
            os.replace(self.folder / LAST, self.folder / PREVIOUS)
        os.replace(newest, self.folder / LAST)

    def save_best(self, content: Mapping[str, Any]) -> None:
        """Writes the weights with the highest metric so far."""
        save(self.folder / BEST, content)

    def save_epoch(self, content: Mapping[str, Any], epoch: int) -> None:
        """Writes `checkpoint_<epoch>.pth` and removes the oldest of these beyond `keep`."""
        save(self.folder / f"checkpoint_{epoch}.pth", content)
        files = sorted(self.folder.glob("checkpoint_*.pth"), key=lambda file: int(file.stem.split("_")[1]))
        for file in files[: -self.keep]:
            file.unlink()

    def newest(self, warn: Callable[[str], None]) -> dict[str, Any] | None:
        """The newest state that can be read; a damaged one is named through `warn` and the one before is taken."""
        for name in (LAST, PREVIOUS):
            if not (self.folder / name).is_file():
                continue
            try:
                return read(self.folder / name)
            except CheckpointError as error:
                warn(f"{error}; trying the one before")
        return None


@dataclass(frozen=True)
class Match:
    """How the names of a checkpoint met those of a network."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]  # in the network, not in the file
    unused: tuple[str, ...]  # in the file, not in the network
    reshaped: tuple[str, ...]  # in both, of other sizes: not taken

    def __str__(self) -> str:
        parts = [f"{len(self.matched)} tensors matched"]
        for word in ("missing", "unused", "reshaped"):
            names = getattr(self, word)
            if names:
                parts.append(f"{len(names)} {word} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")
        return "; ".join(parts)


def state_dict(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a checkpoint by their names: under `state_dict` or bare, without the `module` of wrappers."""
    tensors = content.get("state_dict", content)
    return {
        ".".join(part for part in name.split(".") if part != "module"): tensor
        for name, tensor in tensors.items()
        if isinstance(tensor, Tensor)
    }


def load_matching(model: nn.Module, content: Mapping[str, Any], source: Path, complete: bool = False) -> Match:
    """Copies every tensor whose name and size fit into `model`, and reports the rest.

    Raises CheckpointError where nothing matches, or where `complete` is asked for and a weight is missing.
    """
    tensors, own = state_dict(content), model.state_dict()
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
        raise CheckpointError(f"{source}: a checkpoint of another network: {match}")
    model.load_state_dict(fitting, strict=False)
    return match


@dataclass(frozen=True)
class Published:
    """Where the authors of a model keep a file; `sha256` begins the file's hash, where it is known."""

    url: str
    sha256: str | None = None


def locate(name: str, published: Mapping[str, Published], folders: tuple[Path, ...]) -> Path:
    """A checkpoint by path, or a published one by name: from one of `folders`, torch.hub's cache, or downloaded.

    Raises CheckpointError where there is no such file or the download fails.
    """
    if Path(name).is_file():
        return Path(name)
    places = [*folders, Path(torch.hub.get_dir()) / "checkpoints"]
    for folder in places:
        if name in published and (folder / name).is_file():
            return folder / name
    if name not in published:
        known = f", and not one of the published {', '.join(published)}" if published else ""
        raise CheckpointError(f"{name}: no such checkpoint{known}")
    return _download(name, published[name], places)


def _download(name: str, source: Published, places: list[Path]) -> Path:
    target = places[-1] / name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(source.url, str(target), hash_prefix=source.sha256, progress=False)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise CheckpointError(
            f"{name} is not here and cannot be downloaded ({error}): fetch {source.url} and put it into {places[0]}"
        ) from error
    return target
