# SPDX-License-Identifier: Apache-2.0
"""A training sample made step by step, as the original makes it: what the pipeline is measured against."""

from common.test.plain_top_down import targets, three_points
from common.topdown import crops
from MIPNet.data import CHANNEL_DEVIATIONS, CHANNEL_MEANS, FEWEST_OF_THE_OTHER, TrainSamples

import cv2
import numpy as np
import torch
from torch import Tensor

Joints = tuple[np.ndarray, np.ndarray]  # (K, 2) pixels, (K,) visibility


def sample(train: TrainSamples, place: int, random: np.random.Generator) -> tuple[Tensor, list[Joints]]:
    """(3, H, W) float32, and targets (K, h, w) with weights (K, 1, 1) of the person, of a pair also of the other."""
    config, index = train.config, train.people.index
    row = int(train.people.rows[place])
    image = cv2.imread(str(train.folder / index.file_name(int(index.image_rows(row)))))
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    rows = [row] if train.others is None else [row, int(train.people.rows[train.others[place]])]
    people = [(index.keypoints[one, :, :2].copy(), np.minimum(index.keypoints[one, :, 2], 1)) for one in rows]
    centre, size = crops.fit_boxes(train.people.boxes_img[place], train.size_in, config.yaml.TEST.SCALE_THRE)
    drawn = crops.draw(train.augmentation, random)
    if drawn.half_body and people[0][1].sum() > config.yaml.DATASET.NUM_JOINTS_HALF_BODY:
        centre, size = half_body(people[0], train, drawn.prefer_upper) or (centre, size)
    if drawn.flip:
        image = image[:, ::-1]
        people = [mirrored(person, train, image.shape[1]) for person in people]
        centre = np.array([image.shape[1] - 1 - centre[0], centre[1]])
    matrix = three_points(centre, size * drawn.scale, drawn.rotation_deg, train.size_in)
    crop = cv2.warpAffine(np.ascontiguousarray(image), matrix, train.size_in[::-1], flags=cv2.INTER_LINEAR)
    people = [moved(person, matrix, train) for person in people]
    if train.others is not None and people[1][1].sum() <= FEWEST_OF_THE_OTHER:
        people[1] = people[0]
    sigma = config.yaml.MODEL.SIGMA
    return normalised(crop), [targets(*person, config.size_map, config.stride, sigma) for person in people]


def half_body(person: Joints, train: TrainSamples, prefer_upper: bool) -> Joints | None:
    """Centre and size of one half of a person, joint by joint."""
    halves: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for joint, seen in enumerate(person[1]):
        if seen > 0:
            halves[bool(train.upper[joint])].append(person[0][joint])
    upper = len(halves[False]) < 3 or (prefer_upper and len(halves[True]) >= 3)
    if len(halves[upper]) < 2:
        return None
    half = np.array(halves[upper], np.float32)
    low, extent = half.min(axis=0), np.ptp(half, axis=0)
    return half.mean(axis=0), crops.fit_boxes(np.concatenate([low, extent]), train.size_in, 1.5)[1]


def mirrored(person: Joints, train: TrainSamples, width: int) -> Joints:
    """Left and right change over."""
    joints, visible = person
    joints[:, 0] = width - 1 - joints[:, 0]
    order = train.skeleton.keypoint_flip
    return joints[order] * visible[order, None], visible[order]


def moved(person: Joints, matrix: np.ndarray, train: TrainSamples) -> Joints:
    """Joints in the crop, one by one; of a pair those outside it do not count."""
    joints, visible = person
    for joint in range(len(joints)):
        if visible[joint] > 0 or train.others is not None:
            joints[joint] = matrix @ np.array([*joints[joint], 1.0])
            x, y = joints[joint]
            if train.others is not None and (x > train.size_in[1] or y > train.size_in[0] or x < 0 or y < 0):
                joints[joint], visible[joint] = 0, 0
    return joints, visible


def normalised(crop: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) float32: scaled to 1, less the mean, over the deviation."""
    pixels = torch.from_numpy(crop.transpose(2, 0, 1)).contiguous().float().div(255)
    means, deviations = (torch.tensor(values)[:, None, None] for values in (CHANNEL_MEANS, CHANNEL_DEVIATIONS))
    return pixels.sub_(means).div_(deviations)
