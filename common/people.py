# SPDX-License-Identifier: Apache-2.0
"""The people that a network finds in one image: what every `PoseEstimator` returns, and its JSON form.

`docs/people.schema.json` (JSON Schema 2020-12) describes a line of people.jsonl:

    {"version": 2, "frame": 7, "time_s": 0.28, "source": "walk.mp4", "width": 640, "height": 480, "people": [
      {"id": 0, "score": 21.4, "box": [x, y, width, height], "keypoints": {"nose": [x, y, score], ...}}, ...]}

`frame` counts from 0 within the source; `time_s` is seconds since its first frame (0 for images); `source` is the path
as given, or `camera 0`. Lengths are original pixels after the EXIF turn, x to the right, y down; whole numbers are
pixel centres. `id` stays with a person from frame to frame; it is null without tracking. A keypoint that was not found
is not named. A network with lambda adds "lambda": the value that found the person.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from common.arrays import Float64Array, UInt8Array
from common.cli import UserError
from common.skeleton import Skeleton

import numpy as np
import numpy.typing as npt

SCHEMA_VERSION = 2
PERSON_CATEGORY = 1  # of COCO


@dataclass(frozen=True)
class People:
    """M people with K points each, the points that the network learns: `skeleton.points`.

    keypoints: (M, K, 3) float64 x, y in original pixels, score (0: not found). scores: (M,) float64. detected_boxes:
    (M, 4) float64 left, top, width, height in original pixels, in which a top-down model found them. ids: a number that
    stays with a person from frame to frame, or None. lambdas: of a network that has it, the one that found each person.
    Raises UserError for NaN or infinity, the result of broken weights.
    """

    skeleton: Skeleton
    keypoints: Float64Array
    scores: Float64Array
    detected_boxes: Float64Array | None = None
    ids: tuple[Any, ...] = ()
    lambdas: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        keypoints = np.asarray(self.keypoints, np.float64).reshape(-1, self.skeleton.num_points, 3)
        scores, ids = np.asarray(self.scores, np.float64), self.ids or (None,) * len(keypoints)
        for name, value in (("keypoints", keypoints), ("scores", scores), ("ids", ids)):
            object.__setattr__(self, name, value)
        if not (np.isfinite(keypoints).all() and np.isfinite(scores).all()):
            raise UserError("the network's result has NaN or infinity in it; look at its weights")

    @property
    def boxes(self) -> Float64Array:
        """(M, 4) float64 left, top, width, height in original pixels: the detector's, else those of the keypoints."""
        return bounding_boxes(self.keypoints) if self.detected_boxes is None else self.detected_boxes

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, rows: npt.ArrayLike) -> "People":
        """The people of some rows, (N,) of integers or (M,) of booleans, in that order."""
        given = np.asarray(rows)
        index = np.flatnonzero(given) if given.dtype == np.bool_ else given.astype(np.int64)
        return dataclasses.replace(
            self,
            keypoints=self.keypoints[index],
            scores=self.scores[index],
            detected_boxes=None if self.detected_boxes is None else self.detected_boxes[index],
            ids=tuple(self.ids[row] for row in index),
            lambdas=tuple(self.lambdas[row] for row in index) if self.lambdas else (),
        )

    def annotated(self) -> Float64Array:
        """(M, num_keypoints, 3): the keypoints in the order of the annotation files; 0 for one that is not learned."""
        learned = self.skeleton.point_of_keypoint >= 0
        keypoints = np.zeros((len(self), self.skeleton.num_keypoints, 3))
        keypoints[:, learned] = self.keypoints[:, self.skeleton.point_of_keypoint[learned]]
        return keypoints

    def draw(self, image: UInt8Array, threshold: float = 0.0, boxes: bool = False) -> UInt8Array:
        """A copy of the image, (h, w, 3) uint8 BGR, with the people whose keypoints are above `threshold` on it."""
        from common.media import drawing

        return drawing.draw(image, self, threshold, boxes)

    def to_json(self) -> list[dict[str, Any]]:
        """The entries of "people" in a line of people.jsonl."""
        entries = []
        for row, (keypoints, box) in enumerate(zip(self.keypoints.tolist(), self.boxes, strict=True)):
            named = zip(self.skeleton.points, keypoints, strict=True)
            entry = {
                "id": self.ids[row] if isinstance(self.ids[row], (int, str)) else None,
                "score": round(float(self.scores[row]), 4),
                "box": np.round(box, 2).tolist(),
                "keypoints": {
                    name: [round(x, 2), round(y, 2), round(score, 4)] for name, (x, y, score) in named if score > 0
                },
            }
            if self.lambdas:
                entry["lambda"] = self.lambdas[row]
            entries.append(entry)
        return entries

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """Entries of a COCO keypoint result file; `keypoints` in the order of the annotation files."""
        return [
            {"image_id": image_id, "category_id": PERSON_CATEGORY, "keypoints": person.ravel().tolist(), "score": score}
            for person, score in zip(self.annotated(), self.scores.tolist(), strict=True)
        ]


def bounding_boxes(points: Float64Array) -> Float64Array:
    """(M, K, 3) x, y, score (score 0: missing) -> (M, 4) x, y, width, height of what is there, in the same frame.

    A box holds its outermost pixels whole: width = largest x - smallest x + 1. A person without points: zeros.
    """
    present = points[:, :, 2:] > 0
    low = np.where(present, points[:, :, :2], np.inf).min(axis=1, initial=np.inf)
    high = np.where(present, points[:, :, :2], -np.inf).max(axis=1, initial=-np.inf)
    boxes = np.concatenate([low, high - low + 1], axis=1)
    return np.where(present.any(axis=1), boxes, 0.0)
