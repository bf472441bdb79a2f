# SPDX-License-Identifier: Apache-2.0
"""The augmentation of training, one transform after the other, on the whole image: slow, the baseline of the benchmark.

Labels are handled sample by sample in Python, targets are drawn cell by cell, images leave as normalised float32.
"""

import math

import common.coco.images
from common.skeleton import Skeleton
from Lightweight_OpenPose.data import GREY, Augmentation, Draw, to_points
from Lightweight_OpenPose.labels import TrainLabels
from Lightweight_OpenPose.model import STRIDE
from Lightweight_OpenPose.targets import TargetRules
from Lightweight_OpenPose.test import plain_targets

import cv2
import numpy as np


def sample(labels: TrainLabels, index: int, folder, skeleton: Skeleton, augmentation: Augmentation, drawn: Draw):
    """image (3, size, size) float32, mask, heatmaps and fields of one sample."""
    coco, person = labels.index, labels.main[index]
    row = int(labels.images[index])
    image = cv2.imread(str(folder / coco.file_name(row)))
    usable = common.coco.images.crowd_mask(coco, row)
    mask = np.ones(image.shape[:2], np.float32) if usable is None else usable.astype(np.float32)
    people = np.append(person, labels.others(index))
    points = to_points(coco.keypoints[people], image.shape[:2], skeleton)
    centre = coco.boxes[person, :2] + coco.boxes[person, 2:] / 2
    image, mask, points = transform(
        image, mask, points, centre, float(coco.boxes[person, 3]), augmentation, drawn, skeleton
    )
    cells = augmentation.size_in // STRIDE
    heatmaps, fields = plain_targets.encode(points, (cells, cells), skeleton, TargetRules())
    small = cv2.resize(mask, (cells, cells), interpolation=cv2.INTER_AREA)
    normalised = ((image.astype(np.float32) - 128) / 256).transpose(2, 0, 1)
    return normalised, np.repeat(small[None], skeleton.num_heatmaps + skeleton.num_fields, 0), heatmaps, fields


def transform(image, mask, points, centre, height: float, augmentation: Augmentation, drawn: Draw, skeleton: Skeleton):
    """Scale, rotate, crop, flip: image uint8, mask uint8 (1 usable), points in input pixels."""
    scale = augmentation.person_height * augmentation.size_in / height * drawn.scale
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    mask = cv2.resize(mask, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    points, centre = points.copy(), centre * scale
    points[..., :2] *= scale
    image, mask, turn = _rotate(image, mask, drawn.angle_deg)
    points[..., :2] = points[..., :2] @ turn[:, :2].T + turn[:, 2]
    centre = turn[:, :2] @ centre + turn[:, 2]
    half = augmentation.size_in / 2
    left, top = (int(centre[axis] + drawn.shift_in[axis] - half) for axis in (0, 1))
    image = _crop(image, left, top, augmentation.size_in, (GREY,) * 3)
    mask = _crop(mask, left, top, augmentation.size_in, 1).astype(np.uint8)
    points[..., :2] -= (left, top)
    if drawn.flip:
        image, mask = image[:, ::-1], mask[:, ::-1]
        points[..., 0] = augmentation.size_in - 1 - points[..., 0]
        points = points[:, skeleton.point_flip]
    return np.ascontiguousarray(image), np.ascontiguousarray(mask), points


def _rotate(image, mask, angle_deg: float):
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle_deg, 1.0)
    cosine, sine = abs(turn[0, 0]), abs(turn[0, 1])
    bound = int(height * sine + width * cosine), int(height * cosine + width * sine)
    turn[:, 2] += np.array(bound) / 2 - np.array([width / 2, height / 2])
    image = cv2.warpAffine(image, turn, bound, borderMode=cv2.BORDER_CONSTANT, borderValue=(GREY,) * 3)
    return image, cv2.warpAffine(mask, turn, bound, borderMode=cv2.BORDER_CONSTANT, borderValue=1), turn


def _crop(image, left: int, top: int, size: int, border):
    crop = np.empty((size, size, *image.shape[2:]), image.dtype)
    crop[:] = border
    height, width = image.shape[:2]
    from_x, from_y, to_x, to_y = max(left, 0), max(top, 0), min(left + size, width), min(top + size, height)
    if from_x < to_x and from_y < to_y:
        crop[from_y - top : to_y - top, from_x - left : to_x - left] = image[from_y:to_y, from_x:to_x]
    return crop


def draw(random: np.random.Generator, augmentation: Augmentation) -> Draw:
    """As `data.draw`, from Python's own formulae."""
    numbers = random.random(5).tolist()
    return Draw(
        augmentation.scale_min + (augmentation.scale_max - augmentation.scale_min) * numbers[0],
        (numbers[1] - 0.5) * 2 * augmentation.rotation_deg,
        (math.trunc((numbers[2] - 0.5) * 80), math.trunc((numbers[3] - 0.5) * 80)),
        numbers[4] <= augmentation.flip,
    )
