# SPDX-License-Identifier: Apache-2.0
"""Reads COCO keypoint files into a `CocoIndex`: the one reader of training, evaluation and the check.

What is wrong is one line that names the element. What can be read, but should be known, is told to `say`.
"""

import functools
import os
import sys
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from common import files
from common.cli import UserError
from common.coco import fields
from common.coco.annotations import NO_CROWD_INDEX, CocoIndex, places_of, run_lengths, to_offsets
from common.coco.fields import FAULTS, LARGEST_IMG, Category, shown, whole

import numpy as np
import numpy.typing as npt

__all__ = ["CocoIndex", "from_sections", "load"]

FORMAT_ADVICE = "A COCO keypoint file is needed; `python -m common.coco DATA_PATH` lists all that is wrong"
BOX_NUMBERS = 4
NO_AREA_IMG = 1.0  # px^2; nobody is so small: what stands there is no area
NO_RUNS = np.zeros(0, np.int32)
PERSON = "person"
Say = Callable[[str, str, bool], None]  # kind of the finding, what it is, whether it spoils training or evaluation


def load(annotation_file: str | Path, num_keypoints: int | None = None, say: Say | None = None) -> CocoIndex:
    """The index of an annotation file, read element by element: the file never stands in memory as objects.

    `num_keypoints`: how many an annotation must have; None: as many as the first one has. `say`: what is told of odd
    values; None: a line each on the error stream.
    Raises UserError, naming the file, the element and the cure, where the file is missing, is cut short or is no COCO
    keypoint file, has no images, where an annotation belongs to no image, has another number of keypoints, or is not
    finite, where coordinates are parts of the image instead of pixels, or where it is not clear who the people are.
    """
    try:
        sections = files.json_sections(annotation_file, skip_polygons=True)
        return from_sections(annotation_file, sections, num_keypoints, say)
    except files.PolygonsNeeded:
        return from_sections(annotation_file, files.json_sections(annotation_file), num_keypoints, say)


def from_sections(
    source: str | Path,
    sections: Iterable[tuple[str, Iterable[Any]]],
    num_keypoints: int | None = None,
    say: Say | None = None,
) -> CocoIndex:
    """The index of the lists of a COCO file, given as (name, elements); `source` is the name that errors tell."""
    builder = _Builder(source, num_keypoints, say or functools.partial(_print_note, str(source)))
    take = {"images": builder.add_image, "annotations": builder.add_person, "categories": builder.add_category}
    found = set()
    for section, entries in sections:
        found.add(section)
        for position, element in enumerate(entries if section in take else ()):
            try:
                take[section](position, element)
            except FAULTS as error:
                raise builder.error(section, position, error) from error
    for section in ("images", "annotations"):
        if section not in found:
            raise UserError(f"{source}: no list {section!r}. {FORMAT_ADVICE}")
    return builder.finish()


@functools.cache
def _print_note(source: str, kind: str, what: str, is_error: bool) -> None:
    """Once a process, by the first rank."""
    if os.environ.get("RANK", "0") == "0":
        print(f"note: {source}: {what}", file=sys.stderr, flush=True)  # noqa: T201


class _People:
    """The annotations of one category in compact arrays, up to the first that cannot be read."""

    def __init__(self) -> None:
        self.num_keypoints = 0  # of the first annotation
        self.fault: tuple[int, Exception] | None = None  # place in the file
        self.ids, self.owners, self.positions, self.is_crowd = array("q"), array("q"), array("i"), array("b")
        self.boxes, self.areas, self.keypoints = array("d"), array("d"), array("f")
        self.without_area = 0
        self.regions: dict[int, Any] = {}  # the segmentation of each crowd

    def add(self, position: int, element: dict[str, Any], num_keypoints: int | None) -> None:
        """Takes an annotation; after a fault nothing more."""
        try:
            if self.fault is None:
                self._add(position, element, num_keypoints)
        except FAULTS as error:
            self.fault = position, error

    def _add(self, position: int, element: dict[str, Any], num_keypoints: int | None) -> None:
        number, owner = whole(element["id"], "id"), whole(element["image_id"], "image_id")
        keypoints, box = fields.numbers_of(element, "keypoints", "f"), fields.numbers_of(element, "bbox")
        self.num_keypoints = self.num_keypoints or len(keypoints) // 3
        wanted = num_keypoints or self.num_keypoints
        if not keypoints or len(keypoints) != 3 * wanted:
            raise ValueError(f"annotation {number} has {len(keypoints)} keypoint numbers, not 3 x {wanted}")
        if len(box) != BOX_NUMBERS:
            raise ValueError(f"the box of annotation {number} is not [left, top, width, height]")
        area = fields.area_of(element)
        if fields.yes_or_no(element.get("iscrowd"), "iscrowd"):
            region = element.get("segmentation") or [corners(box)]
            if region == files.SKIPPED:
                raise files.PolygonsNeeded
            self.regions[len(self.ids)] = region
        self.is_crowd.append(len(self.ids) in self.regions)
        self.without_area += area is None
        self.areas.append(max(box[2], 0.0) * max(box[3], 0.0) if area is None else area)
        self.keypoints.extend(keypoints)
        self.boxes.extend(box)
        self.ids.append(number)
        self.owners.append(owner)
        self.positions.append(position)


def corners(box: "array[float] | list[float]") -> list[float]:
    """The polygon of a box: x, y, x, y..."""
    left, top, width, height = box
    return [left, top, left + width, top, left + width, top + height, left, top + height]


class _Builder:
    """Collects the elements of a file; at the end it is known who the people are."""

    def __init__(self, source: str | Path, num_keypoints: int | None, say: Say) -> None:
        self.source, self.num_keypoints, self.say = source, num_keypoints, say
        self.image_ids, self.image_sizes, self.file_names = array("q"), array("i"), list[bytes]()
        self.crowd_index = array("d")
        self.people: dict[Category, _People] = {}
        self.titles: dict[Category, str] = {}  # of each category in `categories`
        self.names: dict[Category, list[str]] = {}  # of the keypoints of these

    def error(self, section: str, position: int, error: Exception) -> UserError:
        """What is raised for an element that cannot be read."""
        what = f" has no {error}" if isinstance(error, KeyError) else f": {error}"
        return UserError(f"{self.source}: {section}[{position}]{what}. {FORMAT_ADVICE}")

    def add_category(self, position: int, element: Any) -> None:
        fields.need_object(element)
        category = fields.category_of(element.get("id"))
        self.names.setdefault(category, fields.names_of(element))
        self.titles.setdefault(category, str(element.get("name", category))[: fields.LONGEST_NAME])

    def add_image(self, position: int, element: Any) -> None:
        number, name, height, width = fields.image_of(element)
        crowding = element.get("crowdIndex")
        self.crowd_index.append(NO_CROWD_INDEX if crowding is None else crowding)
        self.image_ids.append(number)
        self.file_names.append(name)
        self.image_sizes.extend((height, width))

    def add_person(self, position: int, element: Any) -> None:
        fields.need_object(element)
        category = fields.category_of(element.get("category_id"))
        self.people.setdefault(category, _People()).add(position, element, self.num_keypoints)

    def finish(self) -> CocoIndex:
        """The index. Raises UserError for what only shows when all is read."""
        if not self.image_ids:
            raise UserError(f"{self.source}: its list 'images' is empty. {FORMAT_ADVICE}")
        category = self._category()
        people = self.people.get(category, _People())
        if people.fault:
            raise self.error("annotations", *people.fault) from people.fault[1]
        names = self.names.get(category) or next(filter(None, self.names.values()), [])
        num_keypoints = self.num_keypoints or people.num_keypoints or len(names)
        if names and len(names) != num_keypoints:
            raise UserError(
                f"{self.source}: {len(names)} keypoint names in `categories`, {num_keypoints} keypoints are expected"
            )
        index = self._index(people, num_keypoints, names)
        self._check_numbers(index)
        self._say_notes(index, people)
        return index

    def _category(self) -> Category:
        """That of people: the one with keypoints; of several the one that fits the skeleton, else that of persons."""
        if len(self.people) <= 1:
            (category,) = self.people or (None,)
            nobody = any(self.names.values()) and not self.names.get(category, [PERSON])
            return "nobody" if nobody else category
        for category, people in self.people.items():
            if self.names and category not in self.names:
                place, what = people.positions[0] if people.positions else 0, shown(category)
                raise UserError(
                    f"{self.source}: annotations[{place}] is of category {what}, which `categories` does not have. "
                    f"{FORMAT_ADVICE}"
                )
        chosen = [category for category in self.people if self.names.get(category)]
        chosen = chosen or [category for category, people in self.people.items() if people.num_keypoints]
        fitting = [one for one in chosen if self.people[one].num_keypoints == self.num_keypoints]
        chosen = fitting or chosen
        persons = [one for one in chosen if self.titles.get(one, "").lower() == PERSON]
        chosen = persons or chosen
        if len(chosen) != 1:
            listed = ", ".join(map(self._title, chosen or self.people))
            raise UserError(
                f"{self.source}: which category are the people? {'Several have' if chosen else 'None has'} keypoints: "
                f"{listed}. Name one of them `person`"
            )
        others = ", ".join(self._title(one) for one in self.people if one != chosen[0])
        self.say("category", f"people are the category {self._title(chosen[0])}; left out: {others}", False)
        return chosen[0]

    def _title(self, category: Category) -> str:
        return f"{shown(category)} ({shown(self.titles.get(category, ''))})"

    def _index(self, people: _People, num_keypoints: int, names: list[str]) -> CocoIndex:
        image_ids = np.array(self.image_ids, np.int64)
        owners = self._owner_rows(image_ids, people)
        order = np.argsort(owners, kind="stable")
        sizes = np.array(self.image_sizes, np.int32).reshape(-1, 2)
        runs = [self._runs(people, row, sizes[owners[row]].tolist()) for row in order.tolist()]
        shape = len(order), num_keypoints, 3
        keypoints = np.frombuffer(people.keypoints, np.float32).reshape(shape)[order] if len(order) else np.zeros(shape)
        return CocoIndex(
            image_ids=image_ids,
            file_names=np.array(self.file_names, np.bytes_),
            image_sizes=sizes,
            crowd_index=np.array(self.crowd_index),
            person_offsets=to_offsets(np.bincount(owners, minlength=len(image_ids))),
            annotation_ids=np.array(people.ids, np.int64)[order],
            file_positions=np.array(people.positions, np.int32)[order],
            boxes=np.array(people.boxes, np.float64).reshape(-1, 4)[order],
            areas=np.array(people.areas, np.float64)[order],
            keypoints=keypoints.astype(np.float32),
            num_keypoints=(keypoints[..., 2] > 0).sum(axis=1).astype(np.int16),
            is_crowd=np.array(people.is_crowd, np.bool_)[order],
            run_offsets=to_offsets([len(region) for region in runs]),
            runs=np.concatenate([NO_RUNS, *runs]),
            keypoint_names=np.array([name.encode() for name in names], np.bytes_),
        )

    def _owner_rows(self, image_ids: npt.NDArray[np.int64], people: _People) -> npt.NDArray[np.int64]:
        """(P,) the image row of each annotation, in the file's order."""
        known = np.sort(image_ids)
        twice = known[1:][known[1:] == known[:-1]]
        if len(twice):
            raise UserError(f"{self.source}: image id {twice[0]} stands there twice. {FORMAT_ADVICE}")
        rows = places_of(np.array(people.owners, np.int64), image_ids)
        lost = np.flatnonzero(rows < 0)
        if len(lost):
            who = f"annotation {people.ids[lost[0]]} is of image {people.owners[lost[0]]}"
            raise UserError(f"{self.source}: {who}, which is not there. {FORMAT_ADVICE}")
        return rows

    def _runs(self, people: _People, row: int, size: list[int]) -> npt.NDArray[np.int32]:
        if row not in people.regions:
            return NO_RUNS
        try:
            return run_lengths(people.regions[row], size[0], size[1])
        except (*FAULTS, RuntimeError, MemoryError) as error:
            crowd = f"segmentation of the crowd, annotation {people.ids[row]}"
            raise UserError(f"{self.source}: {crowd}: {error}. {FORMAT_ADVICE}") from error

    def _check_numbers(self, index: CocoIndex) -> None:
        for values in (index.keypoints, index.boxes):
            rows = np.nonzero(~(np.abs(values) < LARGEST_IMG))[0]
            if len(rows):
                who = f"annotation {index.annotation_ids[rows[0]]}"
                raise UserError(
                    f"{self.source}: {who} has NaN or infinity or a place beyond any image. {FORMAT_ADVICE}"
                )
        labelled = index.keypoints[index.keypoints[..., 2] > 0][:, :2]
        for what, values in (("keypoints", labelled), ("boxes", index.boxes)):
            if len(values) and 0 < np.abs(values).max() <= 1:
                raise UserError(
                    f"{self.source}: all coordinates of {what} lie between 0 and 1: parts of the image. Multiply "
                    "them by its width and height: pixels of the original image are needed"
                )

    def _say_notes(self, index: CocoIndex, people: _People) -> None:
        if people.without_area:
            count = f"{people.without_area} of {len(index.areas)} annotations"
            self.say("area", f"{count} have no area: that of the box counts", False)
        counted = ~index.is_crowd & (index.num_keypoints > 0)
        if counted.any() and not people.without_area and index.areas[counted].max() <= NO_AREA_IMG:
            largest = f"no person's area is larger than {index.areas[counted].max():g} px^2"
            self.say("area", f"{largest}: AP measures distances by it and will be near 0", True)
        flat = counted & (index.boxes[:, 2:] <= 0).any(axis=1)
        if flat.any():
            first = f"the first: annotation {index.annotation_ids[flat][0]}"
            what = f"people with a box of width or height 0, who are not trained on: {np.count_nonzero(flat)} ({first})"
            self.say("box", what, False)
