# SPDX-License-Identifier: Apache-2.0
"""Reads COCO keypoint files into a `CocoIndex`: the one reader of training, evaluation and the check."""

import contextlib
import gc
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from common import files
from common.arrays import BoolArray
from common.cli import UserError, note
from common.coco import fields
from common.coco.annotations import CocoIndex, compressed_region, to_offsets
from common.coco.fields import FAULTS, LARGEST_IMG, shown, whole

import numpy as np

FORMAT_ADVICE = "A COCO keypoint file is needed; `python -m common.coco DATA_PATH` lists all that is wrong"
NO_AREA_IMG = 1.0  # px^2; no person is this small: not an area
PERSON = "person"
# Outlines of COCO's annotations are six tenths of its file, and five sixths of the time and memory to parse it.
_POLYGONS = re.compile(rb'("segmentation"\s*:\s*)\[\s*\[[-+0-9.,eE\s\[\]]*\]')
Value = TypeVar("Value")


class Fault(NamedTuple):
    """A part of a file that cannot be used, or (`is_error` False) that can, but should be reported."""

    subject: str  # "annotation 7"; empty: the whole file
    kind: str  # as of the check
    what: str
    is_error: bool = True


def load(annotation_file: str | Path, num_keypoints: int | None = None) -> CocoIndex:
    """The index of an annotation file.

    `num_keypoints`: how many an annotation must have; None: as many as `categories` name, else as most have. Raises
    UserError, naming the file, the element and the cure, for what is missing, cut short or no COCO keypoint file.
    """
    index, faults = parse(read(annotation_file), num_keypoints)
    if errors := [fault for fault in faults if fault.is_error]:
        subject = f"{errors[0].subject}: " if errors[0].subject else ""
        raise UserError(f"{annotation_file}: {subject}{errors[0].what}. {FORMAT_ADVICE}")
    for fault in faults:
        note(f"{annotation_file}: {fault.what}")
    return index


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """It would look through millions of new objects, none of them garbage: a quarter of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_without_garbage_collection()
def read(path: str | Path) -> dict[str, Any]:
    """The content of an annotation file; in place of a `segmentation` of polygons is None.

    Raises UserError, naming file, line and character, where the file is missing or no whole JSON object.
    """
    text = _POLYGONS.sub(rb"\1null", files.read_bytes(path))
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = files.read_json(path)  # its error has the position in the whole text
    if not isinstance(content, dict):
        raise UserError(f"{path}: a list, where an object with lists (`images`, `annotations`) is needed")
    return content


@_without_garbage_collection()
def parse(content: dict[str, Any], num_keypoints: int | None = None) -> tuple[CocoIndex, list[Fault]]:
    """The index of the usable part of a file, and the file's errors."""
    faults: list[Fault] = []
    images: dict[int, list[Any]] = {}  # by id: file name, height, width, crowdIndex
    for _, (number, *image) in _each(content, "images", fields.image_of, faults):
        if number in images:
            faults.append(Fault(f"image {number}", "field", "there is another image of this id"))
        images.setdefault(number, image)
    if content.get("images") == []:
        faults.append(Fault("", "field", "its list 'images' is empty"))
    category, names, length = _category_of_people(content, num_keypoints, faults)
    rows = {number: row for row, number in enumerate(images)}

    def read_person(element: dict[str, Any]) -> tuple[Any, ...] | None:
        is_person = fields.category_of(element.get("category_id")) == category
        return _person(element, rows, length) if is_person else None

    annotations = _each(content, "annotations", read_person, faults)
    people = [(*person, position) for position, person in annotations if person]
    people.sort(key=lambda person: person[0])  # by their images
    return _index(images, people, names, length // 3, faults), faults


def _each(
    content: dict[str, Any], name: str, read: Callable[[dict[str, Any]], Value], faults: list[Fault]
) -> Iterator[tuple[int, Value]]:
    """Applies `read` to each element of a list, yields places and values; one of FAULTS is an error of the file."""
    if not isinstance(content.get(name), list):
        faults.append(Fault("", "field", f"no list {name!r}"))
        return
    for position, element in enumerate(content[name]):
        try:
            fields.need_object(element)
            value = read(element)
        except FAULTS as error:
            faults.append(Fault(_subject(name, position, element), "field", fields.words(error)))
        else:
            yield position, value


def _subject(name: str, position: int, element: Any) -> str:
    """`annotation 7` by its id, or `annotations[6]` by its place where that cannot be read."""
    try:
        return f"{name.removesuffix('s')} {whole(element['id'], 'id')}"
    except FAULTS:
        return f"{name}[{position}]"


def _category_of_people(
    content: dict[str, Any], num_keypoints: int | None, faults: list[Fault]
) -> tuple[str | None, list[str], int]:
    """The category with keypoints, their names, and how many numbers they have.

    Of several it is the one whose keypoints have names, fit the skeleton, are those of persons. None: no people.
    """
    usual, titles, names = _usual_lengths(content), dict[str, str](), dict[str, list[str]]()
    for _, (number, title, points) in _each({"categories": [], **content}, "categories", fields.category, faults):
        titles[number], names[number] = title, points

    def fitness(category: str) -> tuple[bool, ...]:
        is_person = titles.get(category, "").lower() == PERSON
        length = usual[category]
        return bool(names.get(category)), length > 0, length == 3 * (num_keypoints or 0), is_person

    chosen = max(usual, key=fitness, default=None)
    points = names.get(chosen or "") or next(filter(None, names.values()), [])
    length = 3 * (num_keypoints or len(points)) or usual.get(chosen or "", 0)
    if chosen is None or (points and not names.get(chosen, points)):  # only things, no people
        return None, points, length
    if others := usual.keys() - {chosen}:
        titled = {one: f"{shown(one)} ({shown(titles.get(one, ''))})" for one in sorted(usual)}
        if fitness(chosen) in map(fitness, others):
            what = f"Several have keypoints: {', '.join(titled.values())}. Name one of them `person`"
            faults.append(Fault("", "category", f"which category are the people? {what}"))
        what = f"people are the category {titled.pop(chosen)}; left out: {', '.join(titled.values())}"
        faults.append(Fault("", "category", what, is_error=False))
    return chosen, points, length


def _usual_lengths(content: dict[str, Any]) -> dict[str, int]:
    """How many numbers the keypoints of most annotations of each category have."""
    lengths = defaultdict[str, Counter[int]](Counter)
    annotations = content.get("annotations")
    for element in filter(lambda one: isinstance(one, dict), annotations if isinstance(annotations, list) else ()):
        keypoints = element.get("keypoints")
        length = len(keypoints) if isinstance(keypoints, list) else 0
        lengths[fields.category_of(element.get("category_id"))][length] += 1
    return {category: counter.most_common(1)[0][0] for category, counter in lengths.items()}


def _person(element: dict[str, Any], rows: dict[int, int], length: int) -> tuple[Any, ...]:
    """Image row, id, whether a crowd, area, box, keypoints, segmentation. Raises one of FAULTS.

    `rows`: of images by their ids; `length`: how many numbers the keypoints have.
    """
    number, image = whole(element["id"], "id"), whole(element["image_id"], "image_id")
    keypoints, box = fields.numbers_of(element, "keypoints", "f"), fields.box_of(element)
    if len(keypoints) != length:
        raise ValueError(f"{len(keypoints)} keypoint numbers, not 3 x {length // 3}")
    if image not in rows:
        raise ValueError(f"image {image} does not exist, or cannot be used")
    is_crowd, area = fields.yes_or_no(element.get("iscrowd"), "iscrowd"), fields.area_of(element)
    return rows[image], number, is_crowd, area, box, keypoints, element.get("segmentation")


def _index(
    images: dict[int, Any], people: list[tuple[Any, ...]], names: list[str], num_keypoints: int, faults: list[Fault]
) -> CocoIndex:
    """The index of images by their ids, and of people, image after image: see `_person`, and the place in the file."""
    file_names, heights, widths, crowd_index = zip(*images.values(), strict=True) if images else ((),) * 4
    columns = zip(*people, strict=True) if people else ((),) * 8
    image_rows, ids, crowds, areas, boxes, keypoints, segmentations, positions = columns
    sizes = np.array([heights, widths], np.int32).T
    boxes_img = np.frombuffer(b"".join(boxes), np.float64).reshape(-1, 4)
    keypoints_img = np.frombuffer(b"".join(keypoints), np.float32).reshape(len(people), num_keypoints, 3)
    lacks_area = np.array(areas, np.float64) <= NO_AREA_IMG
    finite: BoolArray = np.all(np.abs(boxes_img) < LARGEST_IMG, axis=1)
    finite &= np.all(np.abs(keypoints_img) < LARGEST_IMG, axis=(1, 2))
    rles = [b""] * np.count_nonzero(crowds)
    for crowd, row in enumerate(np.flatnonzero(crowds).tolist()):
        try:
            rles[crowd] = compressed_region(segmentations[row], boxes[row], *sizes[image_rows[row]].tolist())
        except (*FAULTS, RuntimeError, MemoryError) as error:
            faults.append(Fault(f"annotation {ids[row]}", "crowd", f"segmentation of the crowd: {error}"))
    index = CocoIndex(
        image_ids=np.array(list(images), np.int64),
        file_names=np.array(file_names, np.bytes_),
        image_sizes=sizes,
        crowd_index=np.array(crowd_index, np.float64),
        person_offsets=to_offsets(np.bincount(np.array(image_rows, np.int64), minlength=len(images))),
        annotation_ids=np.array(ids, np.int64),
        file_positions=np.array(positions, np.int32),
        boxes=boxes_img,
        areas=np.where(lacks_area, np.maximum(boxes_img[:, 2:], 0).prod(axis=1), np.array(areas, np.float64)),
        keypoints=keypoints_img,
        num_keypoints=(keypoints_img[..., 2] > 0).sum(axis=1).astype(np.int16),
        is_crowd=np.array(crowds, np.bool_),
        crowd_rles=np.array(rles, np.bytes_),
        keypoint_names=np.array(names, np.str_),
    )
    for number in index.annotation_ids[~finite].tolist():
        faults.append(Fault(f"annotation {number}", "field", "NaN or infinity, or a place beyond any image"))
    index = index if finite.all() else index.select(np.arange(len(images)), finite)
    faults += _oddities(index, int(lacks_area.sum()))
    return index


def _oddities(index: CocoIndex, without_area: int) -> Iterator[Fault]:
    """Errors that only the whole file shows."""
    labelled = index.keypoints[index.keypoints[..., 2] > 0][:, :2]
    for name, values in (("keypoints", labelled), ("boxes", index.boxes)):
        if len(values) and 0 < np.abs(values).max() <= 1:
            what = f"all coordinates of {name} lie between 0 and 1: parts of the image. Multiply them by its width and"
            yield Fault("", "field", f"{what} height: pixels of the original image are needed")
    if without_area:
        what = f"{without_area} of {len(index.areas)} annotations have no area above {NO_AREA_IMG:g} px^2"
        yield Fault("", "area", f"{what}: that of the box counts", is_error=False)
    flat = ~index.is_crowd & (index.num_keypoints > 0) & (index.boxes[:, 2:] <= 0).any(axis=1)
    if flat.any():
        first = f"the first: annotation {index.annotation_ids[flat][0]}"
        what = f"people with a box of width or height 0, not used in training: {np.count_nonzero(flat)} ({first})"
        yield Fault("", "box", what, is_error=False)
