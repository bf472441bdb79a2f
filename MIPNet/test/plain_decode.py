# SPDX-License-Identifier: Apache-2.0
"""Decoding and OKS-NMS written down loop by loop, as spec A1.7 has them: what ours is measured against."""

from common.test.plain_top_down import three_points
from common.topdown.nms import CONFIDENT, OKS_THRESHOLD

import cv2
import numpy as np


def decode(maps: np.ndarray, centres: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(B, K, 3) x, y in original pixels and score: maps (B, K, h, w), crops as centres and sizes (B, 2)."""
    people, joints, height, width = maps.shape
    flat = maps.reshape(people, joints, -1)
    best, scores = flat.argmax(axis=2), flat.max(axis=2)
    cells = np.stack([best % width, best // width], axis=2).astype(np.float32) * (scores[..., None] > 0)
    found = np.zeros((people, joints, 3), np.float32)
    for person in range(people):
        back = cv2.invertAffineTransform(three_points(centres[person], sizes[person], 0.0, (height, width)))
        for joint in range(joints):
            place, one = cells[person, joint], maps[person, joint]
            px, py = int(np.floor(place[0] + 0.5)), int(np.floor(place[1] + 0.5))
            if 1 < px < width - 1 and 1 < py < height - 1:
                step = np.array([one[py, px + 1] - one[py, px - 1], one[py + 1, px] - one[py - 1, px]])
                place = place + np.sign(step) * 0.25
            found[person, joint, :2] = back @ np.array([place[0], place[1], 1.0])
        found[person, :, 2] = scores[person]
    return found


def oks(one: np.ndarray, other: np.ndarray, areas: tuple[float, float], variances: np.ndarray) -> float:
    """Of two people (K, 3)."""
    dx, dy = one[:, 0] - other[:, 0], one[:, 1] - other[:, 1]
    similarity = np.exp(-((dx**2 + dy**2) / variances / (sum(areas) / 2 + np.spacing(1)) / 2))
    return float(similarity.sum() / len(similarity))


def nms(people: np.ndarray, areas: np.ndarray, sigmas: np.ndarray) -> list[int]:
    """The rows of one image that stay, the best first: people (N, K, 3) in given boxes, areas (N,)."""
    scores = []
    for person in people:
        sure = [score for score in person[:, 2] if score > CONFIDENT]
        scores.append(sum(sure) / len(sure) if sure else 0)
    order, kept = np.argsort(scores)[::-1], []
    variances = (2 * sigmas) ** 2
    while order.size:
        first, rest = order[0], order[1:]
        kept.append(int(first))
        alike = [oks(people[first], people[row], (areas[first], areas[row]), variances) for row in rest]
        order = rest[np.array(alike) <= OKS_THRESHOLD]
    return kept
