# SPDX-License-Identifier: Apache-2.0
"""A data.yaml that says where the parts of a data set lie, whatever they are called; every `--data_path` takes one.

    train: {images: photos, annotations: labels/train.json}
    val: {images: photos, annotations: labels/val.json}
    skeleton: creature.yaml

Paths are relative to the file. It becomes a folder of links in the published layout, in `.cache` beside the code or in
your own folder of temporary files.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

from common import files
from common.cli import UserError
from common.coco.cache import cache_folder, made_once
from common.coco.images import SKELETON, SPLITS

PARTS = ("images", "annotations")
SHAPE = "train: {images: folder, annotations: file.json}, val: the same, skeleton: file.yaml"


def folder_of(path: Path) -> Path:
    """The folder of links of a data.yaml, made first where it is absent. Raises UserError, naming file and key."""
    places = _places(path)
    names = "\n".join(f"{name} {place}" for name, place in sorted(places.items()))
    digest = hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    folder = cache_folder(f"{path.stem}-{digest}")

    def link(grown: Path) -> None:
        for name, place in places.items():
            (grown / name).parent.mkdir(exist_ok=True)
            (grown / name).symlink_to(place)

    try:
        return made_once(folder, link)
    except OSError as error:
        cure = "lay the data set out as a COCO folder: python -m tools.convert --from=coco --to=coco"
        raise UserError(f"{path}: no links can be made in {folder.parent} ({error.strerror}); {cure}") from error


def _places(path: Path) -> dict[str, Path]:
    """Names in the published layout, and where each leads. Raises UserError."""
    values = files.read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: no data.yaml; it needs {SHAPE}")
    if "kpt_shape" in values or "nc" in values:
        raise UserError(f"{path}: a YOLO data.yaml; convert it first: python -m tools.convert --from=yolo --to=coco")
    if unknown := [key for key in values if key not in (*SPLITS, "skeleton")]:
        raise UserError(f"{path}: nothing reads the key {unknown[0]!r:.60}; it needs {SHAPE}")
    places: dict[str, Path] = {}
    for split in SPLITS:
        if split in values:
            places |= _of_split(path, split, values[split])
    if not places:
        raise UserError(f"{path}: neither `train` nor `val`; it needs {SHAPE}")
    if "skeleton" in values:
        places[SKELETON] = _there(path, "skeleton", values["skeleton"])
    return places


def _of_split(path: Path, split: str, value: Any) -> dict[str, Path]:
    if not isinstance(value, dict) or set(value) != set(PARTS):
        raise UserError(f"{path}: {split} is {value!r:.80}, not {{images: folder, annotations: file.json}}")
    images, annotations = (_there(path, f"{split}: {part}", value[part]) for part in PARTS)
    if not images.is_dir() or not annotations.is_file():
        wrong, kind = (annotations, "file") if images.is_dir() else (images, "folder")
        raise UserError(f"{path}: {split}: {wrong} is no {kind}; it needs {SHAPE}")
    return {f"{split}2017": images, f"annotations/person_keypoints_{split}2017.json": annotations}


def _there(path: Path, key: str, value: Any) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise UserError(f"{path}: {key} is {value!r:.80}, no path")
    place = Path(os.path.abspath(path.parent / os.path.expanduser(value)))
    if not place.exists():
        raise UserError(f"{path}: {key}: {place} is not there; paths are relative to this file")
    return place
