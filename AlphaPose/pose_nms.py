# SPDX-License-Identifier: Apache-2.0
"""Parametric pose NMS (RMPE, arXiv:1612.00137, section 3.3; constants as published), and the scores of people.

The best-scored person of an image collects all similar ones: the group becomes their mean, weighted by their scores.
"""

from dataclasses import dataclass
from typing import NamedTuple

from common.arrays import BoolArray, FloatArray, Int64Array
from common.topdown import nms

import numpy as np
import numpy.typing as npt

PROPOSAL_BEST_WEIGHT = 1.25  # of a person's best keypoint, where a detector's score is added too


@dataclass(frozen=True)
class PoseNmsRules:
    """The published constants for people of 17 keypoints; lengths in original pixels."""

    score_slope: float = 1.0  # delta1: a keypoint's score s counts as tanh(s / delta1)
    distance_weight: float = 1.7  # mu: of nearness against that of the scores
    distance_slope: float = 2.65  # delta2: a distance d counts as exp(-d / delta2), pixels
    min_similarity: float = 22.48  # gamma: above it two are the same person
    near: float = 1.0  # distance up to which two keypoints' scores count, pixels
    min_matches: int = 5  # keypoints that match, from which on two are the same person
    size_share: float = 0.1  # alpha: the reach of a match, as a share of the box's longer side ...
    max_match_reach: float = 7.0  # ... at most this, pixels
    max_merge_reach: float = 15.0  # the same for keypoints that are averaged
    min_score: float = 0.3  # a person whose best keypoint is below it leaves
    score_floor: float = 1e-5  # replaces a score of zero: weights must not all be zero
    box_growth: float = 1.5  # of the keypoints' box on each axis, before its area is compared with the smallest


RULES = PoseNmsRules()


class MergedPeople(NamedTuple):
    """M people that stay, image after image as the images first occur, the best of an image first."""

    picks: Int64Array  # (M,) the row of the person around which the others were gathered; its box is theirs
    keypoints_img: FloatArray  # (M, K, 3) x, y in original pixels, score
    scores: FloatArray  # (M,) `proposal_scores`
    members: list[list[int]]  # M groups of rows of the input, rising; the pick is one of them


def pose_nms(
    keypoints_img: npt.ArrayLike,
    longer_sides_img: npt.ArrayLike,
    box_scores: npt.ArrayLike,
    images: npt.ArrayLike | None = None,
    min_box_area: float = 0.0,
) -> MergedPeople:
    """Merges the poses that belong to one person; the arguments are not changed.

    `keypoints_img` (N, K, 3) x, y in original pixels and score; of their boxes `longer_sides_img` (N,) and the
    detector's `box_scores` (N,); `images` (N,) numbers or names (None: all of one image). Computed in float32, as the
    original. People leave whose best score, before or after the merge, is below `RULES.min_score`, or whose merged
    keypoints span, grown by `RULES.box_growth`, less than `min_box_area` square pixels.
    """
    keypoints = np.array(keypoints_img, np.float32)
    reach = RULES.size_share * np.maximum(np.asarray(longer_sides_img, np.float32), 0)
    keypoints[..., 2][keypoints[..., 2] == 0] = RULES.score_floor
    groups = []
    for rows in nms.by_image(keypoints[..., 2].mean(1), images):
        owner = nms.owners(_same(keypoints[rows], reach[rows]))
        groups += [rows[owner == pick] for pick in np.unique(owner)]
    merged = np.array([_merge(keypoints[group], reach[group[0]]) for group in groups], np.float32)
    merged, picks = merged.reshape(-1, *keypoints.shape[1:]), np.array([group[0] for group in groups], np.int64)
    best = np.minimum(keypoints[picks, :, 2].max(1), merged[..., 2].max(1))
    area = RULES.box_growth**2 * np.ptp(merged[..., :2], axis=1).prod(1)
    keep = np.flatnonzero((best >= RULES.min_score) & (area >= min_box_area))
    scores = proposal_scores(merged[keep, :, 2], np.asarray(box_scores, np.float32)[picks[keep]])
    return MergedPeople(picks[keep], merged[keep], scores, [sorted(groups[row].tolist()) for row in keep])


def _same(keypoints: FloatArray, reach: FloatArray) -> BoolArray:
    """(n, n) which of the people of an image are one person, by the reach (n,) of the first."""
    sure = np.tanh(keypoints[..., 2] / RULES.score_slope)
    distance = np.linalg.norm(keypoints[:, None, :, :2] - keypoints[..., :2], axis=-1)
    matches = (distance <= np.minimum(reach, RULES.max_match_reach)[:, None, None]).sum(-1)
    nearness = RULES.distance_weight * np.exp(-distance / RULES.distance_slope)
    likeness = (nearness + np.where(distance <= RULES.near, sure[:, None] * sure, 0)).sum(-1)
    return (matches >= RULES.min_matches) | (likeness > RULES.min_similarity)


def _merge(members: FloatArray, reach: float) -> FloatArray:
    """(K, 3): the weighted mean of a group (n, K, 3), its pick first; only keypoints near those of the pick count."""
    distance = np.linalg.norm(members[..., :2] - members[0, :, :2], axis=-1)
    weights = np.where(distance <= min(reach, RULES.max_merge_reach), members[..., 2], np.float32(0))
    return np.asarray((weights[..., None] * members).sum(0) / weights.sum(0)[:, None])


def given_box_scores(keypoint_scores: FloatArray) -> FloatArray:
    """(N,) the score of people in given boxes, as in the Ascend version: mean and best of the keypoints, (N, K)."""
    return keypoint_scores.mean(1) + keypoint_scores.max(1)


def proposal_scores(keypoint_scores: FloatArray, box_scores: FloatArray) -> FloatArray:
    """(N,) the score of people in detected boxes: that of the box (N,), the mean keypoint and 1.25 times the best."""
    return keypoint_scores.mean(1) + box_scores + PROPOSAL_BEST_WEIGHT * keypoint_scores.max(1)
