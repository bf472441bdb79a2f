# SPDX-License-Identifier: Apache-2.0
"""Published weights by name, from the table common/weights.json: from a weights folder, a mirror, or downloaded.

They are complete and the right ones, or none. An interrupted download resumes where it stopped.

POSE_ZOO_HOME: where they are kept [torch.hub's cache]. POSE_ZOO_MIRROR: a folder or http address that has the files by
their names; then no other address is asked.
"""

import contextlib
import fcntl
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from common import files
from common.train.checkpoint import CheckpointError, Match, load_matching

import torch
from torch import nn
from tqdm import tqdm

IMAGENET = "ImageNet"
TABLE = "weights.json"
TIMEOUT_S, PIECE = 30, 1 << 20  # without a byte; bytes read at once
ZIP, PICKLE, MINDSPORE = b"PK\x03\x04", b"\x80", b"\n"  # what torch's formats and a .ckpt begin with
NETWORK_ERRORS = (ConnectionError, TimeoutError, urllib.error.URLError, http.client.HTTPException)
# classifiers and their inputs, and the sums of HRNet's last module that heatmaps do not need
_CLASSIFIER = re.compile(
    r"(fc|classifier|incre_modules|downsamp_modules|final_layer)\.|stage4\.\d+\.fuse_layers\.[1-3]\."
)


@dataclass(frozen=True)
class Published:
    """A published file; `network` is the directory that reads it, ImageNet for trunks of several."""

    name: str
    network: str
    urls: tuple[str, ...] = ()
    page: str = ""  # for people, where programs cannot fetch the file
    licence: str = ""
    training_data: str = ""
    sha256: str = ""  # its published prefix
    least_bytes: int = 0  # the weights alone, four bytes each
    ap: float | None = None  # published, by `protocol`, which the words `evaluate` of eval.py ask for
    tolerance: float = 0.0
    protocol: str = ""
    evaluate: tuple[str, ...] = ()
    detections: str = ""  # file of boxes that the protocol takes

    def check(self, path: Path) -> None:
        """Raises CheckpointError where a file is no checkpoint, cut short, or another one."""
        size = path.stat().st_size
        with path.open("rb") as file:
            first = file.read(4)
        mindspore = ".ckpt" in path.name and first.startswith(MINDSPORE) and b"<" not in first
        if not (mindspore or first.startswith((ZIP, PICKLE))):
            raise CheckpointError("not a checkpoint but something else, a web page perhaps")
        if size < self.least_bytes or (first == ZIP and not zipfile.is_zipfile(path)):  # a zip ends with its table
            least = self.least_bytes
            raise CheckpointError(f"cut short or another file: {size} bytes, its weights alone have {least}")
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if self.sha256 else ""
        if not digest.startswith(self.sha256):
            begin = digest[: len(self.sha256)]
            raise CheckpointError(f"its SHA-256 begins with {begin}, published is {self.sha256}")


def home() -> Path:
    """Where fetched files are kept."""
    own = os.environ.get("POSE_ZOO_HOME")
    return Path(own) / "weights" if own else Path(torch.hub.get_dir()) / "checkpoints"


def table() -> dict[str, Published]:
    """Every published file by its name, with those of a mirror folder. Raises UserError for a damaged table."""
    mirror = os.environ.get("POSE_ZOO_MIRROR")
    own = Path(mirror or "") / TABLE
    return _read(Path(__file__).parents[1] / TABLE) | (_read(own) if mirror and own.is_file() else {})


@cache
def _read(path: Path) -> dict[str, Published]:
    try:
        return {name: Published(name, **entry) for name, entry in files.read_json(path).items()}
    except (TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a table of weights like common/{TABLE}: {error}") from error


def names(network: str) -> str:
    """The names of the files of a network, for messages."""
    return ", ".join(name for name, one in table().items() if one.network == network)


def locate(name: str, network: str, folders: tuple[Path, ...]) -> Path:
    """A checkpoint by path, or a published one by name: from one of `folders`, the mirror, the cache, or downloaded.

    A missing path is looked up by its last part. Raises CheckpointError where there is no such file, it belongs to
    another network, the download fails, or a file is not the published one.
    """
    if Path(name).is_file():
        return Path(name)
    entry, mirror = table().get(Path(name).name), os.environ.get("POSE_ZOO_MIRROR", "")
    if entry is None or entry.network != network:
        other = f": that is a file of {entry.network}" if entry else ""
        raise CheckpointError(f"{name}: no such checkpoint{other}, and not one of the published {names(network)}")
    places = [*folders, *([Path(mirror)] if mirror and "://" not in mirror else []), home()]
    for folder in places:
        path = folder / entry.name
        if path.is_file():
            try:
                entry.check(path)
            except (OSError, CheckpointError) as error:
                source = " or ".join(entry.urls) or entry.page
                raise CheckpointError(f"{path}: {error}: remove it, and fetch {source}") from error
            return path
    return _fetched(entry, places[0], mirror)


def _fetched(entry: Published, folder: Path, mirror: str) -> Path:
    """Downloads a file into the cache, from the first address that has it. Raises CheckpointError, naming `folder`."""
    reasons, urls = list[str](), entry.urls
    if mirror:
        urls = (f"{mirror.rstrip('/')}/{entry.name}",) if "://" in mirror else ()
    for url in urls:
        try:
            _download(url, home() / entry.name, entry)
            return home() / entry.name
        except (OSError, CheckpointError) as error:
            reasons.append(f"{url}: {error}")
    why = "; ".join(reasons) or (f"not in POSE_ZOO_MIRROR={mirror}" if mirror else "no program can fetch it")
    source = entry.page or " or ".join(entry.urls)
    cure = f"take it from {source} and put it into {folder}" if source else f"no address is known; put it into {folder}"
    raise CheckpointError(f"{entry.name} is not here and cannot be downloaded ({why}): {cure}")


def _download(url: str, target: Path, entry: Published) -> None:
    """Downloads the file of `entry`. A part stays as a hidden file next to `target`, to resume it.

    Raises OSError or CheckpointError, and then there is no `target`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _opened(url) as answer:
        length = int(answer.headers.get("Content-Length") or 0)
    part = target.with_name(f".{target.name}.{zlib.crc32(f'{url} {length}'.encode()):08x}.part")
    with part.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # of several processes, such as ranks, one downloads
        if target.is_file():
            part.unlink(missing_ok=True)
            return
        _complete(url, file, length, target.name)
        file.flush()
        try:
            entry.check(part)
        except CheckpointError:
            part.unlink()
            raise
        part.replace(target)


def _opened(url: str, begin: int = 0) -> Any:
    request = urllib.request.Request(url, headers={"Range": f"bytes={begin}-"} if begin else {})  # noqa: S310
    return urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310


def _complete(url: str, file: BinaryIO, length: int, name: str) -> None:
    """Appends the missing bytes, retrying as long as some arrive. Raises CheckpointError when none do."""
    before = -1
    while before < 0 or file.tell() < length:
        if before == (before := file.tell()):
            raise CheckpointError(f"broken off: {before} bytes came of {length}")
        with contextlib.suppress(*NETWORK_ERRORS), _opened(url, before) as answer:
            if before and answer.status != http.HTTPStatus.PARTIAL_CONTENT:
                file.truncate(file.seek(0))
            with tqdm(desc=name, total=length or None, initial=before, unit="B", unit_scale=True, disable=None) as bar:
                while piece := answer.read1(PIECE):
                    bar.update(file.write(piece))


def load_backbone(
    backbone: nn.Module, content: Mapping[str, Any], source: Path, own: str, unused: str = r"$."
) -> Match:
    """Copies ImageNet weights into a backbone, and reports it.

    `own`: pattern of the names in the backbone that no such file has; `unused`: of names in the file, beside the
    classifier, that the backbone need not have. Raises CheckpointError for the weights of another depth, width or
    network.
    """
    match = load_matching(backbone, content, source)
    bare = (*match.missing, *match.reshaped)
    lacking = [name for name in bare if not re.search(rf"{own}|num_batches_tracked$", name)]
    if lacking or [name for name in match.unused if not (_CLASSIFIER.match(name) or re.search(unused, name))]:
        raise CheckpointError(f"{source}: weights of another network, depth or width: {match}")
    return match
