# SPDX-License-Identifier: Apache-2.0
"""The usual sets of keypoints by their published orders, and how people of one set become people of another.

    convert(keypoints, "body_25", "coco") -> Conversion(keypoints, missing=())

A point of the target is the point of the same name, else the mean of those that it is between (the neck between the
shoulders, the pelvis between the hips), else it is missing: 0, 0, 0, and named in `missing`. "head" and "neck" differ
between the sets by the instructions of their annotators, as their names here say.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from common.cli import UserError
from common.skeleton import COCO, CROWDPOSE, OPENPOSE

import numpy as np
import numpy.typing as npt


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_BODY_25 = _words(
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist pelvis right_hip right_knee "
    "right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear left_big_toe left_small_toe "
    "left_heel right_big_toe right_small_toe right_heel"
)
_HALPE_26 = COCO.keypoints + _words(
    "head_top neck pelvis left_big_toe right_big_toe left_small_toe right_small_toe left_heel right_heel"
)
_H36M_17 = _words(
    "pelvis right_hip right_knee right_ankle left_hip left_knee left_ankle spine thorax nose head_top left_shoulder "
    "left_elbow left_wrist right_shoulder right_elbow right_wrist"
)
_MPII_16 = _words(
    "right_ankle right_knee right_hip left_hip left_knee left_ankle pelvis thorax upper_neck head_top right_wrist "
    "right_elbow right_shoulder left_shoulder left_elbow left_wrist"
)
_CROWDPOSE_14 = tuple({"head": "head_top", "neck": "upper_neck"}.get(name, name) for name in CROWDPOSE.keypoints)

SETS: Mapping[str, tuple[str, ...]] = {
    "coco": COCO.keypoints,
    "openpose": OPENPOSE.points,
    "body_25": _BODY_25,
    "halpe_26": _HALPE_26,
    "h36m": _H36M_17,
    "mpii": _MPII_16,
    "crowdpose": _CROWDPOSE_14,
}
# A point that a set lacks, from points that it has: the first rule whose points are all there.
RULES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "neck": (("left_shoulder", "right_shoulder"),),
    "thorax": (("neck",), ("left_shoulder", "right_shoulder")),
    "upper_neck": (("neck",),),
    "pelvis": (("left_hip", "right_hip"),),
    "spine": (("pelvis", "thorax"), ("left_hip", "right_hip", "left_shoulder", "right_shoulder")),
}


@dataclass(frozen=True)
class Conversion:
    """People of another set. keypoints: (M, K, 3) float64; missing: names of the points that stay 0."""

    keypoints: npt.NDArray[np.float64]
    missing: tuple[str, ...]


def convert(keypoints: npt.ArrayLike, source: str, target: str) -> Conversion:
    """(M, K, 3) x, y, score or v (0: not there) of one set -> those of another, in the same frame.

    A mean takes the least score of its points, and is there only where all of them are. Raises UserError for an unknown
    set or another number of keypoints.
    """
    names, target_names = _names(source), _names(target)
    given = np.asarray(keypoints, np.float64)
    if given.ndim != 3 or given.shape[1:] != (len(names), 3):  # noqa: PLR2004  people, keypoints, x y v
        raise UserError(f"keypoints of the shape {given.shape}; {source} has (people, {len(names)}, 3)")
    found = np.zeros((len(given), len(target_names), 3))
    missing = []
    for place, name in enumerate(target_names):
        if sources := _sources(name, names):
            found[:, place] = _mean(given[:, [names.index(one) for one in sources]])
        else:
            missing.append(name)
    return Conversion(found, tuple(missing))


def _names(name: str) -> tuple[str, ...]:
    if name not in SETS:
        raise UserError(f"{name}: no known set of keypoints; choose from {', '.join(SETS)}")
    return SETS[name]


def _sources(name: str, names: tuple[str, ...]) -> tuple[str, ...]:
    if name in names:
        return (name,)
    return next((rule for rule in RULES.get(name, ()) if set(rule) <= set(names)), ())


def _mean(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(M, P, 3) -> (M, 3)."""
    there: npt.NDArray[np.bool_] = np.all(points[..., 2] > 0, axis=1)
    means = np.concatenate([points[..., :2].mean(axis=1), points[..., 2].min(axis=1)[:, None]], axis=1)
    return np.where(there[:, None], means, 0.0)
