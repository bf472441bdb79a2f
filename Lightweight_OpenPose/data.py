# SPDX-License-Identifier: Apache-2.0
"""COCO -> training batches: one composed warp a sample, uint8 out of the workers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.coco.images
from common.arrays import Float64Array, UInt8Array
from common.coco.annotations import CocoIndex
from common.coco.images import warp_image
from common.skeleton import Skeleton
from common.train.loader import Position
from Lightweight_OpenPose import labels
from Lightweight_OpenPose.config import Config
from Lightweight_OpenPose.labels import TrainLabels
from Lightweight_OpenPose.model import STRIDE

import cv2
import numpy as np
import numpy.typing as npt
import torch
from faster_coco_eval.core import mask as coco_mask
from torch import Tensor

GREY = 128  # outside the image; 0 after normalisation
PIXEL_MEAN, PIXEL_SCALE = 128.0, 1 / 256


@dataclass(frozen=True)
class Draw:
    """One draw of the augmentation: `scale` multiplies the height, `shift_in` (x, y) moves the crop."""

    scale: float
    angle_deg: float
    shift_in: tuple[int, int]
    flip: bool


def sample_augmentation(config: Config, random: np.random.Generator) -> Draw:
    """Five uniform numbers, distributed as in the original."""
    scale, angle, shift_x, shift_y, flip = random.random(5)
    return Draw(
        scale=config.scale_min + (config.scale_max - config.scale_min) * scale,
        angle_deg=(angle - 0.5) * 2 * config.rotation,
        shift_in=(int((shift_x - 0.5) * 2 * config.shift), int((shift_y - 0.5) * 2 * config.shift)),
        flip=flip <= config.flip,
    )


@dataclass(frozen=True)
class Warp:
    """The composed warp of a crop: scale, rotation, crop and flip in one.

    `pixels` (2, 3) takes pixel centres of the image to those of the crop, `points` (2, 3) keypoint coordinates:
    the original resizes pixels about their centres, but multiplies coordinates.
    """

    pixels: Float64Array
    points: Float64Array


def compose(size_img: tuple[int, int], box: Float64Array, config: Config, drawn: Draw) -> Warp:
    """The warp of one sample. `size_img`: (height, width) of the image. `box`: (4,) left, top, width, height of the
    main person, original pixels."""
    size_in = config.net_input_size
    scale = config.person_height * size_in / box[3] * drawn.scale
    height, width = round(size_img[0] * scale), round(size_img[1] * scale)  # of the scaled image
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), drawn.angle_deg, 1.0)
    cosine, sine = abs(turn[0, 0]), abs(turn[0, 1])
    bound = int(height * sine + width * cosine), int(height * cosine + width * sine)  # of the turned image
    turn[:, 2] += np.array(bound) / 2 - np.array([width / 2, height / 2])
    points = turn.copy()
    points[:, :2] *= scale
    centre_in = points[:, :2] @ (box[:2] + box[2:] / 2) + points[:, 2]
    start = np.trunc(centre_in + drawn.shift_in - size_in / 2)
    points[:, 2] -= start
    pixels = points.copy()
    pixels[:, 2] += turn[:, :2] @ np.full(2, 0.5 * scale - 0.5)
    if drawn.flip:
        for matrix in (pixels, points):
            matrix[0] *= -1
            matrix[0, 2] += size_in - 1
    return Warp(pixels, points)


def to_points(keypoints: npt.NDArray[Any], size_img: tuple[int, int], skeleton: Skeleton) -> Float64Array:
    """Annotated keypoints as the points that the network learns.

    `keypoints`: (P, num_keypoints, 3) x_img, y_img, v as in COCO; (height, width) in `size_img`. A keypoint at (0, 0)
    or outside the image counts as absent; a derived point is the mean of its sources, absent where one of them is,
    or where it falls outside. Returns (P, num_points, 3) float64.
    """
    known = _without_outside(np.asarray(keypoints, np.float64), size_img)
    points, taken = np.zeros((len(known), skeleton.num_points, 3)), skeleton.keypoint_of_point >= 0
    points[:, taken] = known[:, skeleton.keypoint_of_point[taken]]
    for name, sources in skeleton.derived.items():
        from_points = known[:, [skeleton.keypoints.index(source) for source in sources]]
        derived = from_points.mean(axis=1)
        derived[:, 2] = np.where((from_points[:, :, 2] > 0).all(axis=1), from_points[:, :, 2].max(axis=1), 0)
        points[:, skeleton.points.index(name)] = derived
    return _without_outside(points, size_img)


def _without_outside(points: Float64Array, size_img: tuple[int, int]) -> Float64Array:
    x, y, labelled = np.moveaxis(points, -1, 0)
    outside = (x < 0) | (y < 0) | (x >= size_img[1]) | (y >= size_img[0]) | ((x == 0) & (y == 0))
    return np.stack([x, y, np.where(outside, 0, labelled)], axis=-1)


def transform_points(points: Float64Array, warp: Warp, flip: bool, skeleton: Skeleton) -> Float64Array:
    """(P, num_points, 3) from original to input pixels; mirrored people have left and right swapped."""
    moved = points.copy()
    moved[..., :2] = points[..., :2] @ warp.points[:, :2].T + warp.points[:, 2]
    return moved[:, skeleton.point_flip] if flip else moved


def crowd_mask(index: CocoIndex, image_row: int) -> UInt8Array | None:
    """(h, w) uint8 in original pixels: 1 where the image can be used, 0 in a crowd; None where it has no crowd."""
    size = index.image_sizes[image_row].tolist()
    regions = [{"size": size, "counts": counts} for counts in index.crowds(image_row)]
    return 1 - np.asarray(coco_mask.decode(coco_mask.merge(regions)), np.uint8) if regions else None


def warp_mask(valid_mask: UInt8Array | None, warp: Warp, size_in: int) -> UInt8Array:
    """The crowd mask in map cells: 1 where more than half of a cell is outside every crowd, as the original rounds.

    `valid_mask`: (h, w) uint8, 0 inside a crowd, original pixels; None where the image has no crowd. Returns
    (size_in / 8, size_in / 8) uint8.
    """
    cells = size_in // STRIDE
    if valid_mask is None:
        return np.ones((cells, cells), np.uint8)
    full = cv2.warpAffine(valid_mask * 255, warp.pixels, (size_in, size_in), flags=cv2.INTER_LINEAR, borderValue=(255,))
    whole = (full == 255).astype(np.uint8)  # the original truncates: a pixel that touches a crowd belongs to it
    return cv2.resize(whole, (cells, cells), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


class TrainSamples:
    """`samples[epoch, index]`: one training sample, random in a way that (seed, epoch, index) decides."""

    def __init__(self, labels: TrainLabels, folder: Path, skeleton: Skeleton, config: Config) -> None:
        self.labels, self.folder, self.skeleton, self.config = labels, folder, skeleton, config

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: Position) -> dict[str, Any]:
        """{"image": (size, size, 3) uint8 BGR, "valid_mask": (size/8, size/8) uint8, "points": (P, num_points, 3)
        float32 in input pixels, main person first}. Raises ImageError for an unreadable image."""
        (_, sample), coco = position, self.labels.index
        person, row = self.labels.main[sample], int(self.labels.images[sample])
        height, width = coco.image_sizes[row].tolist()
        drawn = sample_augmentation(self.config, np.random.default_rng((self.config.seed, *position)))
        warp = compose((height, width), coco.boxes[person], self.config, drawn)
        people = np.append(person, self.labels.others(sample))
        points = transform_points(
            to_points(coco.keypoints[people], (height, width), self.skeleton), warp, drawn.flip, self.skeleton
        )
        image = common.coco.images.read_annotated(self.folder, coco.file_name(row), (height, width), self.config.exif)
        return {
            "image": warp_image(image, warp.pixels, (self.config.net_input_size,) * 2, GREY),
            "valid_mask": warp_mask(crowd_mask(coco, row), warp, self.config.net_input_size),
            "points": points.astype(np.float32),
        }


def collate(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Samples as one batch: image (B, 3, S, S) uint8, valid_mask (B, 1, s, s) uint8, points (B, P, num_points, 3)
    float32; samples with fewer than P people are filled with people that have no points."""
    most = max(len(sample["points"]) for sample in samples)
    padded = [np.pad(one["points"], ((0, most - len(one["points"])), (0, 0), (0, 0))) for one in samples]
    arrays = [one["image"] for one in samples], [one["valid_mask"] for one in samples], padded
    images, valid_masks, points = (torch.from_numpy(np.stack(of_samples)) for of_samples in arrays)
    return {"image": images.permute(0, 3, 1, 2), "valid_mask": valid_masks[:, None], "points": points}


def normalise(images: Tensor) -> Tensor:
    """uint8 BGR as the network takes it: (pixel - 128) / 256, float32."""
    return images.float().sub_(PIXEL_MEAN).mul_(PIXEL_SCALE)  # in place: a fresh tensor of this size is slow


def train_samples(config: Config, skeleton: Skeleton) -> TrainSamples:
    """The people to train on, and their images. Raises UserError, naming flag or file."""
    images = config.train_images_folder or common.coco.images.image_folder(config.data_path, "train")
    annotations = config.prepared_train_labels or common.coco.images.annotation_file(config.data_path, "train")
    return TrainSamples(labels.build(annotations, skeleton.num_keypoints), Path(images), skeleton, config)
