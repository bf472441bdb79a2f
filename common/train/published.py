# SPDX-License-Identifier: Apache-2.0
"""Published weights by name, from the table common/weights.json: in a folder for weights, a mirror, or fetched.

POSE_ZOO_HOME: where they are kept [torch.hub's cache]. POSE_ZOO_MIRROR: a folder or http address that has the files by
their names; then no other address is asked. A weights.json in that folder adds to the table, or replaces entries.
"""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from common import files
from common.train import download
from common.train.checkpoint import CheckpointError

import torch

TABLE, IMAGENET = "weights.json", "ImageNet"


@dataclass(frozen=True)
class Published:
    """A file that others have published; `network` is the directory that reads it, ImageNet for trunks of several."""

    name: str
    network: str
    urls: tuple[str, ...] = ()
    page: str = ""  # for people, where programs cannot fetch the file
    licence: str = ""
    training_data: str = ""
    sha256: str = ""  # its beginning, as far as it is published
    least_bytes: int = 0  # the weights alone, four bytes each
    ap: float | None = None  # published, by `protocol`, which the words `evaluate` of eval.py ask for
    tolerance: float = 0.0
    protocol: str = ""
    evaluate: tuple[str, ...] = ()
    detections: str = ""  # file of boxes that the protocol takes

    def check(self, path: Path) -> None:
        """Raises WrongContentError where a file is another one."""
        download.check(path, self.sha256, self.least_bytes)


def mirror() -> str:
    """The folder or address of POSE_ZOO_MIRROR, empty without."""
    return os.environ.get("POSE_ZOO_MIRROR", "")


def home() -> Path:
    """Where fetched files are kept."""
    own = os.environ.get("POSE_ZOO_HOME")
    return Path(own) / "weights" if own else Path(torch.hub.get_dir()) / "checkpoints"


def table() -> dict[str, Published]:
    """Every published file by its name. Raises UserError for a damaged table of the mirror."""
    own = Path(mirror()) / TABLE
    return _read(Path(__file__).parents[1] / TABLE) | (_read(own) if mirror() and own.is_file() else {})


@cache
def _read(path: Path) -> dict[str, Published]:
    try:
        return {name: Published(name, **entry) for name, entry in files.read_json(path).items()}
    except (TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: no table of weights as common/{TABLE} is one: {error}") from error


def names(*networks: str) -> str:
    """The names of the files of some networks, for messages."""
    return ", ".join(name for name, one in table().items() if one.network in networks)


def locate(name: str, network: str, folders: tuple[Path, ...]) -> Path:
    """A checkpoint by path, or a published one by name: from one of `folders`, the mirror, the cache, or downloaded.

    A path that is not there counts by its last part. Raises CheckpointError where there is no such file, it belongs to
    another network, the download fails, or a file is not the published one.
    """
    if Path(name).is_file():
        return Path(name)
    entry = table().get(Path(name).name)
    if entry is None or entry.network != network:
        other = f": that is a file of {entry.network}" if entry else ""
        raise CheckpointError(f"{name}: no such checkpoint{other}, and not one of the published {names(network)}")
    places = [*folders, *([Path(mirror())] if mirror() and "://" not in mirror() else []), home()]
    path = next((folder / entry.name for folder in places if (folder / entry.name).is_file()), None)
    if path is None:
        return _fetched(entry, folders[0] if folders else home())
    try:
        entry.check(path)
    except download.WrongContentError as error:
        source = " or ".join(entry.urls) or entry.page
        raise CheckpointError(f"{path}: {error}: remove it, and fetch {source}") from error
    return path


def _fetched(entry: Published, folder: Path) -> Path:
    """Downloads a file into the cache, from the first address that has it. Raises CheckpointError, naming `folder`."""
    reasons, urls = [], entry.urls
    if mirror():
        urls = (f"{mirror().rstrip('/')}/{entry.name}",) if "://" in mirror() else ()
    for url in urls:
        try:
            return download.fetch(url, home() / entry.name, entry.check)
        except (OSError, download.WrongContentError) as error:
            reasons.append(f"{url}: {error}")
    why = "; ".join(reasons) or (f"not in POSE_ZOO_MIRROR={mirror()}" if mirror() else "no program can fetch it")
    source = entry.page or " or ".join(entry.urls)
    cure = f"take it from {source} and put it into {folder}" if source else f"no address is known; put it into {folder}"
    raise CheckpointError(f"{entry.name} is not here and cannot be downloaded ({why}): {cure}")
