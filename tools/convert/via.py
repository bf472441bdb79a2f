# SPDX-License-Identifier: Apache-2.0
"""VGG Image Annotator: a project of VIA 2 or 3, annotations of VIA 2 as JSON or CSV; points and rectangles with
attributes.

The attribute called keypoint, part, label, name or the like names a point; instance, group, person or id tells whose it
is. VIA shows images as a browser does, turned by their EXIF tag.
"""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import files
from common.cli import UserError
from tools.convert import grouping, reading
from tools.convert.dataset import Box, Dataset, Image, build
from tools.convert.reading import number, object_of

CURE = "Export again: VIA 2's annotations as json or csv, or the project of VIA 3"
METADATA = "_via_img_metadata"
NAMES = ("keypoint", "keypoints", "part", "bodypart", "joint", "landmark", "label", "name", "class", "category", "type")
GROUPS = ("instance", "instance_id", "group", "group_id", "person", "person_id", "individual", "animal", "object", "id")
COLUMNS = ("filename", "region_shape_attributes", "region_attributes")
SHAPES = {1: ("point", ("cx", "cy")), 2: ("rect", ("x", "y", "width", "height"))}  # of VIA 3, by their numbers
Region = tuple[dict[str, Any], dict[str, Any]]  # attributes of the shape, of the region


def read(source: Path) -> Dataset:
    """A JSON or CSV file, or a folder with one. Raises UserError, naming file, image and cure."""
    paths = reading.source_files(source, ("*.json", "*.csv", "**/*.json", "**/*.csv"), "the exported JSON or CSV file")
    images = [image for path in paths for image in _images(path)]
    if not images:
        raise UserError(f"{source}: no image in it. {CURE}")
    return build(source, images)


def _images(path: Path) -> Iterator[Image]:
    for name, regions in (_of_csv if path.suffix.lower() == ".csv" else _of_json)(path):
        with reading.entry(path, f"image {name!r}", CURE):
            yield _image(name, regions)


def _of_json(path: Path) -> Iterator[tuple[str, list[Region]]]:
    with reading.entry(path, "file", CURE):
        content = object_of(files.read_json(path), "the content")
        if "metadata" in content and "project" in content:
            yield from _of_version_3(content)
            return
        entries = object_of(content.get(METADATA, content), "the list of images")
    for key, value in entries.items():
        with reading.entry(path, f"image {key!r:.80}", CURE):
            value = object_of(value, "the image")
            regions = value.get("regions") or []
            regions = regions.values() if isinstance(regions, dict) else reading.list_of(regions, "regions")
            pairs = [(object_of(one["shape_attributes"]), object_of(one["region_attributes"])) for one in regions]
            yield reading.name_of(value["filename"], "filename"), pairs


def _of_version_3(content: dict[str, Any]) -> Iterator[tuple[str, list[Region]]]:
    """A project of VIA 3: a view shows a file, and its metadata are the regions of a view."""
    known = object_of(content.get("attribute", {}), "attribute")
    regions: dict[str, list[Region]] = {}
    for one in object_of(content["metadata"], "metadata").values():
        if one.get("z"):
            raise ValueError("annotations of moments of a video; take its frames as images, and annotate these")
        kind, *places = reading.list_of(one["xy"], "xy") or [0]
        if kind in SHAPES:
            name, sides = SHAPES[kind]
            shape = {"name": name, **dict(zip(sides, places, strict=True))}
            regions.setdefault(str(one["vid"]), []).append((shape, dict(_said(object_of(one.get("av", {})), known))))
    for view, shown in object_of(content["view"], "view").items():
        (number_,) = reading.list_of(shown["fid_list"], "fid_list")
        file = object_of(content["file"][str(number_)], "a file")
        yield reading.name_of(file.get("fname") or file.get("src"), "fname"), regions.get(view, [])


def _said(values: dict[str, Any], known: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names of attributes and what was written or chosen: an option is there by its number."""
    for key, value in values.items():
        attribute = object_of(known[key], "an attribute")
        yield str(attribute["aname"]), object_of(attribute.get("options") or {}).get(str(value), value)


def _of_csv(path: Path) -> Iterator[tuple[str, list[Region]]]:
    text = files.read_bytes(path).decode("utf-8-sig", "replace")
    found: dict[str, list[Region]] = {}
    reader = csv.DictReader(line for line in io.StringIO(text, newline="") if line.strip())
    names = [str(name).lstrip("# ") for name in reader.fieldnames or ()]
    if not set(COLUMNS) <= set(names):
        raise UserError(f"{path}: its first line has not {', '.join(COLUMNS)}. {CURE}")
    reader.fieldnames = names
    try:
        for row in reader:
            with reading.entry(path, f"line {reader.line_num}", CURE):
                regions = found.setdefault(reading.name_of(row["filename"], "filename"), [])
                shape, attributes = (object_of(json.loads(row[name] or "{}")) for name in COLUMNS[1:])
                if shape:
                    regions.append((shape, attributes))
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: {error}. {CURE}") from error
    yield from found.items()


def _image(name: str, regions: list[Region]) -> Image:
    points, frames = [], []
    for shape, attributes in regions:
        kind = shape.get("name")
        if kind == "point":
            points.append(_point(shape, attributes))
        elif kind == "rect":
            frames.append(_frame(shape, attributes))
    return Image(name, None, grouping.instances(points, frames))


def _attribute(attributes: dict[str, Any], names: tuple[str, ...]) -> str:
    lower = {str(key).strip().lower(): value for key, value in attributes.items()}
    for name in names:
        value = lower.get(name)
        if isinstance(value, dict):  # a checkbox: {"nose": true}
            value = next((key for key, chosen in value.items() if chosen), None)
        if value not in (None, ""):
            return str(value).strip()
    return ""


def _name(attributes: dict[str, Any]) -> str:
    if found := _attribute(attributes, NAMES):
        return reading.name_of(found, "the name")
    known = {*GROUPS, *reading.HIDING, *reading.SHOWING}
    others = [key for key in attributes if str(key).strip().lower() not in known]
    if len(others) == 1 and (found := _attribute(attributes, (str(others[0]).strip().lower(),))):
        return reading.name_of(found, "the name")
    raise ValueError(f"no attribute of {', '.join(map(str, attributes)) or 'none'} names the point: call it `keypoint`")


def _point(shape: dict[str, Any], attributes: dict[str, Any]) -> grouping.Point:
    v = reading.visibility(attributes)
    group = _attribute(attributes, GROUPS) or None
    return grouping.Point(_name(attributes), number(shape["cx"], "cx"), number(shape["cy"], "cy"), v, group)


def _frame(shape: dict[str, Any], attributes: dict[str, Any]) -> grouping.Frame:
    left, top, width, height = (number(shape[side], side) for side in ("x", "y", "width", "height"))
    box: Box = left, top, width, height
    category = _attribute(attributes, NAMES) or grouping.UNNAMED
    return grouping.Frame(reading.name_of(category), box, _attribute(attributes, GROUPS) or None)
