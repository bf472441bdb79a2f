# SPDX-License-Identifier: Apache-2.0
"""Left and right exchanged: found by the people who face the camera, whose right side is on the left of the picture."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

PARTS = ("eye", "ear", "shoulder", "hip")  # not elbows and further: arms and legs cross
MIN_PAIRS = 2  # pairs of labelled parts: one alone may be a slip, or a turned head
VISIBLE = 2


def exchanged(
    keypoints: npt.NDArray[np.floating], names: Sequence[str]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Who can be judged, and of whom every pair of sides contradicts: two (P,) bool.

    `keypoints` (P, K, 3): x, y, v in original pixels, of the K `names`. A person can be judged who shows nose and both
    eyes, so faces the camera, and has another pair. From right to left is then a quarter turn against the clock from
    the way down the body, so people who lie or stand on their head are judged, too. Skeletons without a face: nobody.
    """
    pairs = [(names.index(f"left_{part}"), names.index(f"right_{part}")) for part in PARTS if _has_pair(names, part)]
    faces = ("nose", "left_eye", "right_eye")
    if not set(faces) <= set(names):
        return np.zeros(len(keypoints), np.bool_), np.zeros(len(keypoints), np.bool_)
    points, labelled = keypoints[..., :2].astype(np.float64), keypoints[..., 2] > 0
    down = _down(points, labelled, names)
    known, wrong = [], []
    for left, right in pairs:
        across = points[:, left] - points[:, right]
        known.append(labelled[:, left] & labelled[:, right])
        wrong.append(across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0] < 0)
    shows_face = (keypoints[:, [names.index(name) for name in faces], 2] == VISIBLE).all(axis=1)
    testable = shows_face & (np.sum(known, axis=0) >= MIN_PAIRS)
    return testable, testable & (np.array(wrong) | ~np.array(known)).all(axis=0)


def _has_pair(names: Sequence[str], part: str) -> bool:
    return f"left_{part}" in names and f"right_{part}" in names


def _down(
    points: npt.NDArray[np.float64], labelled: npt.NDArray[np.bool_], names: Sequence[str]
) -> npt.NDArray[np.float64]:
    """(P, 2) the way down each body: from shoulders to hips, else from nose to shoulders, else from eyes to nose."""

    def middle(part: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        left, right = names.index(f"left_{part}"), names.index(f"right_{part}")
        return (points[:, left] + points[:, right]) / 2, (labelled[:, left] & labelled[:, right])[:, None]

    nose = points[:, names.index("nose")]
    down: npt.NDArray[np.float64] = nose - middle("eye")[0]
    if _has_pair(names, "shoulder"):
        shoulders, has_shoulders = middle("shoulder")
        down = np.where(has_shoulders, shoulders - nose, down)
        if _has_pair(names, "hip"):
            hips, has_hips = middle("hip")
            down = np.where(has_shoulders & has_hips, hips - shoulders, down)
    return down
