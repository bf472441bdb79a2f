# SPDX-License-Identifier: Apache-2.0
"""Writes a result: a COCO or YOLO folder with its images, or a file for CVAT or Label Studio."""

import shutil
from pathlib import Path, PurePosixPath

from common import files
from tools.convert import coco, cvat, labelstudio, yolo
from tools.convert.dataset import Dataset, Image

FOLDERS = frozenset({"coco", "yolo"})  # results with images
FILE_NAMES = {"cvat": "annotations.xml", "labelstudio": "tasks.json"}


def write(dataset: Dataset, kind: str, target: Path, how: str) -> None:
    """The result, under its name when it is whole; `how` images come: link or copy. Raises UserError."""
    temporary = files.unfinished_name(target.absolute())
    try:
        temporary.mkdir(parents=True)
        if kind in FOLDERS:
            _write_folder(dataset, kind, temporary, how)
        else:
            with (temporary / FILE_NAMES[kind]).open("w", encoding="utf-8") as file:
                (cvat if kind == "cvat" else labelstudio).write(dataset, file)
        if target.is_dir():
            target.rmdir()
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_folder(dataset: Dataset, kind: str, folder: Path, how: str) -> None:
    names = _file_names(dataset.images)
    if kind == "yolo":
        names = {place: f"{dataset.images[place].subset}/{name}" for place, name in names.items()}
    (coco if kind == "coco" else yolo).write(dataset, folder, names)
    for place, image in enumerate(dataset.images):
        if image.file:
            below = f"{image.subset}2017/" if kind == "coco" else "images/"
            _place_image(image.file, folder / f"{below}{names[place]}", how)


def _file_names(images: list[Image]) -> dict[int, str]:
    """Names of the result's images: the source's, relative and nested as they are; two of one name are numbered."""
    names: dict[int, str] = {}
    taken: set[tuple[str, str]] = set()
    for place, image in enumerate(images):
        parts = [part for part in PurePosixPath(image.name.replace("\\", "/")).parts if part not in ("/", "..")]
        absolute = image.name.startswith(("/", "\\")) or image.name[1:2] == ":"
        name = parts[-1] if absolute else "/".join(parts)
        if image.file:  # the name of the file that was found, which may lack a prefix
            name = f"{PurePosixPath(name).parent.as_posix()}/{image.file.name}".removeprefix("./")
        while (image.subset, _stem(name)) in taken:
            name = f"{PurePosixPath(name).with_suffix('')}_{place}{PurePosixPath(name).suffix}"
        taken.add((image.subset, _stem(name)))
        names[place] = name
    return names


def _stem(name: str) -> str:
    """The part of a name that must be unique: YOLO's labels of a.jpg and a.png are one file."""
    return PurePosixPath(name).with_suffix("").as_posix().lower()


def _place_image(source: Path, target: Path, how: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if how == "link":
        try:
            target.symlink_to(source.resolve())
            return
        except OSError:  # a file system without links
            pass
    shutil.copyfile(source, target)
