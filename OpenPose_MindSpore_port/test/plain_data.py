# SPDX-License-Identifier: Apache-2.0
"""A training sample as spec A6 writes it down: one transform after the other on the whole image, targets person by
person, normalised float32 out. The baseline of the benchmark."""

from common.skeleton import Skeleton
from OpenPose_MindSpore_port import ignore_masks
from OpenPose_MindSpore_port.augmentation import MASK_REACH_IN, Draw
from OpenPose_MindSpore_port.data import TrainSamples, to_points
from OpenPose_MindSpore_port.model import STRIDE
from OpenPose_MindSpore_port.targets import TargetRules
from OpenPose_MindSpore_port.test import original_augmentation, plain_targets

import cv2
import numpy as np


def sample(train: TrainSamples, index: int, drawn: Draw, skeleton: Skeleton):
    """image (3, size, size) float32, usable (s, s) float32, heatmaps and fields of one sample."""
    coco, size = train.labels.index, train.augmentation.insize
    image = cv2.imread(str(train.folder / coco.file_name(index)))
    mask_file = ignore_masks.mask_path(train.masks, int(coco.image_ids[index]))
    mask = cv2.imread(str(mask_file), cv2.IMREAD_GRAYSCALE) if mask_file.is_file() else None
    masked = np.zeros(image.shape[:2], np.uint8) if mask is None else (mask == ignore_masks.MASKED).astype(np.uint8)
    points = to_points(coco.keypoints[coco.people(index)], skeleton)
    image, masked, points = original_augmentation.augment(
        image, masked, points, train.augmentation, drawn, skeleton
    )  # fmt: skip
    cells = size // STRIDE
    heatmaps, fields = plain_targets.encode(points, (cells, cells), skeleton, TargetRules())
    near = cv2.morphologyEx(masked, cv2.MORPH_DILATE, np.ones((MASK_REACH_IN, MASK_REACH_IN)))
    usable = 1 - cv2.resize(near.astype(np.float32), (cells, cells))
    return (image.astype(np.float32) / 255 - 0.5).transpose(2, 0, 1), usable, heatmaps, fields
