# SPDX-License-Identifier: Apache-2.0
"""The frame of an image: fractions become pixels, and pixels of the turned image those of the stored one, and back."""

import dataclasses
from typing import Any

from common.coco.orientation import UPRIGHT
from tools.convert.dataset import Box, Category, Image, Instance

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
# Orientation -> a stored pixel (x, y) of an image of width w and height h as it is shown (EXIF 2.3, table 6).
# As matrices over (x, y, w, h): rows give shown x and shown y.
SHOWN = {
    1: ((1, 0, 0, 0), (0, 1, 0, 0)),
    2: ((-1, 0, 1, 0), (0, 1, 0, 0)),
    3: ((-1, 0, 1, 0), (0, -1, 0, 1)),
    4: ((1, 0, 0, 0), (0, -1, 0, 1)),
    5: ((0, 1, 0, 0), (1, 0, 0, 0)),
    6: ((0, -1, 0, 1), (1, 0, 0, 0)),
    7: ((0, -1, 0, 1), (-1, 0, 1, 0)),
    8: ((0, 1, 0, 0), (-1, 0, 1, 0)),
}
MIRRORED = frozenset({2, 4, 5, 7})
INVERSE = {**{number: number for number in SHOWN}, 6: 8, 8: 6}
PAD, LEAST_PAD = 0.1, 2.0  # of a box around keypoints: a part of its longer side, pixels


def to_pixels(image: Image) -> Image:
    """Coordinates that are fractions of width and height, times these."""
    if not image.fractions or image.size is None:
        return image
    scale = np.array([*image.size, 1.0])
    rows = [
        dataclasses.replace(one, keypoints=one.keypoints * scale, box=one.box and _scaled(one.box, image.size))
        for one in image.instances
    ]
    return dataclasses.replace(image, instances=tuple(rows), fractions=False)


def _scaled(box: Box, size: tuple[int, int]) -> Box:
    return box[0] * size[0], box[1] * size[1], box[2] * size[0], box[3] * size[1]


def turn(image: Image, orientation: int, to_shown: bool, categories: dict[str, Category]) -> Image:
    """The image's instances in the other frame: that of the shown pixels, or of the stored ones.

    A mirrored image shows the left hand where a right one is: names change sides with it.
    """
    if orientation == UPRIGHT or image.size is None:
        return image
    matrix = SHOWN[orientation if to_shown else INVERSE[orientation]]
    rows = tuple(_turned(one, matrix, image.size) for one in image.instances)
    if orientation in MIRRORED:
        rows = tuple(_sides_changed(one, categories[one.category]) for one in rows)
    sideways = matrix[0][1] != 0
    return dataclasses.replace(image, size=image.size[::-1] if sideways else image.size, instances=rows)


def _turned(one: Instance, matrix: Any, size: tuple[int, int]) -> Instance:
    """Pixels are counted from the corner of the image, so that x becomes width - x."""
    keypoints = one.keypoints.copy()
    labelled = keypoints[:, 2] > 0
    keypoints[labelled, :2] = _moved(keypoints[labelled, :2], matrix, size)
    box = one.box
    if box:
        corners = _moved(np.array([box[:2], (box[0] + box[2], box[1] + box[3])]), matrix, size)
        low, high = corners.min(axis=0), corners.max(axis=0)
        box = float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])
    kept = {key: value for key, value in one.coco.items() if key != "segmentation"}
    return dataclasses.replace(one, keypoints=keypoints, box=box, coco=kept)


def _moved(points: Float64Array, matrix: Any, size: tuple[int, int]) -> Float64Array:
    rows = np.array(matrix, np.float64)
    return points @ rows[:, :2].T + rows[:, 2:] @ np.array(size, np.float64)


def _sides_changed(one: Instance, category: Category) -> Instance:
    mirror = {a: b for pair in category.flip_pairs for a, b in (pair, pair[::-1])}
    order = [category.keypoints.index(mirror.get(name, name)) for name in category.keypoints]
    return dataclasses.replace(one, keypoints=one.keypoints[order])


def inside(image: Image) -> tuple[Image, int]:
    """Points beyond the image become unlabelled, boxes end at its edges; how many points these were.

    An instance without a box gets one around its points, a tenth of its longer side wider on each side.
    """
    if image.size is None:
        return image, 0
    rows = [_inside(one, image.size) for one in image.instances]
    return dataclasses.replace(image, instances=tuple(one for one, _ in rows)), sum(count for _, count in rows)


def _inside(one: Instance, size: tuple[int, int]) -> tuple[Instance, int]:
    keypoints = one.keypoints.copy()
    labelled = keypoints[:, 2] > 0
    out = labelled & ((keypoints[:, :2] < 0) | (keypoints[:, :2] > np.array(size))).any(axis=1)
    keypoints[out] = 0
    box = one.box or around(keypoints)
    return dataclasses.replace(one, keypoints=keypoints, box=box and _clipped(box, size)), int(out.sum())


def around(keypoints: Float64Array) -> Box | None:
    """The box of the labelled points with a margin; None without any."""
    points = keypoints[keypoints[:, 2] > 0, :2]
    if not len(points):
        return None
    low, high = points.min(axis=0), points.max(axis=0)
    pad = max(PAD * float((high - low).max()), LEAST_PAD)
    (left, top), (width, height) = (low - pad).tolist(), (high - low + 2 * pad).tolist()
    return left, top, width, height


def _clipped(box: Box, size: tuple[int, int]) -> Box:
    left, top = min(max(box[0], 0.0), size[0]), min(max(box[1], 0.0), size[1])
    right, bottom = min(max(box[0] + box[2], 0.0), size[0]), min(max(box[1] + box[3], 0.0), size[1])
    return left, top, max(right - left, 0.0), max(bottom - top, 0.0)
