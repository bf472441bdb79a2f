# SPDX-License-Identifier: Apache-2.0
"""The annotation index: a COCO keypoint file as flat NumPy arrays, not as lists of dicts.

Loader workers that are forked share its pages for ever: a Python object is copied to a worker as soon as its
reference count changes there, an array's contents are not.
"""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from common import coco_crowd, files
from common.cli import UserError

import numpy as np
import numpy.typing as npt

FORMAT_ADVICE = "A COCO keypoint file is needed; `python -m common.coco DATA_PATH` lists all that is wrong"


@dataclass(frozen=True)
class CocoIndex:
    """Images and people of one annotation file. People (crowds included) stand grouped by image, in the file's order.

    I images, P people, K keypoints; all coordinates in original pixels (`_img`).
    """

    image_ids: npt.NDArray[np.int64]  # (I,)
    file_names: npt.NDArray[np.bytes_]  # (I,) UTF-8
    image_sizes: npt.NDArray[np.int32]  # (I, 2) height, width
    person_offsets: npt.NDArray[np.int64]  # (I + 1,) the people of image i are rows offsets[i] to offsets[i + 1]
    annotation_ids: npt.NDArray[np.int64]  # (P,)
    file_positions: npt.NDArray[np.int32]  # (P,) at which place the annotation stands in the file
    boxes: npt.NDArray[np.float64]  # (P, 4) left, top, width, height
    areas: npt.NDArray[np.float64]  # (P,) px^2 of the segmentation; of the box where the file has none
    keypoints: npt.NDArray[np.float32]  # (P, K, 3) x, y, v; v: 0 not labelled, 1 labelled but hidden, 2 visible
    num_keypoints: npt.NDArray[np.int16]  # (P,)
    is_crowd: npt.NDArray[np.bool_]  # (P,)
    run_offsets: npt.NDArray[np.int64]  # (P + 1,) the region of crowd p is runs offsets[p] to offsets[p + 1]
    runs: npt.NDArray[np.int32]  # (R,) run lengths as in `common.coco_crowd`
    keypoint_names: npt.NDArray[np.bytes_]  # (K,), or (0,) where the file has no names

    @property
    def num_images(self) -> int:
        """How many images there are, those without people included."""
        return len(self.image_ids)

    def file_name(self, image_row: int) -> str:
        """The name of an image's file, relative to the image folder."""
        return bytes(self.file_names[image_row]).decode()

    def people(self, image_row: int) -> slice:
        """The rows of an image's people, crowds included."""
        return slice(int(self.person_offsets[image_row]), int(self.person_offsets[image_row + 1]))

    def image_rows(self, person_rows: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The image row of each of some people: int64, of the shape of `person_rows`."""
        return np.searchsorted(self.person_offsets, person_rows, side="right") - 1

    def select(self, image_rows: npt.ArrayLike, keep: npt.NDArray[np.bool_]) -> "CocoIndex":
        """An index of some images, in the order given, and of those of their people whom `keep` (P,) marks."""
        images = np.asarray(image_rows, np.int64)
        rows, counts = _rows_of(self.person_offsets, images)
        people = rows[keep[rows]]
        owners = np.repeat(np.arange(len(images)), counts)[keep[rows]]
        runs, run_counts = _rows_of(self.run_offsets, people)
        return CocoIndex(
            **{name: getattr(self, name)[images] for name in _IMAGE_ARRAYS},
            **{name: getattr(self, name)[people] for name in _PERSON_ARRAYS},
            person_offsets=_offsets(np.bincount(owners, minlength=len(images))),
            run_offsets=_offsets(run_counts),
            runs=self.runs[runs],
            keypoint_names=self.keypoint_names,
        )

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Every array by its name, for a file."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @staticmethod
    def from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> "CocoIndex":
        """The index that `to_arrays` took apart. Raises ValueError where arrays are missing or do not fit together."""
        missing = {field.name for field in fields(CocoIndex)} - set(arrays)
        if missing:
            raise ValueError(f"no array {', '.join(sorted(missing))}")
        index = CocoIndex(**{field.name: arrays[field.name] for field in fields(CocoIndex)})
        images, people = len(index.image_ids), len(index.annotation_ids)
        sound = (
            all(len(arrays[name]) == images for name in _IMAGE_ARRAYS)
            and all(len(arrays[name]) == people for name in _PERSON_ARRAYS)
            and (index.image_sizes.shape, index.boxes.shape) == ((images, 2), (people, 4))
            and (index.keypoints.ndim, index.keypoints.shape[-1]) == (3, 3)
            and _are_offsets(index.person_offsets, images, people)
            and _are_offsets(index.run_offsets, people, len(index.runs))
        )
        if not sound:
            raise ValueError("arrays of different lengths")
        return index


_IMAGE_ARRAYS = ("image_ids", "file_names", "image_sizes")
_PERSON_ARRAYS = (
    "annotation_ids", "file_positions", "boxes", "areas", "keypoints", "num_keypoints", "is_crowd",
)  # fmt: skip


def _offsets(counts: npt.ArrayLike) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)


def _rows_of(offsets: npt.NDArray[np.int64], groups: npt.NDArray[np.int64]) -> tuple[Any, Any]:
    """The rows of some groups, one group after the other, and how many each has."""
    counts = offsets[groups + 1] - offsets[groups]
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(offsets[groups] - ends + counts, counts), counts


def _are_offsets(offsets: npt.NDArray[np.int64], groups: int, rows: int) -> bool:
    shaped = offsets.shape == (groups + 1,) and offsets[0] == 0 and offsets[-1] == rows
    return bool(shaped and (np.diff(offsets) >= 0).all())


def load(annotation_file: str | Path, num_keypoints: int | None = None) -> CocoIndex:
    """The index of an annotation file, read element by element: the file never stands in memory as objects.

    `num_keypoints`: how many an annotation must have; None: as many as the first one has.
    Raises UserError, naming the file, the element and the cure, where the file is missing, is cut short or is no COCO
    keypoint file, where an annotation belongs to no image, has another number of keypoints, or is not finite.
    """
    return from_sections(annotation_file, files.json_sections(annotation_file), num_keypoints)


def from_sections(
    source: str | Path, sections: Iterable[tuple[str, Iterable[Any]]], num_keypoints: int | None = None
) -> CocoIndex:
    """The index of the lists of a COCO file, given as (name, elements); `source` is the name that errors tell."""
    builder = _Builder(Path(source), num_keypoints)
    take = {"images": builder.add_image, "annotations": builder.add_person, "categories": builder.add_category}
    found = set()
    for section, elements in sections:
        found.add(section)
        for position, element in enumerate(elements if section in take else ()):
            try:
                take[section](element)
            except KeyError as error:
                raise UserError(f"{source}: {section}[{position}] has no {error}. {FORMAT_ADVICE}") from error
            except (TypeError, ValueError, OverflowError, AttributeError) as error:
                raise UserError(f"{source}: {section}[{position}]: {error}. {FORMAT_ADVICE}") from error
    for section in ("images", "annotations"):
        if section not in found:
            raise UserError(f"{source}: no list {section!r}. {FORMAT_ADVICE}")
    return builder.finish()


class _Builder:
    """Collects the elements of a file in compact arrays."""

    def __init__(self, path: Path, num_keypoints: int | None) -> None:
        self.path = path
        self.num_keypoints = num_keypoints
        self.image_ids, self.image_sizes, self.file_names = array("q"), array("i"), list[bytes]()
        self.annotation_ids, self.owners, self.counts, self.is_crowd = array("q"), array("q"), array("h"), array("b")
        self.boxes, self.areas, self.keypoints = array("d"), array("d"), array("f")
        self.regions: dict[int, Any] = {}  # the segmentation of each crowd
        self.names: list[bytes] = []

    def add_category(self, category: dict[str, Any]) -> None:
        self.names = self.names or [name.encode() for name in category.get("keypoints", ())]

    def add_image(self, image: dict[str, Any]) -> None:
        self.file_names.append(image["file_name"].encode())
        self.image_sizes.extend((image["height"], image["width"]))
        self.image_ids.append(image["id"])

    def add_person(self, person: dict[str, Any]) -> None:
        keypoints, box = person["keypoints"], person["bbox"]
        if self.num_keypoints is None:
            self.num_keypoints = len(keypoints) // 3
        if len(keypoints) != 3 * self.num_keypoints:
            wanted = f"3 x {self.num_keypoints}"
            raise ValueError(f"annotation {person['id']} has {len(keypoints)} keypoint numbers, not {wanted}")
        if len(box) != 4:
            raise ValueError(f"the box of annotation {person['id']} is not [left, top, width, height]")
        if person.get("iscrowd"):
            left, top, width, height = box
            corners = [left, top, left + width, top, left + width, top + height, left, top + height]
            self.regions[len(self.owners)] = person.get("segmentation") or [corners]
        self.keypoints.fromlist(keypoints)
        self.boxes.fromlist(box)
        self.areas.append(person.get("area", box[2] * box[3]))
        count = person.get("num_keypoints")
        self.counts.append(sum(v > 0 for v in keypoints[2::3]) if count is None else count)
        self.is_crowd.append(bool(person.get("iscrowd")))
        self.annotation_ids.append(person["id"])
        self.owners.append(person["image_id"])

    def finish(self) -> CocoIndex:
        image_ids = np.array(self.image_ids, np.int64)
        owners = self._owner_rows(image_ids)
        order = np.argsort(owners, kind="stable")
        people, num_keypoints = len(order), self.num_keypoints or len(self.names)
        if self.names and len(self.names) != num_keypoints:
            raise UserError(
                f"{self.path}: {len(self.names)} keypoint names in `categories`, {num_keypoints} keypoints are expected"
            )
        sizes = np.array(self.image_sizes, np.int32).reshape(-1, 2)
        runs = [self._runs(row, sizes[owners[row]].tolist()) for row in order.tolist()]
        index = CocoIndex(
            image_ids=image_ids,
            file_names=np.array(self.file_names, np.bytes_),
            image_sizes=sizes,
            person_offsets=_offsets(np.bincount(owners, minlength=len(image_ids))),
            annotation_ids=np.array(self.annotation_ids, np.int64)[order],
            file_positions=order.astype(np.int32),
            boxes=np.frombuffer(self.boxes, np.float64).reshape(people, 4)[order],
            areas=np.array(self.areas, np.float64)[order],
            keypoints=np.frombuffer(self.keypoints, np.float32).reshape(people, num_keypoints, 3)[order],
            num_keypoints=np.array(self.counts, np.int16)[order],
            is_crowd=np.array(self.is_crowd, np.bool_)[order],
            run_offsets=_offsets([len(region) for region in runs]),
            runs=np.concatenate([np.zeros(0, np.int32), *runs]),
            keypoint_names=np.array(self.names, np.bytes_),
        )
        self._check_finite(index)
        return index

    def _owner_rows(self, image_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(P,) the image row of each annotation, in the file's order."""
        order = np.argsort(image_ids, kind="stable")
        known = image_ids[order]
        twice = known[1:][known[1:] == known[:-1]]
        if len(twice):
            raise UserError(f"{self.path}: image id {twice[0]} stands there twice. {FORMAT_ADVICE}")
        owners = np.array(self.owners, np.int64)
        places = np.searchsorted(known, owners)
        lost = np.flatnonzero((places == len(known)) | (np.append(known, 0)[places] != owners))
        if len(lost):
            person = f"annotation {self.annotation_ids[lost[0]]}"
            raise UserError(f"{self.path}: {person} is of image {owners[lost[0]]}, which is not there. {FORMAT_ADVICE}")
        return order[places]

    def _runs(self, row: int, size: list[int]) -> npt.NDArray[np.int32]:
        if row not in self.regions:
            return _NO_RUNS
        try:
            return coco_crowd.run_lengths(self.regions[row], size[0], size[1])
        except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
            crowd = f"segmentation of the crowd, annotation {self.annotation_ids[row]}"
            raise UserError(f"{self.path}: {crowd}: {error}. {FORMAT_ADVICE}") from error

    def _check_finite(self, index: CocoIndex) -> None:
        for values in (index.keypoints, index.boxes, index.areas):
            rows = np.nonzero(~np.isfinite(values))[0]
            if len(rows):
                annotation = index.annotation_ids[rows[0]]
                raise UserError(f"{self.path}: annotation {annotation} has NaN or infinity in it. {FORMAT_ADVICE}")


_NO_RUNS = np.zeros(0, np.int32)
