# SPDX-License-Identifier: Apache-2.0
"""How training crops vary (spec A6): what is drawn, and the one affine warp that a draw makes.

Scale, rotation, crop and flip are one matrix, which image, ignore mask and points share, so a point stays on its
pixel, to any fraction.
"""

from dataclasses import dataclass

from common.arrays import Float64Array, UInt8Array
from common.skeleton import Skeleton

import cv2
import numpy as np
import numpy.typing as npt

GREY = 128  # outside the image: half of 255, rounded, as the network sees nothing
MASK_REACH_IN = 16  # side of the square by which masks grow, input pixels
HUES = 180  # OpenCV's 8-bit hue counts steps of 2 degrees
COLOUR_SHARE, FLIPPED_SHARE = 0.5, 0.5
COLOUR_REACH = (10, 40, 30)  # largest change of hue, saturation and value, 8-bit steps


@dataclass(frozen=True)
class Augmentation:
    """The fields of the published configuration of the same names, sizes in input pixels."""

    insize: int = 368
    min_box_size: float = 64.0
    max_box_size: float = 512.0
    min_scale: float = 0.5
    max_scale: float = 2.0
    max_rotate_degree: float = 40.0  # three standard deviations
    center_perterb_max: float = 40.0


@dataclass(frozen=True)
class Draw:
    """One draw. `scale` and `shift` (x, y) are parts of their ranges, from 0 to 1."""

    scale: float
    angle_deg: float
    person: int  # round whom the crop lies
    shift: tuple[float, float]
    colour: tuple[int, int, int] | None  # added to hue, saturation, value
    flip: bool


def draw(augmentation: Augmentation, num_people: int, random: np.random.Generator) -> Draw:
    """One draw, distributed as in the original."""
    scale, shift_x, shift_y, person, colour, flip, *change = random.random(6 + len(COLOUR_REACH)).tolist()
    hue, saturation, value = (
        int(share * (2 * reach + 1)) - reach for share, reach in zip(change, COLOUR_REACH, strict=True)
    )
    return Draw(
        scale=scale,
        angle_deg=random.standard_normal() / 3 * augmentation.max_rotate_degree,
        person=int(person * num_people),
        shift=(shift_x, shift_y),
        colour=(hue, saturation, value) if colour < COLOUR_SHARE else None,
        flip=flip < FLIPPED_SHARE,
    )


def boxes(points: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Upper left and lower right corners, (P, 2) x, y, of people's labelled points, (P, num_points, 3).

    Everybody has a labelled point.
    """
    labelled = points[..., 2:] > 0
    low = np.where(labelled, points[..., :2], np.inf).min(axis=1)
    return low, np.where(labelled, points[..., :2], -np.inf).max(axis=1)


def scale_of(points: Float64Array, augmentation: Augmentation, share: float) -> float:
    """The scale at a part of its range, which keeps people between the smallest and the largest size.

    `points`: (P, num_points, 3), original pixels.
    """
    low, high = boxes(points)
    diagonals = np.sqrt(np.square(high - low + 1).sum(axis=1))
    smallest = min(max(augmentation.min_box_size / diagonals.min(), augmentation.min_scale), 1.0)
    largest = min(max(augmentation.max_box_size / diagonals.max(), 1.0), augmentation.max_scale)
    return float((largest - smallest) * share + smallest)


def shift_in(augmentation: Augmentation, drawn: Draw) -> Float64Array:
    """(2,) x, y: how far the crop's centre is from that of the chosen person's box."""
    return (np.array(drawn.shift) - 0.5) * 2 * augmentation.center_perterb_max


def compose(points: Float64Array, augmentation: Augmentation, drawn: Draw) -> Float64Array:
    """(2, 3) float64: the matrix from original to input pixels, of pixel centres and of points alike.

    An image is sampled once with it, linearly: the original samples twice, linearly and cubically, which is three times
    slower and, from half to twice the size, hardly sharper.

    `points`: (P, num_points, 3), original pixels. The box of the chosen person is that of the turned points.
    """
    scale = scale_of(points, augmentation, drawn.scale)
    turn = cv2.getRotationMatrix2D((0, 0), drawn.angle_deg, scale)[:, :2]
    turned = points[drawn.person : drawn.person + 1].copy()
    turned[..., :2] = turned[..., :2] @ turn.T
    low, high = boxes(turned)
    centre = (low[0] + high[0]) / 2 + shift_in(augmentation, drawn)
    matrix = np.column_stack([turn, (augmentation.insize - 1) / 2 - centre])
    if drawn.flip:
        matrix[0] *= -1
        matrix[0, 2] += augmentation.insize - 1
    return matrix


def transform_points(points: Float64Array, matrix: Float64Array, flip: bool, skeleton: Skeleton) -> Float64Array:
    """(P, num_points, 3) from original to input pixels; mirrored people have left and right changed over."""
    moved = points.copy()
    moved[..., :2] = points[..., :2] @ matrix[:, :2].T + matrix[:, 2]
    return moved[:, skeleton.point_flip] if flip else moved


def warp_mask(mask: UInt8Array, matrix: Float64Array, insize: int) -> UInt8Array:
    """An ignore mask, (h, w) uint8 of 0 and 255, in the crop: (insize, insize) uint8, 1 where masked.

    Outside the image nothing is masked: there is nobody, which may be learned.
    """
    crop = cv2.warpAffine(mask, matrix, (insize, insize), flags=cv2.INTER_NEAREST)
    return (crop > 0).view(np.uint8)


def usable_cells(mask: UInt8Array | None, cells: int) -> npt.NDArray[np.float32]:
    """(cells, cells) float32: how much of each map cell counts, 0 to 1; everything where `mask` is None.

    `mask`: (insize, insize) uint8, 1 where masked; it grows first, since Gaussians reach beyond people.
    """
    if mask is None:
        return np.ones((cells, cells), np.float32)
    grown = cv2.dilate(mask, np.ones((MASK_REACH_IN, MASK_REACH_IN), np.uint8))
    return 1 - cv2.resize(grown.astype(np.float32), (cells, cells), interpolation=cv2.INTER_LINEAR)


def change_colours(image: UInt8Array, change: tuple[int, int, int]) -> UInt8Array:
    """(h, w, 3) uint8 BGR with hue, saturation and value changed; hues turn round the circle."""
    values = np.arange(256)[None, :, None] + np.array(change)
    tables = np.clip(values, 0, 255)
    tables[..., 0] = values[..., 0] % HUES
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_BGR2HSV), tables.astype(np.uint8))
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)  # type: ignore[return-value]
