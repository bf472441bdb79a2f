# SPDX-License-Identifier: Apache-2.0
"""Frames -> boxes -> people: the parts between reading and drawing in the demo."""

import contextlib
import functools
import itertools
from collections.abc import Generator
from typing import Any, NamedTuple

from AlphaPose.people_json import People, untracked_ids
from AlphaPose.pose_nms import pose_nms
from common.cli import UserError
from common.media.detectors import Boxes, Detector
from common.media.source import Frame, Image
from common.media.tracking import Tracker
from common.topdown import pipeline

import numpy as np

TRACKED_ABOVE = 0.1  # score of keypoints that tell people apart


class Seen(NamedTuple):
    """Frames that follow one another, and the boxes of people in each."""

    frames: list[Frame]
    boxes: list[Boxes]


def detect(frames: Generator[Frame, None, None], detector: Detector, size: int) -> Generator[Seen, None, None]:
    """`size` frames at a time through the detector; an error of reading comes after the frames before it."""
    with contextlib.closing(frames):
        while True:
            group, problem = list[Frame](), None
            try:
                group.extend(itertools.islice(frames, size))
            except UserError as error:
                problem = error
            if group:
                yield Seen(group, detector(group))
            if problem:
                raise problem
            if len(group) < size:
                return


class PoseFinder:
    """Boxes of frames -> people: crops of all of them through the network together, then pose NMS frame by frame."""

    def __init__(self, network: pipeline.Estimator, batch_size: int, min_box_area: float = 0.0) -> None:
        self.network, self.batch_size, self.min_box_area = network, batch_size, min_box_area

    def __call__(self, seen: Seen) -> list[People]:
        """The people of each frame, the surest first; their boxes are the detector's. Raises UserError for NaN."""
        counts = [len(boxes.scores) for boxes in seen.boxes]
        owners = np.repeat(np.arange(len(counts)), counts)
        boxes = np.concatenate([found.boxes_img for found in seen.boxes])
        keypoints = np.zeros((len(owners), self.network.num_maps, 3), np.float32)
        rows = [np.flatnonzero(owners == place) for place in range(len(counts))]
        pictures = [
            pipeline.Picture(functools.partial(_pixels, frame), boxes[mine], mine)
            for frame, mine in zip(seen.frames, rows, strict=True) if len(mine)
        ]  # fmt: skip
        for found in pipeline.estimate(pictures, self.network, self.batch_size):
            keypoints[found.rows] = found.keypoints_img
        if not np.isfinite(keypoints).all():
            frame = seen.frames[int(owners[~np.isfinite(keypoints).all((1, 2))][0])]
            raise UserError(f"{frame.name}: the network's result has NaN or infinity in it; look at its weights")
        scores = np.concatenate([found.scores for found in seen.boxes])
        ids = [name for found in seen.boxes for name in found.ids]
        return [self._people(keypoints[mine], boxes[mine], scores[mine], [ids[row] for row in mine]) for mine in rows]

    def _people(self, keypoints: Any, boxes: Any, scores: Any, ids: list[Any]) -> People:
        if not len(scores):
            return People(keypoints, scores.astype(np.float32), np.zeros((0, 4), np.float32), [])
        corners = np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
        merged = pose_nms(keypoints, corners, scores, min_box_area=self.min_box_area)
        given = [ids[pick] for pick in merged.picks]
        names = given if any(name is not None for name in given) else untracked_ids(merged.members)
        return People(merged.keypoints_img, merged.scores, merged.boxes_img, names)


def _pixels(frame: Frame) -> Image:
    return frame.image


def follow(tracker: Tracker, people: People, time_s: float) -> People:
    """People with the ids of a tracker; keypoints that the network only guesses do not tell them apart."""
    points = people.keypoints_img.astype(np.float64)
    points[points[..., 2] < TRACKED_ABOVE] = 0
    ids, _ = tracker.update(points, people.scores, time_s)
    return people._replace(ids=ids.tolist())
