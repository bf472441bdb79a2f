# SPDX-License-Identifier: Apache-2.0
"""What an annotation file in COCO's format has to be: each rule finds what breaks it, and the file is read to its end.

`common.coco.reader` reads the same files for training and evaluation, and stops at the first thing that it cannot
use; whatever it says is a finding here.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from common import files
from common.arrays import BoolArray, FloatArray
from common.cli import UserError
from common.coco import annotations, fields, sides
from common.coco.annotations import CocoIndex
from common.coco.fields import FAULTS, Category, shown
from common.coco.findings import Finding
from common.coco.reader import from_sections
from common.coco.soundness import sound_places
from common.skeleton import COCO, Skeleton

import numpy as np

TOLERANCE_IMG = 1.0  # pixels that a box or a keypoint may reach beyond the image: rounding
RARE = 0.01  # of the people who can be judged: so many with exchanged sides are slips, more are a rule
IMAGE_KEYS = ("id", "file_name", "width", "height", "crowdIndex")  # of an image, that the rules and the reader need
Broken = Iterator[tuple[str, str, bool]]  # (kind, what, is_error) of one image or annotation


class AnnotationFile:
    """One annotation file as it stands, whatever is in it, and the rules."""

    def __init__(self, path: Path, skeleton: Skeleton | None = None) -> None:
        """`skeleton`: what the file is meant for; None: what its `categories` say."""
        self.path = path
        self.images: dict[int, dict[str, Any]] = {}
        self._skeleton = skeleton
        self._image_list: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._categories: list[dict[str, Any]] = []
        self._findings: list[Finding] = []
        try:
            self._read(skip_polygons=True)
        except files.PolygonsNeeded:  # those of a crowd
            for taken in (self.images, self._image_list, self._annotations, self._categories, self._findings):
                taken.clear()
            self._read(skip_polygons=False)

    def check(self) -> list[Finding]:
        """Everything that breaks a rule, in the order of the file."""
        notes: list[tuple[str, str, bool]] = []
        found = self._index(notes)
        index = found if isinstance(found, CocoIndex) else None
        self._check_names()
        self._check_annotations(index)
        self._check_sides(index)
        self._check_reading(found, notes)
        return self._findings

    def _index(self, notes: list[tuple[str, str, bool]]) -> CocoIndex | UserError:
        """What the reader of training and evaluation makes of the file, and says of it."""
        lists = {"categories": self._categories, "images": self._image_list, "annotations": self._annotations}
        num_keypoints = self._skeleton.num_keypoints if self._skeleton else None
        try:
            return from_sections(self.path, lists.items(), num_keypoints, lambda *note: notes.append(note))
        except UserError as error:
            return error

    def _add(self, subject: str, broken: Iterable[tuple[str, str, bool]]) -> None:
        self._findings += [Finding(str(self.path), subject, *rule) for rule in broken]

    def _read(self, skip_polygons: bool) -> None:
        try:
            for section, elements in files.json_sections(self.path, skip_polygons):
                for place, element in enumerate(elements if section in ("images", "annotations", "categories") else ()):
                    if isinstance(element, dict):
                        self._take(section, element, place)
                    else:
                        self._add(f"{section}[{place}]", [("field", "is no JSON object", True)])
        except UserError as error:
            self._add("", [("file", str(error), True)])

    def _take(self, section: str, element: dict[str, Any], place: int) -> None:
        if section == "categories":
            self._categories.append(element)
        elif section == "annotations":
            if not element.get("iscrowd"):
                element.pop("segmentation", None)  # needed for nothing here
            elif element.get("segmentation") == files.SKIPPED:
                raise files.PolygonsNeeded
            self._annotations.append(element)
        else:
            self._take_image(element, place)

    def _take_image(self, element: dict[str, Any], place: int) -> None:
        element = {key: element[key] for key in IMAGE_KEYS if key in element}
        self._image_list.append(element)
        number = _whole(element.get("id"))
        if number is None:
            self._add(f"images[{place}]", [("field", f"the id is {shown(element.get('id'))}, no whole number", True)])
            return
        again = [("duplicate", "there is another image of this id", True)] if number in self.images else []
        self._add(f"image {number}", [*_broken_image(element), *again])
        self.images.setdefault(number, element)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the keypoints: those of the file, else of the skeleton, else COCO's where there are as many."""
        named = next(filter(None, self._names().values()), None)
        if named:
            return tuple(named)
        if self._skeleton:
            return self._skeleton.keypoints
        lengths = Counter(len(person["keypoints"]) for person in self._annotations if _is_list(person.get("keypoints")))
        most = lengths.most_common(1)[0][0] // 3 if lengths else COCO.num_keypoints
        return COCO.keypoints if most == COCO.num_keypoints else tuple(str(number) for number in range(most))

    def _names(self) -> dict[Category, list[str]]:
        """The names of the keypoints of each category; none for things that have no keypoints."""
        found: dict[Category, list[str]] = {}
        for category in self._categories:
            with contextlib.suppress(*FAULTS):
                found.setdefault(fields.category_of(category.get("id")), fields.names_of(category))
        return found

    def _people(self) -> list[dict[str, Any]]:
        """All annotations but those of things without keypoints."""
        named = self._names()
        things = {category for category, names in named.items() if not names} if any(named.values()) else set()
        return [person for person in self._annotations if _category(person.get("category_id")) not in things]

    def _check_names(self) -> None:
        if self._skeleton and self.names != self._skeleton.keypoints:
            theirs = ", ".join(self._skeleton.keypoints)
            what = f"its keypoints are {', '.join(self.names)}, those of the skeleton {theirs}"
            self._add("categories", [("skeleton", what, True)])

    def _check_annotations(self, index: CocoIndex | None) -> None:
        sound = self._sound(index)
        if sound.all():
            return
        ids = Counter(_whole(person.get("id")) for person in self._annotations)
        categories, people, length = self._names(), {id(person) for person in self._people()}, 3 * len(self.names)
        for place in np.flatnonzero(~sound).tolist():
            person = self._annotations[place]
            number, image_id = _whole(person.get("id")), _whole(person.get("image_id"))
            subject = f"annotations[{place}]" if number is None else f"annotation {number}"
            if number is None:
                self._add(subject, [("field", f"the id is {shown(person.get('id'))}, no whole number", True)])
            elif ids[number] > 1:
                self._add(subject, [("duplicate", f"there are {ids[number]} annotations of this id", True)])
            if categories and person.get("category_id") is None:
                self._add(subject, [("unknown", "no category_id", False)])
            elif categories and _category(person["category_id"]) not in categories:
                what = f"category {shown(person.get('category_id'))} does not exist"
                self._add(subject, [("unknown", what, True)])
            if id(person) not in people:
                continue
            if image_id is None or image_id not in self.images:
                self._add(subject, [("unknown", f"image {shown(person.get('image_id'))} does not exist", True)])
            else:
                self._add(subject, _broken_person(person, self.images[image_id], length))

    def _sound(self, index: CocoIndex | None) -> BoolArray:
        """Which annotations need no look."""
        categories = self._names()
        first = self._annotations[0].get("category_id") if self._annotations else None
        is_known = not categories or (first is not None and _category(first) in categories)  # all are of the same
        if index is None or not is_known or index.keypoints.shape[1] != len(self.names):
            return np.zeros(len(self._annotations), np.bool_)
        return sound_places(index, self._annotations, TOLERANCE_IMG)

    def _check_reading(self, index: CocoIndex | UserError, notes: list[tuple[str, str, bool]]) -> None:
        """What the reader says of the file; an error only where none was found before."""
        if isinstance(index, UserError):
            if not any(finding.is_error for finding in self._findings):
                self._add("", [("field", str(index).removeprefix(f"{self.path}: "), True)])
            return
        if not (~index.is_crowd & (index.num_keypoints > 0)).any():
            notes.append(("people", "nobody with keypoints is annotated", True))
        self._add("", [note for note in notes if note[0] != "box"])  # said of each annotation

    def _keypoints(self, index: CocoIndex | None) -> tuple[list[dict[str, Any]], FloatArray]:
        """The annotations with the right number of keypoints, and these: (P, K, 3)."""
        shape = len(self._annotations), len(self.names), 3
        if index is not None and index.keypoints.shape == shape:
            return self._annotations, index.keypoints[np.argsort(index.file_positions)]
        people = [person for person in self._people() if _numbers(person.get("keypoints"), 3 * shape[1])]
        keypoints = np.array([person["keypoints"] for person in people], np.float64)
        return people, keypoints.reshape(len(people), *shape[1:])

    def _check_sides(self, index: CocoIndex | None) -> None:
        names = self.names
        people, keypoints = self._keypoints(index)
        testable, exchanged = sides.exchanged(keypoints, names)
        count = int(exchanged.sum())
        if 2 * count > testable.sum():
            what = f"left and right are exchanged, in {count} of {testable.sum()} people who face the camera"
            self._add("", [("sides", what, True)])
        for row in np.flatnonzero(exchanged):
            what = "faces the camera, with left and right exchanged in every pair"
            number = shown(people[row].get("id"))
            self._add(f"annotation {number}", [("sides", what, count > RARE * testable.sum())])


def _whole(value: Any) -> int | None:
    with contextlib.suppress(ValueError):
        return fields.whole(value, "")
    return None


def _category(value: Any) -> Category:
    with contextlib.suppress(ValueError):
        return fields.category_of(value)
    return shown(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _numbers(values: Any, length: int) -> bool:
    """Whether it is a list of so many finite numbers."""
    try:
        return _is_list(values) and len(values) == length and all(map(math.isfinite, values))
    except (TypeError, OverflowError):
        return False


def _broken_image(image: dict[str, Any]) -> Broken:
    try:
        fields.image_of(image)
    except KeyError as error:
        yield "field", f"no {error}", True
    except FAULTS as error:
        yield "field", str(error), True


def _broken_person(person: dict[str, Any], image: dict[str, Any], length: int) -> Broken:
    if any(True for _ in _broken_image(image)):
        return  # said of the image
    _, _, height, width = fields.image_of(image)
    yield from _broken_keypoints(person, (width, height), length)
    yield from _broken_box(person, (width, height))
    try:
        fields.area_of(person)
        is_crowd = fields.yes_or_no(person.get("iscrowd"), "iscrowd")
    except FAULTS as error:
        yield "field", str(error), True
        return
    if is_crowd:
        yield from _broken_crowd(person, (width, height))


def _broken_keypoints(person: dict[str, Any], size: tuple[int, int], length: int) -> Broken:
    keypoints = person.get("keypoints")
    if not isinstance(keypoints, list):
        yield "field", "no list of keypoints", True
    elif len(keypoints) != length:
        yield "count", f"{len(keypoints)} keypoint numbers, not 3 x {length // 3}", True
    elif not _numbers(keypoints, length):
        yield "number", "a keypoint is NaN, infinite or no number", True
    else:
        flags = keypoints[2::3]
        if not {0, 1, 2}.issuperset(flags):
            yield "visibility", f"v is {next(v for v in flags if v not in (0, 1, 2))!r}", True
        points = [(x, y) for x, y, v in zip(keypoints[0::3], keypoints[1::3], flags, strict=True) if v > 0]
        if person.get("num_keypoints") is not None and _whole(person["num_keypoints"]) != len(points):
            what = f"num_keypoints is {shown(person['num_keypoints'])}, but {len(points)} have v > 0, which are counted"
            yield "labelled", what, False
        out = [point for point in points if not all(map(_inside, point, size))]
        if out:
            what = f"{len(out)} keypoints lie outside the {size[0]} x {size[1]} image, the first at {out[0]}"
            yield "outside", what, True


def _inside(value: float, length: int) -> bool:
    return -TOLERANCE_IMG <= value <= length + TOLERANCE_IMG


def _broken_box(person: dict[str, Any], size: tuple[int, int]) -> Broken:
    box = person.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        yield "field", f"the box is {shown(box)}, not four numbers", True
        return
    if not _numbers(box, 4):
        yield "number", f"the box is {shown(box)}", True
        return
    left, top, width, height = box
    if width < 0 or height < 0:
        yield "box", f"the box has the size {width} x {height}", True
    elif width == 0 or height == 0:  # COCO has some, of people without keypoints
        yield "box", f"the box has the size {width} x {height}", False
    corners = ((left, size[0]), (left + width, size[0]), (top, size[1]), (top + height, size[1]))
    if not all(_inside(value, length) for value, length in corners):
        yield "outside", f"the box {box} reaches out of the {size[0]} x {size[1]} image", True


def _broken_crowd(person: dict[str, Any], size: tuple[int, int]) -> Broken:
    if not person.get("segmentation"):
        yield "crowd", "a crowd without segmentation: its box is left out instead", False
        return
    try:
        annotations.run_lengths(person["segmentation"], size[1], size[0])
    except (*FAULTS, RuntimeError, MemoryError) as error:
        yield "crowd", f"the crowd's segmentation: {error}", True


def broken_skeleton(skeleton: Skeleton) -> list[Finding]:
    """Flip pairs that contradict the names: a keypoint that is left or right must mirror its namesake."""
    mirror = {
        name: skeleton.keypoints[place] for name, place in zip(skeleton.keypoints, skeleton.keypoint_flip, strict=True)
    }
    findings = []
    for name in skeleton.keypoints:
        namesake = _other_side(name, skeleton.keypoints)
        if mirror[name] != namesake:
            what = f"flip_pairs mirror {name} to {mirror[name]}, its name says {namesake}"
            findings.append(Finding(f"skeleton {skeleton.name}", "", "skeleton", what))
    return findings


def _other_side(name: str, names: Sequence[str]) -> str:
    """The name with left and right exchanged, where there is such a keypoint; else the name."""
    for here, there in (("left", "right"), ("right", "left"), ("Left", "Right"), ("Right", "Left")):
        if here in name and name.replace(here, there) in names:
            return name.replace(here, there)
    return name
