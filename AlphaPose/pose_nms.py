# SPDX-License-Identifier: Apache-2.0
"""Parametric pose NMS (RMPE, arXiv:1612.00137, section 3.3; constants as published).

The surest person of an image gathers everybody who looks like him, and the group becomes one pose: the mean of its
members, weighted by their scores.
"""

from dataclasses import dataclass

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
    min_score: float = 0.3  # somebody whose best keypoint is below it is nobody
    score_floor: float = 1e-5  # stands for a score of zero: weights must not all be zero
    box_growth: float = 1.5  # of the keypoints' box on each axis, before its area is compared with the smallest


PUBLISHED_RULES = PoseNmsRules()


@dataclass(frozen=True)
class MergedPeople:
    """M people that stay, image after image as the images first occur, the surest of an image first."""

    picks: Int64Array  # (M,) the row of the person around which the others were gathered; box and score are its
    keypoints_img: FloatArray  # (M, K, 3) x, y in original pixels, score
    boxes_img: FloatArray  # (M, 4) left, top, right, bottom
    box_scores: FloatArray  # (M,)
    scores: FloatArray  # (M,) `scoring.proposal_scores`
    members: tuple[tuple[int, ...], ...]  # M groups of rows of the input, rising; the pick is one of them

    def __len__(self) -> int:
        return len(self.picks)


def pose_nms(
    keypoints_img: npt.ArrayLike,
    boxes_img: npt.ArrayLike,
    box_scores: npt.ArrayLike,
    images: npt.ArrayLike | None = None,
    min_box_area: float = 0.0,
    rules: PoseNmsRules = PUBLISHED_RULES,
) -> MergedPeople:
    """Merges the poses that belong to one person; nothing given is changed.

    `keypoints_img` (N, K, 3) x, y in original pixels and score, `boxes_img` (N, 4) left, top, right, bottom, their
    detector's `box_scores` (N,), `images` (N,) numbers or names (None: all of one image). Computed in float32, as the
    original. People leave whose best score, before or after the merge, is below `rules.min_score`, or whose merged
    keypoints span, grown by `rules.box_growth`, less than `min_box_area` square pixels.
    """
    keypoints = np.array(keypoints_img, np.float32)
    boxes, box_scores = np.asarray(boxes_img, np.float32).reshape(-1, 4), np.asarray(box_scores, np.float32)
    scores = keypoints[..., 2]
    scores[scores == 0] = rules.score_floor
    groups = [
        group
        for rows in nms.by_image(scores.mean(1), images)
        for group in _groups(rows, keypoints[rows], boxes[rows], rules)
    ]
    picks = np.array([group[0] for group in groups], np.int64)
    merged = np.array([_merge(keypoints[group], boxes[group[:1]], rules) for group in groups], np.float32)
    merged = merged.reshape(-1, *keypoints.shape[1:])
    sure = (scores[picks].max(1) >= rules.min_score) & (merged[..., 2].max(1) >= rules.min_score)
    keep = np.flatnonzero(sure & (_spans(merged, rules) >= min_box_area))
    picks, merged = picks[keep], merged[keep]
    members = tuple(tuple(sorted(groups[row].tolist())) for row in keep.tolist())
    final = proposal_scores(merged[..., 2], box_scores[picks])
    return MergedPeople(picks, merged, boxes[picks], box_scores[picks], final, members)


def _groups(rows: Int64Array, keypoints: FloatArray, boxes: FloatArray, rules: PoseNmsRules) -> list[Int64Array]:
    """The rows of each person of an image, whose people are given the surest first: the pick, then who is the same."""
    owner = nms.owners(_same(keypoints, boxes, rules))
    return [rows[owner == pick] for pick in np.unique(owner)]


def _same(keypoints: FloatArray, boxes: FloatArray, rules: PoseNmsRules) -> BoolArray:
    """(n, n) which of the people of an image are one person, by the reach of the first."""
    sure, reach = np.tanh(keypoints[..., 2] / rules.score_slope), _reach(boxes, rules.size_share, rules.max_match_reach)
    distance = np.linalg.norm(keypoints[:, None, :, :2] - keypoints[..., :2], axis=-1)
    matches = (distance <= reach[:, None, None]).sum(-1)
    nearness = rules.distance_weight * np.exp(-distance / rules.distance_slope)
    likeness = (nearness + np.where(distance <= rules.near, sure[:, None] * sure, 0)).sum(-1)
    return (matches >= rules.min_matches) | (likeness > rules.min_similarity)


def _merge(members: FloatArray, box: FloatArray, rules: PoseNmsRules) -> FloatArray:
    """(K, 3): the weighted mean of a group (n, K, 3), its pick first; only keypoints near those of the pick count."""
    distance = np.linalg.norm(members[..., :2] - members[0, :, :2], axis=-1)
    near = distance <= _reach(box, rules.size_share, rules.max_merge_reach)
    weights = np.where(near, members[..., 2], np.float32(0))
    return np.asarray((weights[..., None] * members).sum(0) / weights.sum(0)[:, None])


def _reach(boxes: FloatArray, share: float, most: float) -> FloatArray:
    """(N,) how far apart two keypoints may be that are the same, pixels; not below 0, so that each is its own."""
    longer = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    return np.clip(share * longer, np.float32(0), np.float32(most))


def _spans(keypoints: FloatArray, rules: PoseNmsRules) -> FloatArray:
    """(M,) the area of the keypoints' grown box, square pixels."""
    extent = keypoints[..., :2].max(1) - keypoints[..., :2].min(1)
    return rules.box_growth**2 * extent[:, 0] * extent[:, 1]


def proposal_scores(keypoint_scores: FloatArray, box_scores: npt.ArrayLike) -> FloatArray:
    """(N,) the score of people in detected boxes: that of the box (N,), the mean keypoint and 1.25 times the best."""
    return keypoint_scores.mean(1) + np.asarray(box_scores) + PROPOSAL_BEST_WEIGHT * keypoint_scores.max(1)
