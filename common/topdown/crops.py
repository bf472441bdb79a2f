# SPDX-License-Identifier: Apache-2.0
"""The crop of one person: from a box to the network's input, and from its maps back to the image.

A crop is a centre, a size of the input's aspect ratio, a rotation and a flip: one affine matrix, so an image is sampled
once. Frames: `_img` original pixels, `_in` input pixels. Sizes of images are (height, width), of boxes x, y.
"""

from dataclasses import dataclass
from typing import Any

from common.arrays import Float64Array, FloatArray, Int64Array
from common.cli import UserError
from common.coco.annotations import CocoIndex
from common.skeleton import Skeleton

import cv2
import numpy as np
import numpy.typing as npt

Size = tuple[int, int]  # height, width

TRUNK_STRIDE = 32  # ResNet and HRNet halve an input five times
PADDING = 1.25  # of a box, so that a person who extends beyond it is fully visible
HALF_BODY_PADDING = 1.5
FEWEST_OF_A_HALF = 3  # joints that the chosen half needs; otherwise the other one is taken
UPPER_HALF_BELOW = 0.5  # the original compares it with a normal, not a uniform number: P(upper) = 0.69, not 0.5
ROTATED_SHARE = 0.6
FLIPPED_SHARE = 0.5
DETECTED = -1  # in place of the row of an annotated person
LOWER_BODY = ("hip", "knee", "ankle", "heel", "toe", "foot")


def check_sizes(size_in: tuple[int, ...], size_map: tuple[int, ...]) -> None:
    """Raises UserError where a network's maps of an input of `size_in` (height, width) cannot be of `size_map`.

    A side that a trunk cannot halve five times is rounded up on the way: people would be found in the wrong place.
    """
    if len(size_in) != 2 or len(size_map) != 2:
        raise UserError("IMAGE_SIZE and HEATMAP_SIZE: two numbers each are needed")
    (height, width), (map_height, map_width) = size_in, size_map
    if height % TRUNK_STRIDE or width % TRUNK_STRIDE:
        what = f"IMAGE_SIZE {height} x {width} (height x width)"
        raise UserError(f"{what}: both sides must be multiples of {TRUNK_STRIDE}")
    if height * map_width != width * map_height:
        raise UserError(f"HEATMAP_SIZE {map_height} x {map_width} (height x width) is no equal part of IMAGE_SIZE")


@dataclass(frozen=True)
class Crop:
    """The position of one person's crop: `centre_img`, `size_img` (2,) of the upright rectangle in original pixels.

    `rotation_deg` turns the image counter-clockwise; `flip` mirrors the image, before everything else.
    """

    centre_img: FloatArray
    size_img: FloatArray
    rotation_deg: float = 0.0
    flip: bool = False


@dataclass(frozen=True)
class PersonBoxes:
    """N boxes that people are cropped from, image after image."""

    image_rows: Int64Array  # (N,) of the annotation index
    boxes_img: Float64Array  # (N, 4) left, top, width, height, original pixels
    scores: Float64Array  # (N,) of the detector, 1 for an annotated person
    person_rows: Int64Array  # (N,) of the annotation index, DETECTED for the box of a detector
    notes: tuple[str, ...] = ()  # a line for each kind of boxes that were left out

    def __len__(self) -> int:
        return len(self.image_rows)

    def select(self, rows: npt.NDArray[Any]) -> "PersonBoxes":
        """A selection: a mask or row numbers."""
        return PersonBoxes(
            self.image_rows[rows], self.boxes_img[rows], self.scores[rows], self.person_rows[rows], self.notes
        )

    def by_image(self) -> list[tuple[int, Int64Array]]:
        """(image row, rows of its boxes) of every image that has boxes."""
        starts = np.flatnonzero(np.diff(self.image_rows, prepend=-1))
        parts = np.split(np.arange(len(self)), starts[1:])
        return [(int(self.image_rows[part[0]]), part) for part in parts if len(part)]


def labelled_people(index: CocoIndex, lenient: bool = False) -> PersonBoxes:
    """The people of an index that are evaluated or trained on, in its order, their boxes inside the image; no crowds.

    AlphaPose's rule: a keypoint is labelled, and the box has a width and a height in the image. The `lenient` one is
    MIPNet's: a number of the keypoints is above 0, and the box is no single pixel.
    """
    owners = index.image_rows(np.arange(len(index.boxes)))
    boxes = boxes_inside(index.boxes, index.image_sizes[owners], lenient)
    positive, labelled = boxes[:, 2:] > 0, index.num_keypoints > 0
    if lenient:
        positive = positive.any(axis=1, keepdims=True) & (boxes[:, 2:] >= 0)
        labelled = index.keypoints.max(axis=(1, 2)) > 0
    rows = np.flatnonzero(~index.is_crowd & labelled & positive.all(axis=1))
    return PersonBoxes(owners[rows], boxes[rows], np.ones(len(rows)), rows)


def boxes_inside(boxes_img: npt.ArrayLike, sizes_img: npt.ArrayLike, moved: bool = False) -> Float64Array:
    """Boxes cut at the borders of their images; `moved`: those that begin outside are moved to the border before.

    `boxes_img` (N, 4) left, top, width, height; `sizes_img` (N, 2) or (2,) height, width. The last pixel of a box is
    at left + width - 1; widths and heights of the result (N, 4) count from first to last pixel, one less than given,
    and are negative beyond the image.
    """
    boxes, last = np.asarray(boxes_img, np.float64), np.asarray(sizes_img, np.float64)[..., ::-1] - 1
    start = np.maximum(boxes[:, :2], 0)
    end = (start if moved else boxes[:, :2]) + np.maximum(boxes[:, 2:] - 1, 0)
    return np.hstack([start, np.minimum(end, last) - start])


def fit_boxes(boxes_img: npt.ArrayLike, size_in: Size, padding: float = PADDING) -> tuple[FloatArray, FloatArray]:
    """Centres (..., 2) and sizes (..., 2) of crops: boxes widened to the aspect ratio of the input, then padded.

    `boxes_img` (..., 4) left, top, width, height. float32, as in both originals. Raises UserError for a box without
    extent or with numbers that are not finite.
    """
    boxes = np.asarray(boxes_img, np.float64)
    width, height, aspect = boxes[..., 2], boxes[..., 3], size_in[1] / size_in[0]
    valid = np.isfinite(boxes).all(axis=-1) & (np.minimum(width, height) >= 0) & (np.maximum(width, height) > 0)
    if not valid.all():
        wrong = boxes[~valid].reshape(-1, 4)[0].tolist()
        raise UserError(f"no crop of the box {wrong} (left, top, width, height): it must be finite and have an extent")
    heights = np.maximum(height, width / aspect)
    sizes, centres = np.stack([heights * aspect, heights], axis=-1), boxes[..., :2] + boxes[..., 2:] * 0.5
    return centres.astype(np.float32), sizes.astype(np.float32) * np.float32(padding)


@dataclass(frozen=True)
class Augmentation:
    """The augmentation of training crops; names and values as in the published configurations."""

    scale_factor: float = 0.35
    rotation_factor: float = 45.0  # degrees, of the normal distribution; twice that is the limit
    half_body: float = 0.3  # probability
    flip: bool = True
    half_body_joints: int = 8  # a person with more visible joints may be cut to half a body

    @classmethod
    def of(cls, cfg: Any) -> "Augmentation":
        """Of the section of a yaml config that has the published keys."""
        return cls(cfg.SCALE_FACTOR, cfg.ROT_FACTOR, cfg.PROB_HALF_BODY, cfg.FLIP, cfg.NUM_JOINTS_HALF_BODY)

    def vary(
        self,
        crop: Crop,
        joints_img: FloatArray,
        visible: npt.ArrayLike,
        skeleton: Skeleton,
        size_in: Size,
        random: np.random.Generator,
    ) -> Crop:
        """A person's upright crop varied, distributed as in both originals, drawn in an order of our own.

        `joints_img` (K, 2), `visible` (K,).
        """
        scale, rotation, upper = random.standard_normal(3)
        rotated, flipped, halved = random.random(3)
        spread, turn = self.scale_factor, self.rotation_factor
        centre, size = crop.centre_img, crop.size_img
        if halved < self.half_body and np.count_nonzero(np.asarray(visible) > 0) > self.half_body_joints:
            half = half_body(joints_img, visible, skeleton, bool(upper < UPPER_HALF_BELOW), size_in)
            centre, size = half or (centre, size)
        return Crop(
            centre,
            size * np.float64(np.clip(scale * spread + 1, 1 - spread, 1 + spread)),
            float(np.clip(rotation * turn, -2 * turn, 2 * turn)) if rotated <= ROTATED_SHARE else 0.0,
            self.flip and bool(flipped <= FLIPPED_SHARE),
        )


def half_body(
    joints_img: FloatArray, visible: npt.ArrayLike, skeleton: Skeleton, prefer_upper: bool, size_in: Size
) -> tuple[FloatArray, FloatArray] | None:
    """Centre and size (2,) float32 of the crop round the visible joints of one half of a person.

    `joints_img` (K, 2), `visible` (K,). None where that half has fewer than two joints or no extent: the crop then
    stays as it is.
    """
    seen = np.asarray(visible) > 0
    upper = np.array([not name.endswith(LOWER_BODY) for name in skeleton.keypoints])
    above, below = seen & upper, seen & ~upper
    take_upper = (prefer_upper and above.sum() >= FEWEST_OF_A_HALF) or below.sum() < FEWEST_OF_A_HALF
    half = joints_img[above if take_upper else below]
    if len(half) < 2 or not np.ptp(half, axis=0).any():
        return None
    box = np.concatenate([half.min(axis=0), np.ptp(half, axis=0)])
    _, size = fit_boxes(box, size_in, HALF_BODY_PADDING)
    return half.mean(axis=0).astype(np.float32), size


def crop_to_image(
    centres_img: npt.ArrayLike, sizes_img: npt.ArrayLike, size_in: Size, rotation_deg: float = 0.0, flip: bool = False
) -> Float64Array:
    """(..., 2, 3) float64: the matrices from input pixels, or map cells, to original pixels.

    `centres_img`, `sizes_img` (..., 2); `size_in` (height, width) of the input, or of a map. Only the width of a crop
    counts.
    """
    height, width = size_in
    angle = np.deg2rad(rotation_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if flip:
        turn[0] *= -1
    linear = np.asarray(sizes_img, np.float64)[..., :1, None] / width * turn
    start = np.asarray(centres_img, np.float64) - linear @ [width / 2, height / 2]
    return np.concatenate([linear, start[..., None]], axis=-1)


def image_to_crop(crop: Crop, size_in: Size) -> Float64Array:
    """(2, 3) float64: the one matrix of a crop, from original to input pixels, flip included; for `images.warp_image`.

    Raises UserError for a crop without extent.
    """
    if not crop.size_img[0] > 0:
        raise UserError(f"no crop of the size {np.asarray(crop.size_img).tolist()}: it must have an extent")
    back = crop_to_image(crop.centre_img, crop.size_img, size_in, crop.rotation_deg, crop.flip)
    return np.asarray(cv2.invertAffineTransform(back), np.float64)


def transform(points: npt.ArrayLike, matrices: Float64Array) -> Float64Array:
    """Points (..., K, 2) through matrices (..., 2, 3): (..., K, 2) float64."""
    linear = np.swapaxes(matrices[..., :2], -1, -2)
    return np.asarray(points, np.float64) @ linear + matrices[..., None, :, 2]


def joints_to_crop(
    joints_img: npt.ArrayLike, visible: npt.ArrayLike, matrix: Float64Array, flip: bool, skeleton: Skeleton
) -> tuple[Float64Array, FloatArray]:
    """People's joints (..., K, 2) in the crop, float64 input pixels, and which of them are visible (..., K).

    `matrix` from `image_to_crop`; in a mirrored image (`flip`) left and right are swapped. All joints are moved; the
    coordinates of an invisible one are meaningless.
    """
    order = skeleton.keypoint_flip if flip else slice(None)
    return transform(joints_img, matrix)[..., order, :], np.asarray(visible)[..., order]
