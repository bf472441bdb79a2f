# SPDX-License-Identifier: Apache-2.0
"""The form in which people are written down: people.jsonl, one line of JSON a frame.

`SCHEMA` describes a line (JSON Schema 2020-12):

    {"version": 1, "frame": 7, "time_s": 0.28, "source": "film.mp4", "width": 640, "height": 480, "people": [
      {"id": 0, "score": 21.4, "box": [x, y, width, height], "keypoints": {"nose": [x, y, score], ...}}, ...]}

`frame` counts from 0 within the source; `time_s` is seconds since its first frame (0 for pictures); `source` is the
path as given, or `camera 0`. Lengths are original pixels after the EXIF turn, x to the right, y down; whole numbers
are pixel centres. `id` stays with a person from frame to frame; it is null without tracking: pictures are never
tracked. `score` of a person is the sum over its keypoints and limbs, that of a keypoint is its height in the heatmap.
A keypoint that was not seen is not named. `box` is the bounding box of the keypoints, its outermost pixels included.
"""

import json
from collections.abc import Sequence
from typing import Any

from common.media.source import Frame
from common.media.tracking import Floats, bounding_boxes
from common.skeleton import Skeleton

import numpy as np

SCHEMA_VERSION = 1
_NUMBER, _COUNT = {"type": "number"}, {"type": "integer", "minimum": 0}
_PERSON = {
    "type": "object",
    "required": ["id", "score", "box", "keypoints"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": ["integer", "null"], "minimum": 0},
        "score": _NUMBER,
        "box": {"type": "array", "items": _NUMBER, "minItems": 4, "maxItems": 4},
        "keypoints": {
            "type": "object",
            "additionalProperties": {"type": "array", "items": _NUMBER, "minItems": 3, "maxItems": 3},
        },
    },
}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "One line of people.jsonl: the people of one frame",
    "type": "object",
    "required": ["version", "frame", "time_s", "source", "width", "height", "people"],
    "additionalProperties": False,
    "properties": {
        "version": {"const": SCHEMA_VERSION},
        "frame": _COUNT,
        "time_s": {"type": "number", "minimum": 0},
        "source": {"type": "string"},
        "width": _COUNT,
        "height": _COUNT,
        "people": {"type": "array", "items": _PERSON},
    },
}


def people_line(frame: Frame, points: Floats, scores: Floats, ids: Sequence[int | None], skeleton: Skeleton) -> str:
    """The line of people.jsonl for a frame, with its line end; `points` (M, num_points, 3)
    x, y in original pixels and score (0: missing), `scores` (M,), `ids` (M,)."""
    people = [
        {
            "id": track,
            "score": round(float(score), 4),
            "box": np.round(box, 2).tolist(),
            "keypoints": {
                name: [round(float(x), 2), round(float(y), 2), round(float(height), 4)]
                for name, (x, y, height) in zip(skeleton.points, person, strict=True)
                if height > 0
            },
        }
        for track, score, box, person in zip(ids, scores, bounding_boxes(points), points, strict=True)
    ]
    line = {
        "version": SCHEMA_VERSION,
        "frame": frame.index,
        "time_s": round(frame.time_s, 4),
        "source": frame.name,
        "width": frame.image.shape[1],
        "height": frame.image.shape[0],
        "people": people,
    }
    return json.dumps(line, allow_nan=False) + "\n"


def to_keypoints(points: Floats, skeleton: Skeleton) -> Floats:
    """(M, num_points, 3) in the network's order -> (M, num_keypoints, 3) in that of the annotations; 0: missing."""
    keypoints = np.zeros((len(points), skeleton.num_keypoints, 3))
    learned = skeleton.point_of_keypoint >= 0
    keypoints[:, learned] = points[:, skeleton.point_of_keypoint[learned]]
    return keypoints
