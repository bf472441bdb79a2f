# SPDX-License-Identifier: Apache-2.0
"""YOLO pose (Ultralytics, Roboflow): data.yaml with kpt_shape and flip_idx, a text file of fractions for each image.

A line is `class cx cy width height`, then x y or x y v of each keypoint. Ultralytics reads images turned by their
EXIF tag.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common import files
from common.cli import UserError
from common.media.source import IMAGE_SUFFIXES
from common.skeleton import COCO
from tools.convert import places, reading
from tools.convert.dataset import VISIBLE, Box, Category, Dataset, Image, Instance, Named, build
from tools.convert.reading import number

CURE = "YOLO pose: `kpt_shape: [keypoints, 2 or 3]`, `names`, `train` in data.yaml; lines `class cx cy w h x y v ...`"
SUBSETS = {"train": "train", "val": "val", "valid": "val", "test": "test"}
BOX_NUMBERS = 5  # with the class
WITH_V = 3


def read(source: Path) -> Dataset:
    """A data.yaml or a folder with one. Raises UserError, naming file, line and cure."""
    paths = reading.source_files(source, ("data.yaml", "*.yaml", "*.yml"), "data.yaml")
    path, values = _settings(paths, source)
    with reading.entry(path, "data.yaml", CURE):
        names, (count, width) = _class_names(values["names"]), _shape(values["kpt_shape"])
        points = _point_names(values, count)
        known = {key: Category(name, points, (), _flips(values.get("flip_idx"), points)) for key, name in names.items()}
    images = [image for subset, folder in _folders(path, values) for image in _images(subset, folder, known, width)]
    if not images:
        raise UserError(f"{path}: no image in the folders of `train`, `val` and `test`. {CURE}")
    return build(source, images, known.values())


def _settings(paths: Sequence[Path], source: Path) -> tuple[Path, dict[str, Any]]:
    for path in paths:
        values = files.read_yaml(path)
        if isinstance(values, dict) and "names" in values:
            return path, values
    raise UserError(f"{source}: no data.yaml with `names`. {CURE}")


def _class_names(names: Any) -> dict[int, str]:
    items = names.items() if isinstance(names, dict) else enumerate(reading.list_of(names, "names"))
    return {int(number(key, "a class")): reading.name_of(name) for key, name in items}


def _shape(shape: Any) -> tuple[int, int]:
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(one) is int for one in shape):  # noqa: PLR2004
        raise ValueError(f"kpt_shape is {shape!r}, not [keypoints, 2 or 3]")
    if not 0 < shape[0] < 10_000 or shape[1] not in (WITH_V - 1, WITH_V):
        raise ValueError(f"kpt_shape is {shape}, not [keypoints, 2 or 3]")
    return shape[0], shape[1]


def _point_names(values: dict[str, Any], count: int) -> tuple[str, ...]:
    given = values.get("kpt_names")
    given = next(iter(given.values()), None) if isinstance(given, dict) else given
    if given is not None:
        names = tuple(reading.name_of(name) for name in reading.list_of(given, "kpt_names"))
        if len(names) != count or len(set(names)) != count:
            raise ValueError(f"kpt_names has {len(set(names))} names, kpt_shape {count} keypoints")
        return names
    if count == COCO.num_keypoints and values.get("flip_idx") in (None, COCO.keypoint_flip.tolist()):
        return COCO.keypoints
    return tuple(f"point_{place}" for place in range(count))


def _flips(flip: Any, points: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    if flip is None:
        return ()
    if not isinstance(flip, list) or sorted(map(str, flip)) != sorted(map(str, range(len(points)))):
        raise ValueError(f"flip_idx is {flip!r:.60}, no order of {len(points)} keypoints")
    return tuple((points[a], points[b]) for a, b in enumerate(flip) if a < b and flip[b] == a)


def _folders(path: Path, values: dict[str, Any]) -> Iterator[tuple[str, Path]]:
    for key, subset in SUBSETS.items():
        for name in values[key] if isinstance(values.get(key), list) else [values.get(key)]:
            if name:
                yield subset, _folder(path, values.get("path"), str(name), key)


def _folder(path: Path, root: Any, name: str, key: str) -> Path:
    """Where a folder of images or a list of them is: exports name places of the machine that wrote them."""
    starts = [path.parent / str(root), path.parent] if root else [path.parent]
    for place in (*(_below(start, name) for start in starts), path.parent / key / "images"):
        if place and place.exists():
            return place
    raise UserError(f"{path}: {key}: {name}: no such folder, also not beside this file. Write where the images lie")


def _below(start: Path, name: str) -> Path | None:
    """The file of another machine's path below `start`: its longest existing end, of at least two parts."""
    parts = name.strip().replace("\\", "/").split("/")
    ends = ["/".join(parts[place:]) for place in range(max(1, len(parts) - 1))]
    return next((start / end for end in ends if end and (start / end).exists()), None)


def _images(subset: str, folder: Path, known: dict[int, Category], width: int) -> Iterator[Image]:
    for path, name in _listed(folder):
        labels = _label_path(path)
        people = _people(labels, known, width) if labels.is_file() else ()
        yield Image(name, None, people, subset, fractions=True, file=path)


def _listed(folder: Path) -> Iterator[tuple[Path, str]]:
    if folder.is_dir():
        for path in sorted(places.files_below(folder)):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                yield path, path.relative_to(folder).as_posix()
        return
    for line in files.read_bytes(folder).decode("utf-8-sig", "replace").splitlines():
        if line.strip():
            place = _below(folder.parent, line) or folder.parent / line.strip()
            is_inside = place.is_relative_to(folder.parent)
            yield place, place.relative_to(folder.parent).as_posix() if is_inside else place.name


def _label_path(image: Path) -> Path:
    """.../images/a.jpg -> .../labels/a.txt"""
    parts = list(image.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _people(path: Path, known: dict[int, Category], width: int) -> tuple[Named, ...]:
    lines = files.read_bytes(path).decode("utf-8-sig", "replace").splitlines()
    found = []
    for place, line in enumerate(lines, 1):
        if line.strip():
            with reading.entry(path, f"line {place}", CURE):
                found.append(_person(line.split(), known, width))
    return tuple(found)


def _person(words: list[str], known: dict[int, Category], width: int) -> Named:
    values = [number(word, "a value") for word in words]
    if values[0] not in known:
        raise ValueError(f"class {words[0]}, which data.yaml does not name")
    category = known[int(values[0])]
    needed = BOX_NUMBERS + width * len(category.keypoints)
    if len(values) not in (needed, needed + 1):  # the last may be the confidence of a prediction
        raise ValueError(f"{len(values)} numbers, not {needed}")
    x, y, wide, high = values[1:BOX_NUMBERS]
    box: Box = x - wide / 2, y - high / 2, wide, high
    rows = [values[start : start + width] for start in range(BOX_NUMBERS, needed, width)]
    points = {name: (row[0], row[1], _v(row)) for name, row in zip(category.keypoints, rows, strict=True)}
    return Named(category.name, points, box)


def _v(row: list[float]) -> int:
    if len(row) < WITH_V:
        return VISIBLE if row[0] or row[1] else 0
    if row[2] not in (0, 1, VISIBLE):
        raise ValueError(f"v is {row[2]:g}, not 0, 1 or 2")
    return int(row[2])


def write(dataset: Dataset, folder: Path, names: dict[int, str]) -> None:
    """labels/<subset>/*.txt and data.yaml; `names`: the place of each image below images/, by its position."""
    numbers = {name: place for place, name in enumerate(dataset.categories)}
    for place, image in enumerate(dataset.images):
        path = folder / "labels" / Path(names[place]).with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        width, height = image.size or (1, 1)
        lines = [_line(one, numbers[one.category], width, height) for one in image.instances]
        path.write_text("".join(lines), encoding="utf-8")
    (folder / "data.yaml").write_text(_settings_text(dataset), encoding="utf-8")


def _line(one: Instance, category: int, width: int, height: int) -> str:
    left, top, wide, high = one.box or (0, 0, 0, 0)
    box = ((left + wide / 2) / width, (top + high / 2) / height, wide / width, high / height)
    points = [f"{x / width:.6f} {y / height:.6f} {v:.0f}" for x, y, v in one.keypoints.tolist()]
    return " ".join([str(category), *(f"{value:.6f}" for value in box), *points]) + "\n"


def _settings_text(dataset: Dataset) -> str:
    first = next(iter(dataset.categories.values()))
    mirror = {a: b for pair in first.flip_pairs for a, b in (pair, pair[::-1])}
    flip = [first.keypoints.index(mirror.get(name, name)) for name in first.keypoints]
    subsets = sorted({image.subset for image in dataset.images})
    folders = "".join(f"{subset}: images/{subset}\n" for subset in subsets)
    names = "".join(f"  {place}: {json.dumps(name)}\n" for place, name in enumerate(dataset.categories))
    points = "".join(
        f"  {place}: {json.dumps(list(one.keypoints))}\n" for place, one in enumerate(dataset.categories.values())
    )
    return (
        f"{folders}kpt_shape: [{len(first.keypoints)}, {WITH_V}]\nflip_idx: {flip}\nnames:\n{names}kpt_names:\n{points}"
    )
