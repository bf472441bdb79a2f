# SPDX-License-Identifier: Apache-2.0
"""labelme: a JSON file beside each image, with points and rectangles in groups (group_id).

A point's label names the keypoint, a rectangle's the category. labelme turns images as their EXIF tag says.
"""

from pathlib import Path
from typing import Any

from common import files
from tools.convert import grouping, reading
from tools.convert.dataset import Box, Dataset, Image, build
from tools.convert.reading import list_of, number, object_of

CURE = "Open it in labelme and save it again, or take the file out of the folder"
CORNERS = (2, 4)  # a rectangle is written with two or with all


def read(source: Path) -> Dataset:
    """A file, or a folder with files in any depth. Raises UserError, naming file, shape and cure."""
    root = source if source.is_dir() else source.parent
    paths = reading.source_files(source, ("**/*.json",), "the folder of the JSON files")
    return build(source, [_image(path, root) for path in paths])


def _image(path: Path, root: Path) -> Image:
    with reading.entry(path, "file", CURE):
        content = object_of(files.read_json(path), "the content")
        shapes = list_of(content["shapes"], "shapes")
        size = reading.size_of(content.get("imageWidth"), content.get("imageHeight"))
    points, frames = [], []
    for place, shape in enumerate(shapes):
        with reading.entry(path, f"shapes[{place}]", CURE):
            kind = object_of(shape, "the shape").get("shape_type", "point")
            if kind == "point":
                points.append(_point(shape))
            elif kind == "rectangle":
                frames.append(_frame(shape))
    name, file = _place(path, content.get("imagePath"), root)
    with reading.entry(path, "shapes", CURE):
        return Image(name, size, grouping.instances(points, frames), file=file)


def _place(path: Path, name: Any, root: Path) -> tuple[str, Path | None]:
    """An image is named relative to its JSON file, by Windows with backslashes; moved files keep their names."""
    named = str(name or f"{path.stem}.jpg").replace("\\", "/")
    for file in (path.parent / named, path.parent / Path(named).name):
        if file.is_file():
            try:
                return file.resolve().relative_to(root.resolve()).as_posix(), file
            except ValueError:
                return file.name, file
    return named, None


def _coordinates(shape: dict[str, Any]) -> list[tuple[float, float]]:
    pairs = [list_of(pair, "a point") for pair in list_of(shape["points"], "points")]
    if any(len(pair) != 2 for pair in pairs):  # noqa: PLR2004  x and y
        raise ValueError("a point is not [x, y]")
    return [(number(x), number(y)) for x, y in pairs]


def _point(shape: dict[str, Any]) -> grouping.Point:
    found = _coordinates(shape)
    if len(found) != 1:
        raise ValueError(f"a point with {len(found)} places")
    flags = shape.get("flags") if isinstance(shape.get("flags"), dict) else {}
    v = reading.visibility({**(flags or {}), "v": shape.get("description") or ""})
    return grouping.Point(reading.name_of(shape["label"], "the label"), *found[0], v, shape.get("group_id"))


def _frame(shape: dict[str, Any]) -> grouping.Frame:
    found = _coordinates(shape)
    if len(found) not in CORNERS:
        raise ValueError(f"a rectangle with {len(found)} corners")
    left, top = (min(pair[axis] for pair in found) for axis in (0, 1))
    right, bottom = (max(pair[axis] for pair in found) for axis in (0, 1))
    box: Box = left, top, right - left, bottom - top
    return grouping.Frame(reading.name_of(shape["label"], "the label"), box, shape.get("group_id"))
