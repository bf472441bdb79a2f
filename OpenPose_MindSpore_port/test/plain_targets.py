# SPDX-License-Identifier: Apache-2.0
"""The targets, person by person in NumPy: what the encoder is held against."""

import math

from common.skeleton import Skeleton
from OpenPose_MindSpore_port.config import TargetRules

import numpy as np


def encode(points, map_size: tuple[int, int], skeleton: Skeleton, rules: TargetRules):
    """(P, num_points, 3) of one sample -> heatmaps (num_heatmaps, h, w), pafs (num_fields, h, w), float32."""
    rows, columns = np.mgrid[: map_size[0], : map_size[1]]
    middle = (rules.downscale - 1) / 2 / rules.downscale
    x_map, y_map = columns + middle, rows + middle
    return heatmaps(points, x_map, y_map, skeleton, rules), pafs(points, x_map, y_map, skeleton, rules)


def heatmaps(points, x_map, y_map, skeleton: Skeleton, rules: TargetRules):
    maps = np.zeros((skeleton.num_heatmaps, *x_map.shape), np.float32)
    sigma_map = rules.heatmap_sigma / rules.downscale
    for person in points:
        for channel, (x, y, v) in enumerate(person):
            if v > 0:
                distance = (x_map - x / rules.downscale) ** 2 + (y_map - y / rules.downscale) ** 2
                maps[channel] = np.maximum(maps[channel], np.exp(-0.5 * distance / sigma_map**2))
    maps[-1] = 1 - maps[:-1].max(axis=0)
    return maps


def pafs(points, x_map, y_map, skeleton: Skeleton, rules: TargetRules):
    maps = np.zeros((skeleton.num_fields, *x_map.shape), np.float32)
    for limb, (a, b) in enumerate(skeleton.limb_points):
        covering = np.zeros(x_map.shape, np.float32)
        for person in points:
            (xa, ya), (xb, yb) = person[a, :2] / rules.downscale, person[b, :2] / rules.downscale
            length = math.sqrt((xb - xa) ** 2 + (yb - ya) ** 2)
            if person[a, 2] > 0 and person[b, 2] > 0 and length > 0:
                ux, uy = (xb - xa) / length, (yb - ya) / length
                along = ux * (x_map - xa) + uy * (y_map - ya)
                across = np.abs(uy * (x_map - xa) - ux * (y_map - ya))
                inside = (along >= 0) & (along <= length) & (across <= rules.paf_sigma / rules.downscale)
                maps[2 * limb] += ux * inside
                maps[2 * limb + 1] += uy * inside
                covering += inside
        maps[2 * limb : 2 * limb + 2] /= np.maximum(covering, 1)
    return maps
