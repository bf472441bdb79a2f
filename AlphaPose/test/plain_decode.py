# SPDX-License-Identifier: Apache-2.0
"""Decoding and pose NMS written down loop by loop: what ours is measured against."""

from AlphaPose.pose_nms import PUBLISHED_RULES as RULES
from common.test.plain_top_down import three_points

import cv2
import numpy as np


def decode(maps: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(K, 3) x, y in original pixels and score of one person: maps (K, h, w), corners (4,) of the crop."""
    height, width = maps.shape[1:]
    centre, size = (corners[:2] + corners[2:]) / 2, corners[2:] - corners[:2]
    back = cv2.invertAffineTransform(three_points(centre, size, 0.0, (height, width)))
    joints = np.zeros((len(maps), 3))
    for joint, one in enumerate(maps):
        y, x = np.unravel_index(one.argmax(), one.shape)
        joints[joint, 2] = one[y, x]
        place = np.array([x, y], float) * (one[y, x] > 0)
        px, py = round(place[0]), round(place[1])
        if 1 < px < width - 1 and 1 < py < height - 1:
            place += 0.25 * np.sign([one[py, px + 1] - one[py, px - 1], one[py + 1, px] - one[py - 1, px]])
        joints[joint, :2] = back @ (*place, 1.0)
    return joints


def pose_nms(people: np.ndarray, boxes: np.ndarray) -> list[np.ndarray]:
    """(K, 3) of each person who is kept of one image: people (N, K, 3), boxes (N, 4) left, top, right, bottom."""
    rest, kept = list(range(len(people))), []
    order = people[:, :, 2].mean(1)
    while rest:
        pick = max(rest, key=lambda one: order[one])
        reach = RULES.size_share * max(boxes[pick, 2:] - boxes[pick, :2])
        group = [one for one in rest if same(people[pick], people[one], reach)] or [pick]
        rest = [one for one in rest if one not in group]
        kept.append(merge(people[pick], people[group], reach))
    return kept


def same(one: np.ndarray, other: np.ndarray, reach: float) -> bool:
    """Whether two poses are one person's."""
    likeness, matches = 0.0, 0
    for (x, y, score), (other_x, other_y, other_score) in zip(one, other, strict=True):
        away = np.hypot(x - other_x, y - other_y)
        if away <= RULES.near:
            likeness += np.tanh(score / RULES.score_slope) * np.tanh(other_score / RULES.score_slope)
        likeness += RULES.distance_weight * np.exp(-away / RULES.distance_slope)
        matches += away / min(reach, RULES.max_match_reach) <= 1
    return bool(likeness > RULES.min_similarity or matches >= RULES.min_matches)


def merge(pick: np.ndarray, group: np.ndarray, reach: float) -> np.ndarray:
    """The weighted mean of a group, near the picked pose."""
    merged = np.zeros_like(pick)
    for joint in range(len(pick)):
        near = np.hypot(*(group[:, joint, :2] - pick[joint, :2]).T) <= min(reach, RULES.max_merge_reach)
        weights = group[:, joint, 2] * near
        weights = weights / max(weights.sum(), 1e-9)
        merged[joint] = (group[:, joint] * weights[:, None]).sum(0)
    return merged
