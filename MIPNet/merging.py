# SPDX-License-Identifier: Apache-2.0
"""From what each lambda found in each box to the people of an image.

A mode is one value of lambda. Lambda 1 finds the person of the box, lambda 0 the other one, if there is one: its boxes
count less, and a person that both modes found counts once. A network without lambda has one mode.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from common.arrays import FloatArray, Int64Array
from common.coco.evaluate import Detections
from common.topdown import nms

import numpy as np
import numpy.typing as npt

SOFT_MAX_PEOPLE = 20  # an image, where nobody goes for being similar


@dataclass(frozen=True)
class MergeRules:
    """The published constants."""

    in_vis_threshold: float = nms.CONFIDENT  # TEST.IN_VIS_THRE: of a keypoint's score, to count in the person's
    oks_threshold: float | None = nms.OKS_THRESHOLD  # TEST.OKS_THRE; None: all people stay (the original on CrowdPose)
    soft: bool = False  # TEST.SOFT_NMS: similar people come later instead of going; at most 20 an image


@dataclass(frozen=True)
class BoxPeople:
    """What M modes found in N boxes, one person each."""

    image_ids: Int64Array  # (N,)
    keypoints_img: FloatArray  # (M, N, K, 3) x, y in original pixels, score
    box_scores: FloatArray  # (M, N) as they count for each mode: 1 for given boxes, else the detector's
    areas_img: FloatArray  # (N,) square pixels, of the padded box: the product of scale * 200

    def mode(self, number: int) -> "BoxPeople":
        """Those of one mode alone."""
        only = slice(number, number + 1)
        return BoxPeople(self.image_ids, self.keypoints_img[only], self.box_scores[only], self.areas_img)


@dataclass(frozen=True)
class MergedPeople:
    """P people, image after image as the images first occur, the best of an image first."""

    detections: Detections
    modes: Int64Array  # (P,) the mode that found each
    boxes: Int64Array  # (P,) the box in which
    box_scores: FloatArray  # (P,) as they counted
    keypoint_scores: FloatArray  # (P,) the mean confident keypoint; times the box score this is the person's score


def merge_modes(people: BoxPeople, sigmas: Sequence[float], rules: MergeRules) -> MergedPeople:
    """Rescores the people of all modes and leaves out who is found twice.

    Where scores are equal, a later mode comes first, and within a mode a later box. Raises ValueError for another
    number of sigmas than keypoints.
    """
    modes, boxes = (axis.ravel() for axis in np.indices(people.box_scores.shape))
    keypoints = people.keypoints_img.reshape(-1, *people.keypoints_img.shape[2:])
    ids, areas = people.image_ids[boxes], people.areas_img[boxes]
    box_scores, keypoint_scores = (
        people.box_scores.ravel(),
        nms.confident_mean(keypoints[..., 2], rules.in_vis_threshold),
    )
    scores = keypoint_scores * box_scores.astype(np.float64)
    if rules.oks_threshold is None:
        rows = np.concatenate(nms.by_image(scores, ids, last_first=True))
    else:
        suppress = soft_oks_nms if rules.soft else nms.oks_nms
        rows = suppress(keypoints, areas, scores, sigmas, rules.oks_threshold, ids)
    detections = Detections(ids[rows], keypoints[rows], scores[rows])
    return MergedPeople(detections, modes[rows], boxes[rows], box_scores[rows], keypoint_scores[rows])


def soft_oks_nms(
    keypoints_img: FloatArray,
    areas_img: npt.ArrayLike,
    scores: npt.ArrayLike,
    sigmas: npt.ArrayLike,
    threshold: float = nms.OKS_THRESHOLD,
    images: npt.ArrayLike | None = None,
) -> Int64Array:
    """(M,) at most SOFT_MAX_PEOPLE of each image, put in a new order: nobody goes for being similar, but comes later.

    After each choice the scores of the others are multiplied by exp(-OKS^2 / threshold). Arguments as `nms.oks_nms`.
    """
    areas, values, chosen = np.asarray(areas_img, np.float64), np.asarray(scores, np.float64), []
    for rows in nms.by_image(scores, images, last_first=True):
        decay = np.exp(-(nms.oks_matrix(keypoints_img[rows], areas[rows], sigmas) ** 2) / threshold)
        chosen.append(rows[_softly(values[rows], decay)])
    return np.concatenate(chosen)


def _softly(scores: FloatArray, decay: FloatArray) -> list[int]:
    """The order of choice; `scores` (n,) falling, `decay` (n, n). The original reverses ties anew in each round."""
    waiting, order = np.arange(len(scores)), list[int]()
    while len(waiting) and len(order) < SOFT_MAX_PEOPLE:
        best, waiting = int(waiting[0]), waiting[1:]
        order.append(best)
        scores = scores[1:] * decay[best, waiting]
        turn = np.argsort(scores, kind="stable")[::-1]
        waiting, scores = waiting[turn], scores[turn]
    return order
