# SPDX-License-Identifier: Apache-2.0
"""The targets, written down cell by cell: slow, and what the fast encoder is held against."""

import math

from common.skeleton import Skeleton
from Lightweight_OpenPose.targets import NEGLIGIBLE, TargetRules

import numpy as np


def encode(points, map_size: tuple[int, int], skeleton: Skeleton, rules: TargetRules):
    """(P, num_points, 3) of one sample -> heatmaps (num_heatmaps, h, w), fields (num_fields, h, w), float32."""
    heatmaps = np.zeros((skeleton.num_heatmaps, *map_size), np.float32)
    fields = np.zeros((skeleton.num_fields, *map_size), np.float32)
    for channel in range(skeleton.num_points):
        for x, y, v in points[:, channel]:
            if v > 0:
                _add_gaussian(heatmaps[channel], x, y, rules)
    heatmaps[-1] = 1 - heatmaps[:-1].max(axis=0)
    for limb, (a, b) in enumerate(skeleton.limb_points):
        for person in points:
            if person[a, 2] > 0 and person[b, 2] > 0:
                _set_limb(fields[2 * limb : 2 * limb + 2], person[a, :2], person[b, :2], rules)
    return heatmaps, fields


def _add_gaussian(heatmap, x: float, y: float, rules: TargetRules) -> None:
    height, width = heatmap.shape
    left, top = max(int(x - rules.reach_in), 0), max(int(y - rules.reach_in), 0)
    right = min(int(x + rules.reach_in), width * rules.stride)
    bottom = min(int(y + rules.reach_in), height * rules.stride)
    middle = rules.stride / 2 - 0.5
    for row in range(top // rules.stride, bottom // rules.stride):
        for column in range(left // rules.stride, right // rules.stride):
            distance = (column * rules.stride + middle - x) ** 2 + (row * rules.stride + middle - y) ** 2
            exponent = distance / 2 / rules.sigma_in**2
            if exponent <= NEGLIGIBLE:
                heatmap[row, column] = min(heatmap[row, column] + math.exp(-exponent), 1)


def _set_limb(field, start_in, end_in, rules: TargetRules) -> None:
    (xa, ya), (xb, yb) = start_in / rules.stride, end_in / rules.stride
    height, width = field.shape[1:]
    length = math.hypot(xb - xa, yb - ya)
    if length < 1e-7:
        return
    ux, uy = (xb - xa) / length, (yb - ya) / length
    reach = rules.field_width_map
    for row in range(int(max(min(ya, yb) - reach, 0)), int(min(max(ya, yb) + reach, height))):
        for column in range(int(max(min(xa, xb) - reach, 0)), int(min(max(xa, xb) + reach, width))):
            if abs((column - xa) * uy - (row - ya) * ux) <= reach:
                field[:, row, column] = ux, uy
