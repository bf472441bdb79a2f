# SPDX-License-Identifier: Apache-2.0
"""COCO -> training batches: one composed warp a sample, uint8 out of the workers.

Scale, rotation, crop and flip are one matrix, which image, ignore mask and points share, so a point stays on its
pixel, to any fraction.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.coco.images
from common.arrays import Float32Array, Float64Array, UInt8Array
from common.coco.annotations import CocoIndex
from common.distributed import main_process_first
from common.skeleton import Skeleton
from common.train.loader import Position
from OpenPose_MindSpore_port import ignore_masks
from OpenPose_MindSpore_port.config import Config, located
from OpenPose_MindSpore_port.model import STRIDE

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

GREY = 128  # outside the image: half of 255, rounded, as the network sees nothing
MASK_REACH_IN = 16  # side of the square by which masks grow, input pixels
HUES = 180  # OpenCV's 8-bit hue counts steps of 2 degrees
COLOUR_SHARE, FLIPPED_SHARE = 0.5, 0.5
COLOUR_REACH = (10, 40, 30)  # largest change of hue, saturation and value, 8-bit steps
LARGEST_PIXEL, OFFSET = 255, 0.5
VISIBLE = 2  # COCO's v of a point that is labelled and seen


@dataclass(frozen=True)
class Draw:
    """One draw. `scale` and `shift` (x, y) are parts of their ranges, from 0 to 1."""

    scale: float
    angle_deg: float
    person: int  # at the centre of the crop
    shift: tuple[float, float]
    colour: tuple[int, ...] | None  # added to hue, saturation, value
    flip: bool


def sample_augmentation(config: Config, num_people: int, random: np.random.Generator) -> Draw:
    """One draw, distributed as in the original."""
    scale, shift_x, shift_y, person, colour, flip, *change = random.random(6 + len(COLOUR_REACH)).tolist()
    angle_deg = random.standard_normal() / 3 * config.max_rotate_degree
    change = tuple(int(share * (2 * reach + 1)) - reach for share, reach in zip(change, COLOUR_REACH, strict=True))
    changed = change if colour < COLOUR_SHARE else None
    return Draw(scale, angle_deg, int(person * num_people), (shift_x, shift_y), changed, flip < FLIPPED_SHARE)


def boxes(points: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Upper left and lower right corners, (P, 2) x, y, of the labelled points of (P, num_points, 3): each has one."""
    labelled = points[..., 2:] > 0
    low = np.where(labelled, points[..., :2], np.inf).min(axis=1)
    return low, np.where(labelled, points[..., :2], -np.inf).max(axis=1)


def scale_of(points: Float64Array, config: Config, share: float) -> float:
    """The scale at a part of its range, which keeps people between the smallest and the largest size.

    `points`: (P, num_points, 3), original pixels.
    """
    low, high = boxes(points)
    diagonals = np.sqrt(np.square(high - low + 1).sum(axis=1))
    smallest = min(max(config.min_box_size / diagonals.min(), config.min_scale), 1.0)
    largest = min(max(config.max_box_size / diagonals.max(), 1.0), config.max_scale)
    return float((largest - smallest) * share + smallest)


def compose(points: Float64Array, config: Config, drawn: Draw) -> Float64Array:
    """(2, 3) float64: the matrix from original to input pixels, of pixel centres and of points alike.

    An image is sampled once with it, linearly: the original samples twice, linearly and cubically, which is three times
    slower and, from half to twice the size, hardly sharper.

    `points`: (P, num_points, 3), original pixels. The box of the chosen person is that of the turned points.
    """
    scale = scale_of(points, config, drawn.scale)
    turn = cv2.getRotationMatrix2D((0, 0), drawn.angle_deg, scale)[:, :2]
    low, high = boxes(transform_points(points[drawn.person : drawn.person + 1], np.column_stack([turn, (0, 0)])))
    shift = (np.array(drawn.shift) - 0.5) * 2 * config.center_perterb_max
    matrix = np.column_stack([turn, (config.insize - 1) / 2 - (low[0] + high[0]) / 2 - shift])
    if drawn.flip:
        matrix[0] *= -1
        matrix[0, 2] += config.insize - 1
    return matrix


def transform_points(points: Float64Array, matrix: Float64Array) -> Float64Array:
    """(P, num_points, 3) from original to input pixels."""
    return np.concatenate([points[..., :2] @ matrix[:, :2].T + matrix[:, 2], points[..., 2:]], axis=-1)


def valid_cells(mask: UInt8Array | None, matrix: Float64Array, insize: int) -> Float32Array:
    """(insize / 8, insize / 8) float32: how much of each map cell counts, 0 to 1; everything where `mask` is None.

    `mask`: (h, w) uint8 in original pixels, not 0 where masked; it grows in the crop, since Gaussians reach beyond
    people. Outside the image nothing is masked: that there are no people may be learned.
    """
    cells = insize // STRIDE
    if mask is None:
        return np.ones((cells, cells), np.float32)
    crop = cv2.warpAffine(mask, matrix, (insize, insize), flags=cv2.INTER_NEAREST)
    grown = cv2.dilate((crop > 0).view(np.uint8), np.ones((MASK_REACH_IN, MASK_REACH_IN), np.uint8))
    return 1 - cv2.resize(grown.astype(np.float32), (cells, cells), interpolation=cv2.INTER_LINEAR)


def change_colours(image: UInt8Array, change: tuple[int, ...]) -> UInt8Array:
    """(h, w, 3) uint8 BGR with hue, saturation and value changed; hues turn round the circle."""
    values = np.arange(256)[None, :, None] + np.array(change)
    tables = np.clip(values, 0, 255)
    tables[..., 0] = values[..., 0] % HUES
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_BGR2HSV), tables.astype(np.uint8))
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)  # type: ignore[return-value]


def to_points(keypoints: npt.NDArray[Any], skeleton: Skeleton) -> Float64Array:
    """Annotated keypoints as the points that the network learns.

    `keypoints`: (P, num_keypoints, 3) x_img, y_img, v as in COCO. A derived point (the neck) is the mean of its
    sources, visible where all are labelled, otherwise absent. Returns (P, num_points, 3) float64, all 0 where absent.
    """
    known = np.asarray(keypoints, np.float64)
    points, taken = np.zeros((len(known), skeleton.num_points, 3)), skeleton.keypoint_of_point >= 0
    points[:, taken] = known[:, skeleton.keypoint_of_point[taken]]
    for name, sources in skeleton.derived.items():
        from_points = known[:, [skeleton.keypoints.index(source) for source in sources]]
        labelled = (from_points[..., 2] > 0).all(axis=1)
        derived = points[:, skeleton.points.index(name)]
        derived[labelled, :2] = from_points[labelled, :, :2].mean(axis=1)
        derived[labelled, 2] = VISIBLE
    return points


class TrainSamples:
    """`samples[epoch, row]`: the sample of an image of the index, random in a way that (seed, epoch, row) decides."""

    def __init__(self, index: CocoIndex, folder: Path, masks: Path, skeleton: Skeleton, config: Config) -> None:
        """`index`: of the people to learn. `folder`: of the images. `masks`: of their ignore masks."""
        self.index, self.folder, self.masks, self.skeleton, self.config = index, folder, masks, skeleton, config
        self.points = to_points(index.keypoints, skeleton).astype(np.float32)  # halves of pixels stay exact

    def __len__(self) -> int:
        return self.index.num_images

    def __getitem__(self, position: Position) -> dict[str, Any]:
        """{"image": (insize, insize, 3) uint8 BGR, "valid_mask": (insize/8, insize/8) float32, "points": (P,
        num_points, 3) float32 in input pixels}.

        Raises ImageError for an unreadable image, UserError for an ignore mask that is damaged or of another size.
        """
        (_, row), coco = position, self.index
        points = self.points[coco.people(row)].astype(np.float64)
        drawn = sample_augmentation(self.config, len(points), np.random.default_rng((self.config.seed, *position)))
        height, width = coco.image_sizes[row].tolist()
        image = common.coco.images.read_annotated(self.folder, coco.file_name(row), (height, width), self.config.exif)
        mask = ignore_masks.read(self.masks, int(coco.image_ids[row]), (height, width))
        return self.augmented(image, mask, points, drawn)

    def augmented(
        self, image: UInt8Array, mask: UInt8Array | None, points: Float64Array, drawn: Draw
    ) -> dict[str, Any]:
        """The sample of a draw; all in original pixels: `image` (h, w, 3), `mask` (h, w) uint8 of 0 and 255 or None."""
        size, matrix = self.config.insize, compose(points, self.config, drawn)
        crop = common.coco.images.warp_image(image, matrix, (size, size), GREY)
        points_in = transform_points(points, matrix)
        return {
            "image": change_colours(crop, drawn.colour) if drawn.colour else crop,
            "valid_mask": valid_cells(mask, matrix, size),
            "points": (points_in[:, self.skeleton.point_flip] if drawn.flip else points_in).astype(np.float32),
        }


def collate(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Samples as one batch: image (B, 3, S, S) uint8, valid_mask (B, 1, s, s) float32, points (B, P, num_points, 3)
    float32; samples with fewer than P people are filled with people that have no points."""
    most = max(len(sample["points"]) for sample in samples)
    padded = [np.pad(one["points"], ((0, most - len(one["points"])), (0, 0), (0, 0))) for one in samples]
    arrays = [one["image"] for one in samples], [one["valid_mask"] for one in samples], padded
    images, valid_masks, points = (torch.from_numpy(np.stack(of_samples)) for of_samples in arrays)
    return {"image": images.permute(0, 3, 1, 2), "valid_mask": valid_masks[:, None], "points": points}


def normalise(images: Tensor) -> Tensor:
    """uint8 BGR as the network takes it: pixel / 255 - 0.5, float32."""
    return images.float().div_(LARGEST_PIXEL).sub_(OFFSET)  # in place: a fresh tensor of this size is slow


def train_samples(config: Config, skeleton: Skeleton) -> TrainSamples:
    """All people to train on; ignore masks are made where there are none."""
    folder = located(config.data_dir, config.train_dir, "--train_dir")
    annotations = located(Path(config.data_dir) / "annotations", config.train_ann, "--train_ann")
    index = ignore_masks.load_learned(annotations, config, skeleton.num_keypoints)
    masks = main_process_first(lambda: ignore_masks.mask_folder(config, annotations))
    return TrainSamples(index, folder, masks, skeleton, config)
