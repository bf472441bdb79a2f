# SPDX-License-Identifier: Apache-2.0
"""CVAT for images 1.1 (annotations.xml): skeletons, points in groups, boxes.

A skeleton's `points` elements are its keypoints; occluded="1" is hidden, outside="1" not labelled. Without skeletons, a
shape of one point is a keypoint, whose instance is its group or the box around it; a shape of several points is an
instance. CVAT turns images as their EXIF tag says, and annotates what it shows.
"""

import html
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from common.cli import UserError
from tools.convert import grouping, reading
from tools.convert.dataset import HIDDEN, Box, Category, Dataset, Image, Instance, Named, build
from tools.convert.reading import number

CURE = "Export again as `CVAT for images 1.1`"
NODE, EDGE = re.compile(r"<circle\b[^>]*>"), re.compile(r"<line\b[^>]*>")
ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')
BOXES = "_box"  # ends the label of the boxes that belong to skeletons: a label of skeletons takes no boxes


def read(source: Path) -> Dataset:
    """A file or a folder with annotations.xml. Raises UserError, naming file, image and cure."""
    known: dict[str, Category] = {}
    paths = reading.source_files(source, ("annotations.xml", "*.xml", "**/*.xml"), "annotations.xml")
    images = [image for path in paths for image in _images(path, known)]
    if not images:
        raise UserError(f"{source}: no image in it. {CURE}")
    return build(source, images, known.values())


def _images(path: Path, known: dict[str, Category]) -> Iterator[Image]:
    parents: dict[str, list[str]] = {}
    for element in reading.xml_elements(path, frozenset({"label", "image", "track"})):
        if element.tag == "track":
            raise UserError(f"{path}: annotations of a video, in tracks. {CURE}")
        place = f"{element.tag} {element.get('name') or element.findtext('name') or '?'!r}"
        with reading.entry(path, place, CURE):
            if element.tag == "label":
                _take_label(element, known, parents)
            else:
                yield _image(element, known)


def _take_label(element: ElementTree.Element, known: dict[str, Category], parents: dict[str, list[str]]) -> None:
    name = reading.name_of(element.findtext("name"), "the label")
    if parent := element.findtext("parent"):
        parents.setdefault(parent, []).append(name)
    elif element.findtext("type") == "skeleton":
        known[name] = Category(name, (), _limbs(element.findtext("svg") or ""))
    for label in (name, parent):
        if label in known and label in parents:
            known[label] = _category(known[label], tuple(dict.fromkeys(parents[label])))


def _category(one: Category, keypoints: tuple[str, ...]) -> Category:
    return Category(one.name, keypoints, one.limbs)


def _limbs(svg: str) -> tuple[tuple[str, str], ...]:
    """The edges of a skeleton's drawing, by the names of their ends."""
    nodes = [_attributes(node) for node in NODE.findall(svg)]
    names = {node.get("data-node-id"): node.get("data-label-name") for node in nodes}
    edges = [_attributes(edge) for edge in EDGE.findall(svg)]
    ends = [(names.get(edge.get("data-node-from")), names.get(edge.get("data-node-to"))) for edge in edges]
    return tuple((a, b) for a, b in ends if a and b)


def _attributes(tag: str) -> dict[str, str]:
    return {key: html.unescape(value) for key, value in ATTRIBUTE.findall(tag)}


def _image(element: ElementTree.Element, known: dict[str, Category]) -> Image:
    boxes = {box.get("group_id"): _box(box) for box in element.iter("box") if box.get("group_id")}
    skeletons = [_skeleton(one, boxes) for one in element.iterfind("skeleton")]
    taken = {one.get("group_id") for one in element.iterfind("skeleton")}
    shapes = [(one, _points(one.get("points", ""))) for one in element.iterfind("points")]
    whole = [_shape(one, points, boxes) for one, points in shapes if len(points) > 1]
    taken |= {one.get("group_id") for one, points in shapes if len(points) > 1}
    single = [_point(one, *points[0]) for one, points in shapes if len(points) == 1]
    frames = [
        grouping.Frame(_label(box), _box(box), box.get("group_id"))
        for box in element.iterfind("box")
        if not (box.get("group_id") and box.get("group_id") in taken)
    ]
    name = element.get("name") or ""
    size = reading.size_of(element.get("width"), element.get("height"))
    if not name:
        raise ValueError("it has no name")
    return Image(name, size, (*skeletons, *whole, *grouping.instances(single, frames)), _subset(element))


def _subset(element: ElementTree.Element) -> str:
    subset = element.get("subset", "")
    return "" if subset.lower() == "default" else subset


def _label(element: ElementTree.Element) -> str:
    return reading.name_of(element.get("label"), "a label")


def _box(element: ElementTree.Element) -> Box:
    """Around the rectangle, which may be turned about its middle (`rotation`, degrees)."""
    left, top, right, bottom = (number(element.get(side), side) for side in ("xtl", "ytl", "xbr", "ybr"))
    angle = math.radians(number(element.get("rotation", 0), "rotation"))
    cos, sin, width, height = abs(math.cos(angle)), abs(math.sin(angle)), abs(right - left), abs(bottom - top)
    wide, high = width * cos + height * sin, width * sin + height * cos
    return (left + right - wide) / 2, (top + bottom - high) / 2, wide, high


def _points(text: str) -> list[tuple[float, float]]:
    pairs = [pair.split(",") for pair in text.split(";") if pair.strip()]
    if any(len(pair) != 2 for pair in pairs):  # noqa: PLR2004  x and y
        raise ValueError(f"points are {text[:40]!r}, not x,y;x,y")
    return [(number(x), number(y)) for x, y in pairs]


def _v(element: ElementTree.Element) -> int:
    if reading.is_yes(element.get("outside", "0")):
        return 0
    if reading.is_yes(element.get("occluded", "0")):
        return HIDDEN
    return reading.visibility({str(one.get("name")): one.text for one in element.iterfind("attribute")})


def _skeleton(element: ElementTree.Element, boxes: dict[str | None, Box]) -> Named:
    points = {}
    for one in element.iterfind("points"):
        name, found = _label(one), _points(one.get("points", ""))
        if name in points:
            raise ValueError(f"two points {name!r} in one skeleton")
        points[name] = (*found[0], _v(one)) if found else (0.0, 0.0, 0)
    return Named(_label(element), points, boxes.get(element.get("group_id")))


def _shape(element: ElementTree.Element, points: list[tuple[float, float]], boxes: dict[str | None, Box]) -> Named:
    named = {f"point_{place}": (x, y, _v(element)) for place, (x, y) in enumerate(points)}
    return Named(_label(element), named, boxes.get(element.get("group_id")))


def _point(element: ElementTree.Element, x: float, y: float) -> grouping.Point:
    return grouping.Point(_label(element), x, y, _v(element), element.get("group_id"))


def write(dataset: Dataset, target: TextIO) -> None:
    """annotations.xml of all images. A box is a shape of the label `<category>_box` in its skeleton's group."""
    target.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n')
    target.writelines(_meta(dataset))
    for number_, image in enumerate(dataset.images):
        target.writelines(_lines(number_, image, dataset.categories))
    target.write("</annotations>\n")


def _meta(dataset: Dataset) -> Iterator[str]:
    yield "  <meta><task><labels>\n"
    for category in dataset.categories.values():
        yield _label_line(category.name, "skeleton", _svg(category))
        for name in category.keypoints:
            yield _label_line(name, "points", f"<parent>{_escaped(category.name)}</parent>")
        if any(one.box for image in dataset.images for one in image.instances if one.category == category.name):
            yield _label_line(f"{category.name}{BOXES}", "rectangle", "")
    yield "  </labels></task></meta>\n"


def _label_line(name: str, kind: str, more: str) -> str:
    return f"    <label><name>{_escaped(name)}</name><type>{kind}</type><attributes></attributes>{more}</label>\n"


def _svg(category: Category) -> str:
    """The drawing that CVAT needs of a skeleton, its points on a circle; it is text inside the XML."""
    places = {name: place for place, name in enumerate(category.keypoints)}
    turn = 2 * math.pi / max(1, len(places))
    spots = [(50 + 40 * math.sin(turn * place), 50 - 40 * math.cos(turn * place)) for place in places.values()]
    lines = [
        f'<line x1="{spots[places[a]][0]:.1f}" y1="{spots[places[a]][1]:.1f}" x2="{spots[places[b]][0]:.1f}" '
        f'y2="{spots[places[b]][1]:.1f}" data-type="edge" data-node-from="{places[a] + 1}" '
        f'data-node-to="{places[b] + 1}"></line>'
        for a, b in category.limbs
        if a in places and b in places
    ]
    nodes = [
        f'<circle r="1.5" cx="{x:.1f}" cy="{y:.1f}" data-type="element node" data-element-id="{place + 1}" '
        f'data-node-id="{place + 1}" data-label-name="{html.escape(name)}"></circle>'
        for (name, place), (x, y) in zip(places.items(), spots, strict=True)
    ]
    return f"<svg>{_escaped(''.join(lines + nodes))}</svg>"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _lines(number_: int, image: Image, categories: dict[str, Category]) -> Iterable[str]:
    width, height = image.size or (0, 0)
    subset = f" subset={quoteattr(image.subset)}" if image.subset else ""
    yield f'  <image id="{number_}" name={quoteattr(image.name)}{subset} width="{width}" height="{height}">\n'
    for group, one in enumerate(image.instances, 1):
        yield from _shape_lines(group, one, categories[one.category])
    yield "  </image>\n"


def _shape_lines(group: int, one: Instance, category: Category) -> Iterable[str]:
    name = quoteattr(category.name)
    in_group = f' group_id="{group}"' if one.box else ""
    yield f'    <skeleton label={name} source="manual" z_order="0"{in_group}>\n'
    for label, (x, y, v) in zip(category.keypoints, one.keypoints.tolist(), strict=True):
        yield (
            f'      <points label={quoteattr(label)} source="manual" outside="{int(v == 0)}" '
            f'occluded="{int(v == HIDDEN)}" points="{x:.2f},{y:.2f}"></points>\n'
        )
    yield "    </skeleton>\n"
    if one.box:
        left, top, width, height = one.box
        yield (
            f'    <box label={quoteattr(category.name + BOXES)} source="manual" occluded="0" xtl="{left:.2f}" '
            f'ytl="{top:.2f}" xbr="{left + width:.2f}" ybr="{top + height:.2f}" z_order="0"{in_group}></box>\n'
        )
