# SPDX-License-Identifier: Apache-2.0
"""A data.yaml names the parts of a data set, wherever they are; every `--data_path` takes one.

    train: {images: photos, annotations: labels/train.json}
    val: {images: photos, annotations: labels/val.json}
    skeleton: creature.yaml

Paths are relative to the file. It becomes a folder of links in the published layout, in the `cache_folder`.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import files
from common.cli import UserError
from common.coco.cache import cache_folder, made_once
from common.coco.images import SKELETON, SPLITS

SHAPE = "it needs train: {images: folder, annotations: file.json}, val: the same, skeleton: file.yaml"


def folder_of(path: Path) -> Path:
    """The folder of links of a data.yaml, made first where it is absent. Raises UserError, naming file and key."""
    places = _places(path)
    names = "\n".join(f"{name} {place}" for name, place in sorted(places.items()))
    digest = hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    folder = cache_folder(f"{path.stem}-{digest}")

    def link(growing: Path) -> None:
        for name, place in places.items():
            (growing / name).parent.mkdir(exist_ok=True)
            (growing / name).symlink_to(place)

    try:
        return made_once(folder, link)
    except OSError as error:
        cure = "lay the data set out as a COCO folder: python -m tools.convert --from=coco --to=coco"
        raise UserError(f"{path}: no links can be made in {folder.parent} ({error.strerror}); {cure}") from error


def _places(path: Path) -> dict[str, Path]:
    """Names in the published layout, and where each leads. Raises UserError."""
    values = files.read_yaml(path)
    if isinstance(values, dict) and ("kpt_shape" in values or "nc" in values):
        raise UserError(f"{path}: a YOLO data.yaml; convert it first: python -m tools.convert --from=yolo --to=coco")
    if not isinstance(values, dict) or not set(values) & set(SPLITS) or set(values) - {*SPLITS, "skeleton"}:
        keys = ", ".join(map(str, values)) if isinstance(values, dict) else "no keys"
        raise UserError(f"{path}: {keys:.200}: no data.yaml; {SHAPE}")
    places: dict[str, Path] = {}
    for split in set(SPLITS) & set(values):
        part = values[split]
        if not isinstance(part, dict) or set(part) != {"images", "annotations"}:
            raise UserError(f"{path}: {split} is {part!r:.80}; {SHAPE}")
        places[f"{split}2017"] = _place(path, split, part["images"], Path.is_dir)
        name = f"annotations/person_keypoints_{split}2017.json"
        places[name] = _place(path, split, part["annotations"], Path.is_file)
    if "skeleton" in values:
        places[SKELETON] = _place(path, "skeleton", values["skeleton"], Path.is_file)
    return places


def _place(path: Path, key: str, value: Any, is_right: Callable[[Path], bool]) -> Path:
    place = Path(os.path.abspath(path.parent / os.path.expanduser(str(value))))
    if "\0" in str(value) or not is_right(place):
        raise UserError(f"{path}: {key}: {value!r:.80} is not there; paths are relative to this file, {SHAPE}")
    return place
