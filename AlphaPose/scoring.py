# SPDX-License-Identifier: Apache-2.0
"""What people count as once their keypoints are found: their scores, and which of them are suppressed.

The protocols give numbers that cannot be compared with each other.
"""

from dataclasses import dataclass
from typing import Literal

import common.topdown.nms
from AlphaPose.config import BOX_PADDING
from AlphaPose.pose_nms import pose_nms, proposal_scores
from common.arrays import FloatArray, Int64Array
from common.coco.evaluate import Detections
from common.skeleton import Skeleton
from common.topdown import crops
from common.topdown.boxes import PersonBoxes

import numpy as np
import numpy.typing as npt

Nms = Literal["none", "oks", "pose"]
Scores = Literal["proposal", "box"]


@dataclass(frozen=True)
class Protocol:
    """By which rules people count."""

    detected: bool = False  # boxes of a detector; else those of annotated people
    scores: Scores = "proposal"  # of people in detected boxes: AlphaPose's own; "box": the Ascend version's
    nms: Nms = "none"


def count_people(
    keypoints_img: FloatArray,
    found: PersonBoxes,
    image_ids: Int64Array,
    size_in: crops.Size,
    skeleton: Skeleton,
    protocol: Protocol,
) -> Detections:
    """Keypoints (N, K, 3) of N boxes -> people with a score, suppressed as the protocol says.

    `image_ids`: of the index that the boxes are of. Areas and reach of the suppressions are those of the crops.
    """
    ids = image_ids[found.image_rows]
    if not protocol.detected:
        return Detections(ids, keypoints_img, given_box_scores(keypoints_img[..., 2]).astype(np.float64))
    centres, sizes = crops.fit_boxes(found.boxes_img, size_in, BOX_PADDING)
    if protocol.nms == "pose":
        merged = pose_nms(keypoints_img, crop_corners(centres, sizes), found.scores, found.image_rows)
        return Detections(ids[merged.picks], merged.keypoints_img, merged.scores.astype(np.float64))
    proposal = protocol.scores == "proposal"
    scores = proposal_scores(keypoints_img[..., 2], found.scores) if proposal else found.scores
    if protocol.nms == "none":
        return Detections(ids, keypoints_img, scores.astype(np.float64))
    scores = common.topdown.nms.confident_mean(keypoints_img[..., 2]) * scores
    kept = common.topdown.nms.oks_nms(
        keypoints_img, sizes.prod(axis=1), scores, skeleton.sigmas, images=found.image_rows
    )
    return Detections(ids[kept], keypoints_img[kept], scores[kept].astype(np.float64))


def crop_corners(centres_img: npt.ArrayLike, sizes_img: npt.ArrayLike) -> FloatArray:
    """(..., 4) left, top, right, bottom of crops: what AlphaPose hands on as a person's box."""
    sizes = np.asarray(sizes_img)
    start = np.asarray(centres_img) - sizes * 0.5
    return np.concatenate([start, start + sizes], axis=-1)


def given_box_scores(keypoint_scores: FloatArray) -> FloatArray:
    """(N,) the score of people in given boxes, as in the Ascend version: mean and best of the keypoints, (N, K)."""
    return keypoint_scores.mean(1) + keypoint_scores.max(1)
