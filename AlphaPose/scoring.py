# SPDX-License-Identifier: Apache-2.0
"""How sure AlphaPose is of a person, from the scores of its keypoints (spec A2.4)."""

from common.arrays import FloatArray

import numpy as np
import numpy.typing as npt

PROPOSAL_BEST_WEIGHT = 1.25  # of the best keypoint, where a detector's score is added too


def given_box_scores(keypoint_scores: FloatArray, best_weight: float = 1.0) -> FloatArray:
    """(N,) the score of people in given boxes: the mean of their keypoint scores (N, K) and the best of them.

    `best_weight` weighs the best: 1 in the Ascend version, PROPOSAL_BEST_WEIGHT in AlphaPose's own.
    """
    return keypoint_scores.mean(1) + best_weight * keypoint_scores.max(1)


def proposal_scores(keypoint_scores: FloatArray, box_scores: npt.ArrayLike) -> FloatArray:
    """(N,) the score of people in detected boxes: that of the box (N,), the mean keypoint and 1.25 times the best."""
    return keypoint_scores.mean(1) + np.asarray(box_scores) + PROPOSAL_BEST_WEIGHT * keypoint_scores.max(1)
