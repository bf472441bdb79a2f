# SPDX-License-Identifier: Apache-2.0
"""Matches people of two detections, and measures how far apart their keypoints are."""

from dataclasses import dataclass

from common.coco.evaluate import Detections

import numpy as np
import numpy.typing as npt

NEAR = 0.1  # two are the same person if their keypoints are this near, as a part of the person's extent


@dataclass(frozen=True)
class Distances:
    """Between the keypoints of matched people, in the pixels of the detections; None without a match."""

    people: int
    mean: float | None
    median: float | None


def keypoint_distances(expected: Detections, found: Detections) -> Distances:
    """Distances of all keypoints that both have; a person is matched once, the nearest pairs first."""
    parts, people = [np.zeros(0)], 0
    for image in np.intersect1d(expected.image_ids, found.image_ids):
        mine, theirs = (part.keypoints[part.image_ids == image] for part in (expected, found))
        pairs = _pairs(mine, theirs)
        people += len(pairs)
        parts += [_distances(mine[row], theirs[column]) for row, column in pairs]
    distances = np.concatenate(parts)
    if not people:
        return Distances(0, None, None)
    return Distances(people, float(distances.mean()), float(np.median(distances)))


def _pairs(mine: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
    """(row, column) of the people of one image that are the same."""
    costs = np.array([[_cost(one, other) for other in theirs] for one in mine])
    pairs = []
    while costs.size and costs.min() <= NEAR:
        row, column = (int(place) for place in np.unravel_index(costs.argmin(), costs.shape))
        pairs.append((row, column))
        costs[row], costs[:, column] = np.inf, np.inf
    return pairs


def _cost(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Mean distance of common keypoints, part of the person's extent; a half of them at least must be common."""
    distances, visible = _distances(one, other), one[:, 2] > 0
    if 2 * len(distances) < max(visible.sum(), (other[:, 2] > 0).sum()) or not len(distances):
        return np.inf
    extent = np.linalg.norm(np.ptp(one[visible, :2], axis=0))
    return float(distances.mean() / max(extent, 1))


def _distances(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    common = (one[:, 2] > 0) & (other[:, 2] > 0)
    return np.asarray(np.linalg.norm(one[common, :2] - other[common, :2], axis=1))
