# SPDX-License-Identifier: Apache-2.0
"""A training sample made step by step, as spec A2.2 writes it: what the pipeline is measured against."""

from AlphaPose.config import BOX_PADDING, Config
from AlphaPose.data import CHANNEL_MEANS, TrainSamples
from common import crops

import cv2
import numpy as np


def sample(train: TrainSamples, place: int, random: np.random.Generator) -> tuple[np.ndarray, ...]:
    """(3, H, W) float32, targets (K, h, w) and weights (K, 1, 1) of one person."""
    config, index = train.config, train.people.index
    row = int(train.people.rows[place])
    image = cv2.imread(str(train.folder / index.file_name(int(index.image_rows(row)))))[:, :, ::-1]
    joints, visible = index.keypoints[row, :, :2].copy(), np.minimum(index.keypoints[row, :, 2], 1)
    centre, size = crops.fit_boxes(train.people.boxes_img[place], train.size_in, BOX_PADDING)
    drawn = crops.draw(train.augmentation, random)
    if drawn.flip:
        image = image[:, ::-1]
        joints[:, 0] = image.shape[1] - 1 - joints[:, 0]
        joints, visible = joints[train.skeleton.keypoint_flip], visible[train.skeleton.keypoint_flip]
        centre[0] = image.shape[1] - 1 - centre[0]
    matrix = three_points(centre, size * drawn.scale, drawn.rotation_deg, train.size_in)
    crop = cv2.warpAffine(np.ascontiguousarray(image), matrix, train.size_in[::-1], flags=cv2.INTER_LINEAR)
    for joint in np.flatnonzero(visible > 0):
        joints[joint] = matrix @ (*joints[joint], 1.0)
    pixels = crop.transpose(2, 0, 1).astype(np.float32)
    pixels = pixels / 255 if pixels.max() > 1 else pixels
    for channel, mean in enumerate(CHANNEL_MEANS):
        pixels[channel] -= mean
    return pixels, *targets(joints, visible, config)


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


def targets(joints: np.ndarray, visible: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Gaussians, joint by joint."""
    height, width = config.heatmap_size
    maps, weights = np.zeros((len(joints), height, width), np.float32), visible.astype(np.float32).reshape(-1, 1, 1)
    reach = int(3 * config.sigma)
    patch = np.arange(2 * reach + 1, dtype=np.float32)
    gaussian = np.exp(-((patch - reach) ** 2 + (patch[:, None] - reach) ** 2) / (2 * config.sigma**2))
    for joint, (x, y) in enumerate(joints / config.stride + 0.5):
        left, top = int(x) - reach, int(y) - reach
        if left >= width or top >= height or left + len(patch) < 0 or top + len(patch) < 0:
            weights[joint] = 0
        if weights[joint] <= 0.5:
            continue
        columns, rows = (max(0, left), min(left + len(patch), width)), (max(0, top), min(top + len(patch), height))
        part = gaussian[rows[0] - top : rows[1] - top, columns[0] - left : columns[1] - left]
        maps[joint, rows[0] : rows[1], columns[0] : columns[1]] = part
    return maps, weights
