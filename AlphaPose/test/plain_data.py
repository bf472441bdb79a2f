# SPDX-License-Identifier: Apache-2.0
"""A training sample made step by step: what the pipeline is measured against."""

from AlphaPose.config import BOX_PADDING
from AlphaPose.data import CHANNEL_MEANS, TrainSamples
from common.test.plain_top_down import targets, three_points
from common.topdown import crops

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
    size = config.heatmap_size[0], config.heatmap_size[1]
    return pixels, *targets(joints, visible, size, config.stride, config.sigma)
