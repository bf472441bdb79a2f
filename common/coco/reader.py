# SPDX-License-Identifier: Apache-2.0
"""Reads COCO keypoint files into a `CocoIndex`: the one reader of training, evaluation and the check.

A `Reporter` hears what cannot be used, element by element, and what can be used but should be known.
"""

import functools
import os
import sys
from array import array
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from common.arrays import Int32Array, Int64Array
from common.cli import UserError
from common.coco import fields, json_file
from common.coco.annotations import NO_CROWD_INDEX, CocoIndex, places_of, run_lengths, to_offsets
from common.coco.fields import FAULTS, LARGEST_IMG, Category, shown, whole

import numpy as np

__all__ = ["Builder", "CocoIndex", "Reporter", "from_sections", "load"]

FORMAT_ADVICE = "A COCO keypoint file is needed; `python -m common.coco DATA_PATH` lists all that is wrong"
NO_AREA_IMG = 1.0  # px^2; no person is so small: such a number is no area
NO_RUNS = np.zeros(0, np.int32)
PERSON = "person"
Sections = Iterable[tuple[str, Iterable[Any]]]


class Reporter:
    """For training and evaluation: the first fault is a UserError, a note is printed once."""

    def __init__(self, source: str | Path) -> None:
        self.source = str(source)

    def fault(self, subject: str, what: str, kind: str = "field") -> None:
        """`subject` ("annotation 7"; empty: the whole file) cannot be used; kinds are those of the check."""
        raise UserError(f"{self.source}: {f'{subject}: ' if subject else ''}{what}. {FORMAT_ADVICE}")

    def note(self, kind: str, what: str, is_error: bool = False) -> None:
        """`is_error`: training or evaluation comes to nothing with it."""
        _print_note(self.source, what)


@functools.cache
def _print_note(source: str, what: str) -> None:
    """Once a process, by the first rank."""
    if os.environ.get("RANK", "0") == "0":
        print(f"note: {source}: {what}", file=sys.stderr, flush=True)  # noqa: T201


def load(annotation_file: str | Path, num_keypoints: int | None = None) -> CocoIndex:
    """The index of an annotation file, read element by element: the file is never in memory as objects.

    `num_keypoints`: how many an annotation must have; None: as many as `categories` name, else as most have. Raises
    UserError, naming the file, the element and the cure, for what is missing, cut short or no COCO keypoint file.
    """
    try:
        return from_sections(annotation_file, json_file.sections(annotation_file, True), num_keypoints)
    except json_file.PolygonsNeeded:
        return from_sections(annotation_file, json_file.sections(annotation_file), num_keypoints)


def from_sections(source: str | Path, sections: Sections, num_keypoints: int | None = None) -> CocoIndex:
    """The index of the lists of a COCO file, given as (name, elements); `source` is the name that errors tell."""
    builder = Builder(Reporter(source), num_keypoints)
    builder.take(sections)
    return builder.finish()


class _People:
    """The annotations of one category in compact arrays."""

    def __init__(self) -> None:
        self.faults: list[tuple[str, str]] = []  # subject, what
        self.ids, self.owners, self.positions, self.is_crowd = array("q"), array("q"), array("i"), array("b")
        self.boxes, self.areas, self.keypoints = array("d"), array("d"), array("f")
        self.lengths = array("i")  # numbers of keypoints, three a keypoint
        self.counts: list[Any] = []  # num_keypoints as the file has it
        self.without_area = 0
        self.regions: dict[int, Any] = {}  # the segmentation of each crowd

    @property
    def num_keypoints(self) -> int:
        """As most of them have."""
        return Counter(self.lengths).most_common(1)[0][0] // 3 if self.lengths else 0

    def add(self, position: int, element: dict[str, Any]) -> None:
        try:
            self._add(position, element)
        except FAULTS as error:
            self.faults.append((_subject("annotation", element, position), fields.words(error)))

    def _add(self, position: int, element: dict[str, Any]) -> None:
        number, owner = whole(element["id"], "id"), whole(element["image_id"], "image_id")
        keypoints, box = fields.numbers_of(element, "keypoints", "f"), fields.box_of(element)
        area, is_crowd = fields.area_of(element), fields.yes_or_no(element.get("iscrowd"), "iscrowd")
        if is_crowd:
            self.regions[len(self.ids)] = region = element.get("segmentation")
            if region == json_file.SKIPPED:
                raise json_file.PolygonsNeeded
        self.is_crowd.append(is_crowd)
        self.without_area += not area or area <= NO_AREA_IMG
        self.areas.append(area if area and area > NO_AREA_IMG else max(box[2], 0.0) * max(box[3], 0.0))
        self.keypoints.extend(keypoints)
        self.lengths.append(len(keypoints))
        self.counts.append(element.get("num_keypoints"))
        self.boxes.extend(box)
        self.ids.append(number)
        self.owners.append(owner)
        self.positions.append(position)


def _subject(kind: str, element: Any, position: int) -> str:
    """`annotation 7` by its id, or `annotations[6]` by its place where that cannot be read."""
    try:
        return f"{kind} {whole(element['id'], 'id')}"
    except FAULTS:
        return f"{kind}s[{position}]"


def corners(box: Iterable[float]) -> list[float]:
    """The polygon of a box: x, y, x, y..."""
    left, top, width, height = box
    return [left, top, left + width, top, left + width, top + height, left, top + height]


class Builder:
    """Collects the elements of a file; at the end it is known who the people are."""

    def __init__(self, reporter: Reporter, num_keypoints: int | None = None) -> None:
        self.reporter, self.num_keypoints = reporter, num_keypoints
        self.sections: set[str] = set()
        self.images: dict[int, tuple[bytes, int, int, float]] = {}  # file name, height, width, crowdIndex
        self.people: dict[Category, _People] = {}
        self.titles: dict[Category, str] = {}  # of each category in `categories`
        self.names: dict[Category, list[str]] = {}  # of the keypoints of these
        self.counts: list[Any] = []  # num_keypoints as the file has it, of each person of the index

    def take(self, sections: Sections) -> None:
        """Reads the lists of a file."""
        take = {"images": self._add_image, "annotations": self._add_person, "categories": self._add_category}
        for section, entries in sections:
            self.sections.add(section)
            for position, element in enumerate(entries if section in take else ()):
                try:
                    fields.need_object(element)
                    take[section](position, element)
                except FAULTS as error:
                    self.reporter.fault(f"{section}[{position}]", fields.words(error))

    def _add_category(self, position: int, element: dict[str, Any]) -> None:
        category = fields.category_of(element.get("id"))
        self.names.setdefault(category, fields.names_of(element))
        self.titles.setdefault(category, str(element.get("name", category))[: fields.LONGEST_NAME])

    def _add_image(self, position: int, element: dict[str, Any]) -> None:
        subject = _subject("image", element, position)
        try:
            number, name, height, width = fields.image_of(element)
            crowding = element.get("crowdIndex")
            crowd_index = NO_CROWD_INDEX if crowding is None else float(crowding)
        except FAULTS as error:
            self.reporter.fault(subject, fields.words(error))
            return
        if number in self.images:
            self.reporter.fault(subject, "there is another image of this id", "duplicate")
        self.images.setdefault(number, (name, height, width, crowd_index))

    def _add_person(self, position: int, element: dict[str, Any]) -> None:
        category = fields.category_of(element.get("category_id"))
        self.people.setdefault(category, _People()).add(position, element)

    def finish(self) -> CocoIndex:
        """The index of the people. Faults that only show when all is read are reported here."""
        for section in ("images", "annotations"):
            if section not in self.sections:
                self.reporter.fault("", f"no list {section!r}")
        if "images" in self.sections and not self.images:
            self.reporter.fault("", "its list 'images' is empty")
        category = self._category()
        people = self.people.get(category, _People())
        for subject, what in people.faults:
            self.reporter.fault(subject, what)
        names = self.names.get(category) or next(filter(None, self.names.values()), [])
        num_keypoints = self.num_keypoints or len(names) or people.num_keypoints
        if names and len(names) != num_keypoints:
            what = f"{len(names)} keypoint names in `categories`, {num_keypoints} keypoints are expected"
            self.reporter.fault("categories", what)
        index = self._index(people, num_keypoints, names)
        self._check_scale(index)
        self._note_oddities(index, people)
        return index

    def _category(self) -> Category:
        """That of people: the one with keypoints; of several the one that fits the skeleton, else that of persons."""
        for category in [one for one in self.people if self.names and one not in self.names]:
            if len(self.people) == 1:
                what = f"annotations are of category {shown(category)}, which `categories` does not have"
                self.reporter.note("unknown", what, is_error=category is not None)
                return category
            left = self.people.pop(category)
            for subject in [*(f"annotation {number}" for number in left.ids), *(subject for subject, _ in left.faults)]:
                self.reporter.fault(subject, f"category {shown(category)} does not exist", "unknown")
        if len(self.people) <= 1:
            (category,) = self.people or (None,)
            return "nobody" if any(self.names.values()) and not self.names.get(category, [PERSON]) else category
        return self._chosen()

    def _chosen(self) -> Category:
        chosen = [one for one in self.people if self.names.get(one)]
        chosen = chosen or [one for one, people in self.people.items() if people.num_keypoints]
        chosen = [one for one in chosen if self.people[one].num_keypoints == self.num_keypoints] or chosen
        chosen = [one for one in chosen if self.titles.get(one, "").lower() == PERSON] or chosen
        titles = {one: f"{shown(one)} ({shown(self.titles.get(one, ''))})" for one in self.people}
        if len(chosen) != 1:
            listed = ", ".join(titles[one] for one in chosen or self.people)
            what = f"{'Several have' if chosen else 'None has'} keypoints: {listed}. Name one of them `person`"
            self.reporter.fault("", f"which category are the people? {what}")
        found = (chosen or list(self.people))[0]
        others = ", ".join(title for one, title in titles.items() if one != found)
        self.reporter.note("category", f"people are the category {titles[found]}; left out: {others}")
        return found

    def _index(self, people: _People, num_keypoints: int, names: list[str]) -> CocoIndex:
        image_ids = np.array(list(self.images), np.int64)
        file_names, heights, widths, crowd_index = zip(*self.images.values(), strict=True) if self.images else ((),) * 4
        sizes = np.array([heights, widths], np.int32).T
        owners = places_of(np.array(people.owners, np.int64), image_ids)
        boxes, keypoints = np.array(people.boxes).reshape(-1, 4), _keypoints(people, num_keypoints)
        valid = self._valid(people, owners, boxes, keypoints)
        order = valid[np.argsort(owners[valid], kind="stable")]
        regions = {
            place: self._runs(people, row, sizes[owners[row]].tolist())
            for place, row in enumerate(order.tolist())
            if row in people.regions
        }
        run_counts = np.zeros(len(order), np.int64)
        run_counts[list(regions)] = [len(region) for region in regions.values()]
        self.counts = [people.counts[row] for row in order.tolist()]
        keypoints = keypoints[order]
        return CocoIndex(
            image_ids=image_ids,
            file_names=np.array(file_names, np.bytes_),
            image_sizes=sizes,
            crowd_index=np.array(crowd_index, np.float64),
            person_offsets=to_offsets(np.bincount(owners[order], minlength=len(image_ids))),
            annotation_ids=np.array(people.ids, np.int64)[order],
            file_positions=np.array(people.positions, np.int32)[order],
            boxes=boxes[order],
            areas=np.array(people.areas, np.float64)[order],
            keypoints=keypoints,
            num_keypoints=(keypoints[..., 2] > 0).sum(axis=1).astype(np.int16),
            is_crowd=np.array(people.is_crowd, np.bool_)[order],
            run_offsets=to_offsets(run_counts),
            runs=np.concatenate([NO_RUNS, *regions.values()]),
            keypoint_names=np.array([name.encode() for name in names], np.bytes_),
        )

    def _valid(self, people: _People, owners: Int64Array, boxes: Any, keypoints: Any) -> Int64Array:
        """The rows of people who can be used."""
        lengths, length = np.array(people.lengths, np.int64), 3 * keypoints.shape[1]
        broken = ~(np.abs(keypoints) < LARGEST_IMG).all(axis=(1, 2)) | ~(np.abs(boxes) < LARGEST_IMG).all(axis=1)
        wrong = lengths != length
        for row in np.flatnonzero(wrong | (owners < 0) | broken).tolist():
            subject = f"annotation {people.ids[row]}"
            if wrong[row]:
                self.reporter.fault(subject, f"{lengths[row]} keypoint numbers, not 3 x {length // 3}", "count")
            elif owners[row] < 0:
                what = f"image {people.owners[row]} does not exist, or cannot be used"
                self.reporter.fault(subject, what, "unknown")
            else:
                self.reporter.fault(subject, "NaN or infinity, or a place beyond any image", "number")
        return np.flatnonzero(~wrong & (owners >= 0) & ~broken)

    def _runs(self, people: _People, row: int, size: list[int]) -> Int32Array:
        box = people.boxes[4 * row : 4 * row + 4]
        try:
            return run_lengths(people.regions[row] or [corners(box)], size[0], size[1])
        except (*FAULTS, RuntimeError, MemoryError) as error:
            self.reporter.fault(f"annotation {people.ids[row]}", f"segmentation of the crowd: {error}", "crowd")
            return NO_RUNS

    def _check_scale(self, index: CocoIndex) -> None:
        labelled = index.keypoints[index.keypoints[..., 2] > 0][:, :2]
        for what, values in (("keypoints", labelled), ("boxes", index.boxes)):
            if len(values) and 0 < np.abs(values).max() <= 1:
                self.reporter.fault(
                    "",
                    f"all coordinates of {what} lie between 0 and 1: parts of the image. Multiply them by its width "
                    "and height: pixels of the original image are needed",
                )

    def _note_oddities(self, index: CocoIndex, people: _People) -> None:
        if boxes := sum(not region for region in people.regions.values()):
            self.reporter.note("crowd", f"{boxes} crowds without segmentation: their boxes are left out instead")
        counted = ~index.is_crowd & (index.num_keypoints > 0)
        flat = counted & (index.boxes[:, 2:] <= 0).any(axis=1)
        if people.without_area:
            count = f"{people.without_area} of {len(index.areas)} annotations"
            self.reporter.note("area", f"{count} have no area above {NO_AREA_IMG:g} px^2: that of the box counts")
        if flat.any():
            first = f"the first: annotation {index.annotation_ids[flat][0]}"
            what = f"people with a box of width or height 0, who are not trained on: {np.count_nonzero(flat)} ({first})"
            self.reporter.note("box", what)


def _keypoints(people: _People, num_keypoints: int) -> Any:
    """(P, num_keypoints, 3) float32; zeros for a person who has another number of them."""
    lengths, length = np.array(people.lengths, np.int64), 3 * num_keypoints
    right, flat = lengths == length, np.array(people.keypoints, np.float32)
    keypoints = np.zeros((len(lengths), num_keypoints, 3), np.float32)
    keypoints[right] = flat[np.repeat(right, lengths)].reshape(right.sum(), num_keypoints, 3)
    return keypoints
