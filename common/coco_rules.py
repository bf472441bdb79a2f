# SPDX-License-Identifier: Apache-2.0
"""What an annotation file in COCO's format has to be: each rule finds what breaks it, and the file is read to its end.

`common.coco_index` reads the same files for training, and stops at the first thing that it cannot use.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import coco_crowd, coco_sides, files
from common.cli import UserError
from common.skeleton import COCO, Skeleton

import numpy as np

TOLERANCE_IMG = 1.0  # pixels that a box or a keypoint may reach beyond the image: rounding
RARE = 0.01  # of the people who can be judged: so many with exchanged sides are slips, more are a rule
CURES = {
    "file": "Copy or export the annotation file again",
    "images": "Put the images there",
    "image": "Or take the image and its annotations out of the file",
    "size": "Write the size that the image has, or restore the image that was annotated",
    "field": "See cocodataset.org, Data format, Keypoint detection",
    "duplicate": "Give each its own id",
    "unknown": "Take the annotation out, or add what it refers to",
    "count": "Write x, y, v of each keypoint of the skeleton; 0, 0, 0 where it is not labelled",
    "number": "Write finite numbers",
    "visibility": "v is 0 (not labelled), 1 (labelled but hidden) or 2 (visible)",
    "labelled": "Write how many keypoints have v > 0",
    "outside": "Write pixels of the original image; x, y, v are 0, 0, 0 where a keypoint is not labelled",
    "box": "A box is left, top, width, height in pixels of the original image",
    "crowd": "Correct the segmentation, it must fit the image",
    "sides": "Exchange left and right: somebody who faces the camera has the right eye on the left of the picture",
    "people": "Training and evaluation need people with keypoints",
    "skeleton": "Correct the skeleton file or `categories`",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or (`is_error` False) worth a look."""

    file: str
    subject: str  # "image 42", "annotation 7", or "" for the whole file
    kind: str  # a key of CURES
    what: str
    is_error: bool = True

    def __str__(self) -> str:
        place = f"{self.file}: {self.subject}" if self.subject else self.file
        return f"{'error' if self.is_error else 'warning'}: {place}: {self.what}. {CURES[self.kind]}"


Broken = Iterator[tuple[str, str, bool]]  # (kind, what, is_error) of one image or annotation


class AnnotationFile:
    """One annotation file as it stands, whatever is in it, and the rules."""

    def __init__(self, path: Path, skeleton: Skeleton | None = None) -> None:
        """`skeleton`: what the file is meant for; None: what its `categories` say."""
        self.path = path
        self.images: dict[int, dict[str, Any]] = {}
        self._skeleton = skeleton
        self._annotations: list[dict[str, Any]] = []
        self._categories: list[dict[str, Any]] = []
        self._findings: list[Finding] = []
        self._read()

    def check(self) -> list[Finding]:
        """Everything that breaks a rule, in the order of the file."""
        self._check_names()
        self._check_annotations()
        self._check_sides()
        return self._findings

    def _add(self, subject: str, broken: Iterable[tuple[str, str, bool]]) -> None:
        self._findings += [Finding(str(self.path), subject, *rule) for rule in broken]

    def _read(self) -> None:
        try:
            for section, elements in files.json_sections(self.path):
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
                element.pop("segmentation", None)  # the bulk of the file, and needed for nothing here
            self._annotations.append(element)
        elif _integer(element.get("id")) is not None:
            again = [("duplicate", "there is another image of this id", True)] if element["id"] in self.images else []
            self._add(f"image {element['id']}", [*_broken_image(element), *again])
            self.images.setdefault(element["id"], element)
        else:
            self._add(f"images[{place}]", [("field", f"the id is {element.get('id')!r}, no integer", True)])

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the keypoints: those of the file, else of the skeleton, else COCO's where there are as many."""
        named = [category["keypoints"] for category in self._categories if category.get("keypoints")]
        if named:
            return tuple(named[0])
        if self._skeleton:
            return self._skeleton.keypoints
        lengths = Counter(len(person.get("keypoints") or ()) for person in self._annotations)
        most = lengths.most_common(1)[0][0] // 3 if lengths else COCO.num_keypoints
        return COCO.keypoints if most == COCO.num_keypoints else tuple(str(number) for number in range(most))

    def _check_names(self) -> None:
        if self._skeleton and self.names != self._skeleton.keypoints:
            theirs = ", ".join(self._skeleton.keypoints)
            what = f"its keypoints are {', '.join(self.names)}, those of the skeleton {theirs}"
            self._add("categories", [("skeleton", what, True)])

    def _check_annotations(self) -> None:
        ids = Counter(_integer(person.get("id")) for person in self._annotations)
        categories = {_integer(category.get("id")) for category in self._categories}
        length = 3 * len(self.names)
        for place, person in enumerate(self._annotations):
            number, image_id = _integer(person.get("id")), _integer(person.get("image_id"))
            subject = f"annotations[{place}]" if number is None else f"annotation {number}"
            if number is None:
                self._add(subject, [("field", f"the id is {person.get('id')!r}, no integer", True)])
            elif ids[number] > 1:
                self._add(subject, [("duplicate", f"there are {ids[number]} annotations of this id", True)])
            if categories and _integer(person.get("category_id")) not in categories:
                self._add(subject, [("unknown", f"category {person.get('category_id')!r} does not exist", True)])
            if image_id is None or image_id not in self.images:
                self._add(subject, [("unknown", f"image {person.get('image_id')!r} does not exist", True)])
            else:
                self._add(subject, _broken_person(person, self.images[image_id], length))
        if not any(person.get("num_keypoints", 1) and not person.get("iscrowd") for person in self._annotations):
            self._add("", [("people", "nobody with keypoints is annotated", True)])

    def _check_sides(self) -> None:
        names = self.names
        people = [person for person in self._annotations if _numbers(person.get("keypoints"), 3 * len(names))]
        keypoints = np.array([person["keypoints"] for person in people], np.float64).reshape(len(people), len(names), 3)
        testable, exchanged = coco_sides.exchanged(keypoints, names)
        count = int(exchanged.sum())
        if 2 * count > testable.sum():
            what = f"left and right are exchanged, in {count} of {testable.sum()} people who face the camera"
            self._add("", [("sides", what, True)])
        for row in np.flatnonzero(exchanged):
            what = "faces the camera, with left and right exchanged in every pair"
            self._add(f"annotation {people[row].get('id')}", [("sides", what, count > RARE * testable.sum())])


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _numbers(values: Any, length: int) -> bool:
    """Whether it is a list of so many finite numbers."""
    try:
        return len(values) == length and all(map(math.isfinite, values))
    except TypeError:
        return False


def _broken_image(image: dict[str, Any]) -> Broken:
    if not isinstance(image.get("file_name"), str):
        yield "field", f"file_name is {image.get('file_name')!r}", True
    for name in ("height", "width"):
        if not isinstance(image.get(name), int) or image[name] < 1:
            yield "field", f"{name} is {image.get(name)!r}, no number of pixels", True


def _broken_person(person: dict[str, Any], image: dict[str, Any], length: int) -> Broken:
    if any(True for _ in _broken_image(image)):
        return  # said of the image
    size = (image["width"], image["height"])
    yield from _broken_keypoints(person, size, length)
    yield from _broken_box(person, size)
    if "area" not in person:
        yield "field", "no area (square pixels), which AP needs", True
    elif not _numbers([person["area"]], 1):
        yield "number", f"area is {person['area']!r}", True
    if person.get("iscrowd"):
        yield from _broken_crowd(person, size)


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
        if person.get("num_keypoints", len(points)) != len(points):
            yield "labelled", f"num_keypoints is {person['num_keypoints']!r}, but {len(points)} have v > 0", True
        out = [point for point in points if not all(map(_inside, point, size))]
        if out:
            what = f"{len(out)} keypoints lie outside the {size[0]} x {size[1]} image, the first at {out[0]}"
            yield "outside", what, True


def _inside(value: float, length: int) -> bool:
    return -TOLERANCE_IMG <= value <= length + TOLERANCE_IMG


def _broken_box(person: dict[str, Any], size: tuple[int, int]) -> Broken:
    box = person.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        yield "field", f"the box is {box!r}, not four numbers", True
        return
    if not _numbers(box, 4):
        yield "number", f"the box is {box!r}", True
        return
    left, top, width, height = box
    if width < 0 or height < 0:
        yield "box", f"the box has the size {width} x {height}", True
    elif width == 0 or height == 0:  # COCO has some, of people without keypoints
        yield "box", f"the box has the size {width} x {height}", bool(person.get("num_keypoints"))
    corners = ((left, size[0]), (left + width, size[0]), (top, size[1]), (top + height, size[1]))
    if not all(_inside(value, length) for value, length in corners):
        yield "outside", f"the box {box} reaches out of the {size[0]} x {size[1]} image", True


def _broken_crowd(person: dict[str, Any], size: tuple[int, int]) -> Broken:
    if not person.get("segmentation"):
        yield "crowd", "a crowd without segmentation: its box is left out instead", False
        return
    try:
        coco_crowd.run_lengths(person["segmentation"], size[1], size[0])
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
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
