# SPDX-License-Identifier: Apache-2.0
"""What both top-down originals do to a person, step by step: to be measured against."""

import cv2
import numpy as np


def three_points(centre: np.ndarray, size: np.ndarray, degrees: float, size_in: tuple[int, int]) -> np.ndarray:
    """(2, 3): the affine matrix through three pairs of points."""
    radians = np.deg2rad(degrees)
    up = size[0] * -0.5 * np.array([-np.sin(radians), np.cos(radians)])
    source = np.array([centre, centre + up, (0, 0)], np.float32)
    middle = np.array([size_in[1] / 2, size_in[0] / 2])
    target = np.array([middle, middle + (0, -size_in[1] / 2), (0, 0)], np.float32)
    for points in (source, target):
        away = points[0] - points[1]
        points[2] = points[1] + (-away[1], away[0])
    return cv2.getAffineTransform(source, target)


def targets(
    joints: np.ndarray, visible: np.ndarray, map_size: tuple[int, int], stride: float, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Gaussians (K, h, w), joint by joint, and weights (K, 1, 1)."""
    height, width = map_size
    maps, weights = np.zeros((len(joints), height, width), np.float32), visible.astype(np.float32).reshape(-1, 1, 1)
    reach = int(3 * sigma)
    patch = np.arange(2 * reach + 1, dtype=np.float32)
    gaussian = np.exp(-((patch - reach) ** 2 + (patch[:, None] - reach) ** 2) / (2 * sigma**2))
    for joint, (x, y) in enumerate(joints / stride + 0.5):
        left, top = int(x) - reach, int(y) - reach
        if left >= width or top >= height or left + len(patch) < 0 or top + len(patch) < 0:
            weights[joint] = 0
        if weights[joint] <= 0.5:
            continue
        columns, rows = (max(0, left), min(left + len(patch), width)), (max(0, top), min(top + len(patch), height))
        part = gaussian[rows[0] - top : rows[1] - top, columns[0] - left : columns[1] - left]
        maps[joint, rows[0] : rows[1], columns[0] : columns[1]] = part
    return maps, weights
