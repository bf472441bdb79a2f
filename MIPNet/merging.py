# SPDX-License-Identifier: Apache-2.0
"""From what each lambda found in each box to the people of an image.

A mode is one value of lambda. Lambda 1 finds the person of the box, lambda 0 the other one, if there is one: its boxes
count less, and a person that both modes found counts once. A network without lambda has one mode.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from common.arrays import Float64Array, FloatArray, Int64Array
from common.coco.evaluate import Detections
from common.topdown import nms

import numpy as np


@dataclass(frozen=True)
class MergedPeople(Detections):
    """P people, image after image as the images first occur, the best of an image first."""

    modes: Int64Array  # (P,) the mode that found each
    boxes: Int64Array  # (P,) the box in which
    box_scores: FloatArray  # (P,) as they counted
    keypoint_scores: FloatArray  # (P,) the mean confident keypoint; times the box score this is the person's score


def merge_modes(
    keypoints_img: FloatArray,
    box_scores: Float64Array,
    areas_img: FloatArray,
    image_ids: Int64Array,
    sigmas: Sequence[float],
    in_vis_threshold: float = nms.CONFIDENT,
    oks_threshold: float | None = nms.OKS_THRESHOLD,
) -> MergedPeople:
    """Rescores the people of all modes and leaves out those that are found twice.

    Where scores are equal, a later mode comes first, and within a mode a later box.

    Args:
        keypoints_img: (N, M, K, 3) x, y in original pixels, score: what M modes found in N boxes, one person each.
        box_scores: (N, M) as they count for each mode: 1 for given boxes, else the detector's.
        areas_img: (N,) square pixels, of the padded box: the product of scale * 200.
        image_ids: (N,).
        sigmas: (K,) of the skeleton.
        in_vis_threshold: of a keypoint's score, to count in the person's (TEST.IN_VIS_THRE).
        oks_threshold: people with a higher OKS are the same person (TEST.OKS_THRE); None: all stay.
    """
    by_mode = keypoints_img.swapaxes(0, 1)
    modes, boxes = (axis.ravel() for axis in np.indices(by_mode.shape[:2]))
    keypoints, ids, counted = by_mode.reshape(-1, *by_mode.shape[2:]), image_ids[boxes], box_scores.T.ravel()
    keypoint_scores = nms.confident_mean(keypoints[..., 2], in_vis_threshold)
    scores = keypoint_scores * counted
    if oks_threshold is None:
        rows = np.concatenate(nms.by_image(scores, ids, last_first=True))
    else:
        rows = nms.oks_nms(keypoints, areas_img[boxes], scores, sigmas, oks_threshold, ids)
    return MergedPeople(
        ids[rows], keypoints[rows], scores[rows], modes[rows], boxes[rows], counted[rows], keypoint_scores[rows]
    )
