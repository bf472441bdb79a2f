# SPDX-License-Identifier: Apache-2.0
"""A network's maps as a coloured, transparent image over the image that they are of."""

from typing import NamedTuple

from common.arrays import Float32Array, Float64Array, UInt8Array

import cv2
import numpy as np

LONGEST_SIDE = 640  # pixels of an overlay
OPAQUE = 0.85  # where a map is at its highest


class ImageMaps(NamedTuple):
    """The maps of an image, or of N crops of it.

    `heatmaps` (N, points, h, w), `pafs` (N, 2 * limbs, h, w) or None, float32. `to_image` (N, 2, 3): x, y of a cell ->
    original pixels; whole numbers are the middles of cells and of pixels.
    """

    heatmaps: Float32Array
    to_image: Float64Array
    pafs: Float32Array | None = None


def heat_overlay(maps: ImageMaps, size_img: tuple[int, int], point: int | None = None) -> UInt8Array:
    """(h, w, 4) uint8 BGRA: the highest of all heatmaps, or that of one `point`; `size_img` (height, width)."""
    chosen = maps.heatmaps if point is None else maps.heatmaps[:, point : point + 1]
    heat = _over_image(chosen.max(axis=1), maps.to_image, size_img).max(axis=0)
    level = np.uint8(np.clip(heat, 0, 1) * 255)
    return np.dstack([cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), np.uint8(OPAQUE * level)])


def paf_overlay(maps: ImageMaps, size_img: tuple[int, int], limb: int | None = None) -> UInt8Array:
    """(h, w, 4) uint8 BGRA: the direction of the longest vector as hue, its length as opacity, of all limbs or one."""
    assert maps.pafs is not None
    to_image = maps.to_image.repeat(maps.pafs.shape[1] // 2, 0)
    x, y = (_over_image(maps.pafs[0, axis::2], to_image, size_img) for axis in (0, 1))
    if limb is not None:
        x, y = x[limb : limb + 1], y[limb : limb + 1]
    longest = np.hypot(x, y).argmax(axis=0)[None]
    x, y = (np.take_along_axis(part, longest, 0)[0] for part in (x, y))
    hue = np.uint8((np.arctan2(y, x) / (2 * np.pi) % 1) * 179)
    full = np.full_like(hue, 255)
    colour = cv2.cvtColor(np.dstack([hue, full, full]), cv2.COLOR_HSV2BGR)
    return np.dstack([colour, np.uint8(OPAQUE * 255 * np.clip(np.hypot(x, y), 0, 1))])


def _over_image(maps: Float32Array, to_image: Float64Array, size_img: tuple[int, int]) -> Float32Array:
    """(N, h, w) maps -> (1 + N, height, width), the first empty, as they lie on the image; smaller for a large one."""
    scale = min(1.0, LONGEST_SIDE / max(size_img))
    height, width = (max(1, round(side * scale)) for side in size_img)
    shrink = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2], [0, 0, 1]])
    placed = [np.zeros((height, width), np.float32)]
    placed += [
        cv2.warpAffine(one, (shrink @ np.vstack([matrix, [0, 0, 1]]))[:2], (width, height), flags=cv2.INTER_LINEAR)
        for one, matrix in zip(maps, to_image, strict=True)
    ]
    return np.stack(placed)
