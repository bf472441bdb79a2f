# SPDX-License-Identifier: Apache-2.0
"""The augmentation as the original does it (spec A6), step by step, joints cut to whole pixels after each.

It moves labels by a pixel up and left on average, which costs about 4 points of AP at best (spec, bug 1). Images are
uint8 BGR, masks (h, w) uint8 1 where masked, points (P, num_points, 3) int64 x, y, v.
"""

from typing import Any

from common.arrays import Int64Array, UInt8Array
from common.skeleton import Skeleton
from OpenPose_MindSpore_port.augmentation import Augmentation, Draw, boxes, scale_of, shift_in

import cv2
import numpy as np
import numpy.typing as npt

Sample = tuple[UInt8Array, UInt8Array, Int64Array]
TURNED_BORDER, CROPPED_BORDER = 127.5, 127  # the first is rounded to 128, the second was cut


def augment(
    image: UInt8Array,
    mask: UInt8Array,
    points: npt.NDArray[Any],
    augmentation: Augmentation,
    drawn: Draw,
    skeleton: Skeleton,
) -> Sample:
    """A training crop: image (insize, insize, 3), mask (insize, insize), points in input pixels.

    `points` may have fractions, which are cut off first.
    """
    sample = image, mask, points.astype(np.int64)
    sample = resize(*sample, scale_of(sample[2].astype(np.float64), augmentation, drawn.scale))
    sample = rotate(*sample, drawn.angle_deg)
    cropped, mask, points = crop(*sample, augmentation, drawn)
    if drawn.colour is not None:
        hsv = cv2.cvtColor(cropped, cv2.COLOR_BGR2HSV).astype(int) + drawn.colour  # a hue below 0 becomes red
        cropped = cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8), cv2.COLOR_HSV2BGR)
    return flip(cropped, mask, points, skeleton) if drawn.flip else (cropped, mask, points)


def resize(image: UInt8Array, mask: UInt8Array, points: Int64Array, scale: float) -> Sample:
    """Step 1: image and mask scaled about pixel corners, coordinates multiplied."""
    height, width = image.shape[:2]
    size = round(width * scale), round(height * scale)
    points = points.copy()
    points[..., :2] = points[..., :2] * np.array(size) / (width, height)
    return cv2.resize(image, size), cv2.resize(mask, size), points  # type: ignore[return-value]


def rotate(image: UInt8Array, mask: UInt8Array, points: Int64Array, angle_deg: float) -> Sample:
    """Step 2: turned about the middle, onto a canvas that holds all; whatever touches the mask is masked."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle_deg, 1.0)
    cosine, sine = abs(turn[0, 0]), abs(turn[0, 1])
    bound = np.array([width * cosine + height * sine, width * sine + height * cosine])
    turn[:, 2] += bound / 2 - (width / 2, height / 2)
    size = int(bound[0] + 0.5), int(bound[1] + 0.5)
    border = (TURNED_BORDER,) * 3
    turned = cv2.warpAffine(image, turn, size, flags=cv2.INTER_CUBIC, borderValue=border)
    masked = cv2.warpAffine(mask * np.uint8(255), turn, size) > 0
    points = points.copy()
    points[..., :2] = points[..., :2] @ turn[:, :2].T + turn[:, 2]
    return turned, masked.astype(np.uint8), points  # type: ignore[return-value]


def crop(image: UInt8Array, mask: UInt8Array, points: Int64Array, augmentation: Augmentation, drawn: Draw) -> Sample:
    """Step 3: a square round one person's box, moved at random."""
    low, high = boxes(points[drawn.person : drawn.person + 1].astype(np.float64))
    centre = np.trunc((low[0] + high[0]) / 2 + shift_in(augmentation, drawn) + 0.5)
    left, top = np.trunc(centre - (augmentation.insize - 1) / 2 + 0.5).astype(int).tolist()
    points = points.copy()
    points[..., :2] -= (left, top)
    size = augmentation.insize
    return _cut(image, left, top, size, CROPPED_BORDER), _cut(mask, left, top, size, 0), points


def _cut(image: UInt8Array, left: int, top: int, size: int, border: int) -> UInt8Array:
    """The square at (left, top), `border` outside the image."""
    canvas = np.full((size, size, *image.shape[2:]), border, np.uint8)
    x, y = max(left, 0), max(top, 0)
    part = image[y : max(top + size, 0), x : max(left + size, 0)]
    canvas[y - top : y - top + part.shape[0], x - left : x - left + part.shape[1]] = part
    return canvas


def flip(image: UInt8Array, mask: UInt8Array, points: Int64Array, skeleton: Skeleton) -> Sample:
    """Step 5: mirrored, left and right of people changed over."""
    points = points[:, skeleton.point_flip]
    points[..., 0] = image.shape[1] - 1 - points[..., 0]
    return np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(mask[:, ::-1]), points
