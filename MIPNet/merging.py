# SPDX-License-Identifier: Apache-2.0
"""From what each lambda found in each box to the people of an image.

A mode is one value of lambda. Lambda 1 finds the person of the box, lambda 0 the other one, if there is one: its boxes
count less, and whom both modes found is found once. A network without lambda has one mode.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.arrays import FloatArray, Int64Array
from common.coco.evaluate import Detections
from common.topdown import nms

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class MergeRules:
    """The published constants."""

    in_vis_threshold: float = nms.CONFIDENT  # TEST.IN_VIS_THRE: of a keypoint's score, to count in the person's
    oks_threshold: float | None = nms.OKS_THRESHOLD  # TEST.OKS_THRE; None: nobody goes (the original on CrowdPose)
    soft: bool = False  # TEST.SOFT_NMS: similar people come later instead of going; at most 20 an image


PUBLISHED_RULES = MergeRules()


@dataclass(frozen=True)
class BoxPeople:
    """What one mode found in N boxes, one person a box."""

    image_ids: npt.NDArray[np.int64]  # (N,)
    keypoints_img: FloatArray  # (N, K, 3) x, y in original pixels, score
    box_scores: FloatArray  # (N,) 1 for given boxes, else the detector's
    areas_img: FloatArray  # (N,) square pixels, of the padded box: the product of scale * 200

    def __post_init__(self) -> None:
        lengths = {len(values) for values in (self.image_ids, self.keypoints_img, self.box_scores, self.areas_img)}
        if len(lengths) != 1 or self.keypoints_img.ndim != 3:
            raise ValueError(f"people of one mode have different lengths {lengths} or no keypoints (N, K, 3)")

    def decayed(self, factor: float) -> "BoxPeople":
        """The same with box scores times `factor`."""
        return BoxPeople(self.image_ids, self.keypoints_img, self.box_scores * factor, self.areas_img)


@dataclass(frozen=True)
class MergedPeople:
    """M people, image after image as the images first occur, the best of an image first."""

    detections: Detections
    modes: Int64Array  # (M,) the mode that found each, as its place in the list of modes
    boxes: Int64Array  # (M,) the box in which, as a row of that mode
    box_scores: FloatArray  # (M,) as they counted
    keypoint_scores: FloatArray  # (M,) the mean confident keypoint; times the box score this is the person's score


def decay_modes(modes: Sequence[BoxPeople], lambdas: Sequence[float], decay: float) -> list[BoxPeople]:
    """The modes with the box scores of lambda 0, the other person, times `decay`; the modes given stay as they are."""
    return [mode if lambda_ else mode.decayed(decay) for mode, lambda_ in zip(modes, lambdas, strict=True)]


def merge_modes(
    modes: Sequence[BoxPeople], sigmas: Sequence[float], rules: MergeRules = PUBLISHED_RULES
) -> MergedPeople:
    """Rescores the people of all modes, at least one, and leaves out who is found twice.

    Box scores count as they are: `decay_modes` comes before. One mode alone: `merge_modes([mode], ...)`. Where scores
    are equal, a later mode comes first, and within a mode a later box. Raises ValueError for another number of
    sigmas than keypoints.
    """
    joined = _join(modes)
    sizes = [len(mode.image_ids) for mode in modes]
    owners = np.repeat(np.arange(len(modes)), sizes)
    boxes = np.concatenate([np.arange(size) for size in sizes])
    keypoint_scores = nms.confident_mean(joined.keypoints_img[..., 2], rules.in_vis_threshold)
    scores = keypoint_scores * joined.box_scores.astype(np.float64)
    rows = _keep(joined, scores, sigmas, rules)
    detections = Detections(joined.image_ids[rows], joined.keypoints_img[rows], scores[rows])
    return MergedPeople(detections, owners[rows], boxes[rows], joined.box_scores[rows], keypoint_scores[rows])


def _join(modes: Sequence[BoxPeople]) -> BoxPeople:
    def together(name: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(mode, name) for mode in modes])

    return BoxPeople(*(together(name) for name in ("image_ids", "keypoints_img", "box_scores", "areas_img")))


def _keep(people: BoxPeople, scores: FloatArray, sigmas: Sequence[float], rules: MergeRules) -> Int64Array:
    if rules.oks_threshold is None:
        return nms.rank(scores, people.image_ids, last_first=True).rows
    suppress = nms.soft_oks_nms if rules.soft else nms.oks_nms
    return suppress(people.keypoints_img, people.areas_img, scores, sigmas, rules.oks_threshold, people.image_ids)
