# SPDX-License-Identifier: Apache-2.0
"""The annotation index: a COCO keypoint file as flat NumPy arrays, not as lists of dicts.

Loader workers that are forked share its pages for ever: a Python object is copied to a worker as soon as its
reference count changes there, an array's contents are not.

Regions of an image are run lengths (cocodataset.org, "Data format"): uncompressed, down the columns. The first run is
outside the region, the second inside, and so on; together they cover all pixels. A run may be 0.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.arrays import BoolArray, Float64Array, Int32Array, Int64Array, UInt8Array

import numpy as np
import numpy.typing as npt
from faster_coco_eval.core import mask as coco_mask

MAX_PIXELS = 50_000_000  # the limit that `common` sets for images: no annotation file may ask for more memory
SHORTEST_POLYGON = 6  # numbers: three corners


@dataclass(frozen=True)
class CocoIndex:
    """Images and people of one annotation file. People (crowds included) are grouped by image, in the file's order.

    I images, P people, K keypoints; all coordinates in original pixels (`_img`).
    """

    image_ids: Int64Array  # (I,)
    file_names: npt.NDArray[np.bytes_]  # (I,) UTF-8
    image_sizes: Int32Array  # (I, 2) height, width
    crowd_index: Float64Array  # (I,) of CrowdPose; negative where the file has none
    person_offsets: Int64Array  # (I + 1,) the people of image i are rows offsets[i] to offsets[i + 1]
    annotation_ids: Int64Array  # (P,)
    file_positions: Int32Array  # (P,) place of the annotation in the file, from 0
    boxes: Float64Array  # (P, 4) left, top, width, height
    areas: Float64Array  # (P,) px^2 of the segmentation; of the box where the file has none
    keypoints: npt.NDArray[np.float32]  # (P, K, 3) x, y, v; v: 0 not labelled, 1 labelled but hidden, 2 visible
    num_keypoints: npt.NDArray[np.int16]  # (P,)
    is_crowd: BoolArray  # (P,)
    run_offsets: Int64Array  # (P + 1,) the region of crowd p is runs offsets[p] to offsets[p + 1]
    runs: Int32Array  # (R,) run lengths
    keypoint_names: npt.NDArray[np.str_]  # (K,), or (0,) where the file has no names

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

    def image_rows(self, person_rows: npt.ArrayLike) -> Int64Array:
        """The image row of each of some people: int64, of the shape of `person_rows`."""
        return np.searchsorted(self.person_offsets, person_rows, side="right") - 1

    def select(self, image_rows: npt.ArrayLike, keep: BoolArray) -> "CocoIndex":
        """An index of some images, in the order given, and of those of their people that `keep` (P,) marks."""
        images = np.asarray(image_rows, np.int64)
        rows, owners = _members(self.person_offsets, images)
        people, owners = rows[keep[rows]], owners[keep[rows]]
        runs, run_owners = _members(self.run_offsets, people)
        return CocoIndex(
            **{name: getattr(self, name)[images] for name in _IMAGE_ARRAYS},
            **{name: getattr(self, name)[people] for name in _PERSON_ARRAYS},
            person_offsets=to_offsets(np.bincount(owners, minlength=len(images))),
            run_offsets=to_offsets(np.bincount(run_owners, minlength=len(people))),
            runs=self.runs[runs],
            keypoint_names=self.keypoint_names,
        )

    def facts(self) -> dict[str, int]:
        """What tells a data set from another one: counts, and a sum over all that the file says."""
        total = 0
        for value in vars(self).values():
            total = zlib.crc32(np.ascontiguousarray(value).tobytes(), total)
        return {"images": self.num_images, "people": len(self.boxes), "digest of the annotations": total}


_IMAGE_ARRAYS = ("image_ids", "file_names", "image_sizes", "crowd_index")
_PERSON_ARRAYS = ("annotation_ids", "file_positions", "boxes", "areas", "keypoints", "num_keypoints", "is_crowd")


def places_of(ids: npt.ArrayLike, known: Int64Array) -> Int64Array:
    """(N,) the place of each of N `ids` among the `known` ones, which are different; -1 for an unknown one."""
    if not len(known):
        return np.full(np.shape(ids), -1)
    order = np.argsort(known, kind="stable")
    places = order[np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)]
    return np.where(known[places] == ids, places, -1)


def to_offsets(counts: npt.ArrayLike) -> Int64Array:
    """(N + 1,) where each of N groups of `counts` rows begins, and the end."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)


def _members(offsets: Int64Array, groups: Int64Array) -> tuple[Int64Array, Int64Array]:
    """The rows of some groups, one group after the other, and to which of them, from 0, each belongs."""
    counts = offsets[groups + 1] - offsets[groups]
    places = np.repeat(np.arange(len(groups)), counts)
    return np.arange(len(places)) + (offsets[groups] - to_offsets(counts)[:-1])[places], places


def run_lengths(segmentation: Any, box: Sequence[float], height: int, width: int) -> Int32Array:
    """(R,) int32 of a COCO segmentation of any kind: run lengths as they are, a compressed string, or polygons.

    `box`: left, top, width, height in place of none. Raises ValueError, KeyError, TypeError or RuntimeError where the
    segmentation is none of these or not of an image of this size.
    """
    if not 0 < height * width <= MAX_PIXELS:
        raise ValueError(f"image of {width} x {height} pixels")
    if not segmentation:
        left, top, right, bottom = box[0], box[1], box[0] + box[2], box[1] + box[3]
        segmentation = [[left, top, right, top, right, bottom, left, bottom]]
    if isinstance(segmentation, list):
        return runs_of(_polygons(segmentation, height, width))
    if list(segmentation["size"]) != [height, width]:
        raise ValueError(f"is of size {segmentation['size']}, the image of [{height}, {width}] (height, width)")
    counts = segmentation["counts"]
    if isinstance(counts, str):
        return runs_of(coco_mask.decode({"size": [height, width], "counts": counts.encode()}))
    runs = np.array(counts, np.int64)
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"its run lengths do not cover the {height * width} pixels of the image")
    return runs.astype(np.int32)


def _polygons(polygons: list[Any], height: int, width: int) -> UInt8Array:
    """(height, width) uint8, 1 inside any of the polygons [x, y, x, y...]; corners are moved into the image."""
    moved = []
    for polygon in polygons:
        corners = np.array(polygon, np.float64)
        if corners.ndim != 1 or len(corners) < SHORTEST_POLYGON or len(corners) % 2 or not np.isfinite(corners).all():
            raise ValueError("a polygon is not a list x, y, x, y, x, y...")
        moved.append(np.clip(corners.reshape(-1, 2), 0, (width, height)).ravel().tolist())
    return np.asarray(coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(moved, height, width))), np.uint8)


def runs_of(mask: npt.NDArray[Any]) -> Int32Array:
    """(R,) run lengths of an (h, w) mask of 0 and 1, down the columns."""
    flat = np.concatenate([[0], mask.ravel(order="F"), [2]])  # the first run is outside; the last one ends
    return np.diff(np.flatnonzero(flat[1:] != flat[:-1]), prepend=0).astype(np.int32)


def outside(runs: Int32Array) -> UInt8Array:
    """(height * width,) uint8, column after column: 1 outside the region, 0 inside."""
    return np.repeat(np.resize(np.array([1, 0], np.uint8), len(runs)), runs)
