# SPDX-License-Identifier: Apache-2.0
"""The annotation index: a COCO keypoint file as flat NumPy arrays, not as lists of dicts.

Forked loader workers share its memory pages permanently: a Python object is copied to a worker as soon as its
reference count changes there, an array's contents are not.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.arrays import BoolArray, Float64Array, Int32Array, Int64Array

import numpy as np
import numpy.typing as npt
from faster_coco_eval.core import mask as coco_mask

MAX_PIXELS = 50_000_000  # the limit that `common` sets for images: no annotation file may ask for more memory


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
    crowd_rles: npt.NDArray[np.bytes_]  # one a crowd: its region, compressed run lengths (cocodataset.org)
    keypoint_names: npt.NDArray[np.str_]  # (K,), or (0,) where the file has no names

    @property
    def num_images(self) -> int:
        """The number of images, including those without people."""
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
        counts = self.person_offsets[images + 1] - self.person_offsets[images]
        owners = np.repeat(np.arange(len(images)), counts)
        rows = np.arange(len(owners)) + (self.person_offsets[images] - to_offsets(counts)[:-1])[owners]
        people, owners = rows[keep[rows]], owners[keep[rows]]
        crowds = people[self.is_crowd[people]]
        return CocoIndex(
            **{name: getattr(self, name)[images] for name in _IMAGE_ARRAYS},
            **{name: getattr(self, name)[people] for name in _PERSON_ARRAYS},
            person_offsets=to_offsets(np.bincount(owners, minlength=len(images))),
            crowd_rles=self.crowd_rles[np.cumsum(self.is_crowd)[crowds] - 1],
            keypoint_names=self.keypoint_names,
        )

    def crowds(self, image_row: int) -> list[bytes]:
        """The regions of an image's crowds: compressed run lengths."""
        people = self.people(image_row)
        first, last = (np.count_nonzero(self.is_crowd[:row]) for row in (people.start, people.stop))
        return list(self.crowd_rles[first:last])

    def facts(self) -> dict[str, int]:
        """A fingerprint of a data set: counts, and a checksum of the whole file."""
        total = 0
        for value in vars(self).values():
            total = zlib.crc32(np.ascontiguousarray(value).tobytes(), total)
        return {"images": self.num_images, "people": len(self.boxes), "digest of the annotations": total}


_IMAGE_ARRAYS = ("image_ids", "file_names", "image_sizes", "crowd_index")
_PERSON_ARRAYS = ("annotation_ids", "file_positions", "boxes", "areas", "keypoints", "num_keypoints", "is_crowd")


def to_offsets(counts: npt.ArrayLike) -> Int64Array:
    """(N + 1,) where each of N groups of `counts` rows begins, and the end."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)


def compressed_region(segmentation: Any, box: Sequence[float], height: int, width: int) -> bytes:
    """The compressed run lengths of a COCO segmentation by run lengths, compressed or not; of any other the `box`.

    `box`: left, top, width, height. Raises ValueError, KeyError, TypeError or RuntimeError where run lengths are none,
    or not of an image of this size.
    """
    if not 0 < height * width <= MAX_PIXELS:
        raise ValueError(f"image of {width} x {height} pixels")
    if not isinstance(segmentation, dict):
        edges = *box[:2], box[0] + box[2], box[1] + box[3]
        left, top, right, bottom = np.clip(np.nan_to_num(edges), 0, (width, height) * 2)
        corners = [left, top, right, top, right, bottom, left, bottom]
        return bytes(coco_mask.frPyObjects([corners], height, width)[0]["counts"])
    size, counts = list(segmentation["size"]), segmentation["counts"]
    if size != [height, width]:
        raise ValueError(f"is of size {size}, the image of [{height}, {width}] (height, width)")
    if isinstance(counts, str):
        coco_mask.decode({"size": size, "counts": counts.encode()})  # raises where it is none
        return counts.encode()
    if min(counts) < 0 or sum(counts) != height * width:
        raise ValueError(f"its run lengths do not cover the {height * width} pixels of the image")
    return bytes(coco_mask.frPyObjects({"size": size, "counts": counts}, height, width)["counts"])
