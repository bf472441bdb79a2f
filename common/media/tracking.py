# SPDX-License-Identifier: Apache-2.0
"""Identities from frame to frame, and smooth keypoints (the one-euro filter).

Rules of the original demo: a person inherits the id of the person of the last frame with which it shares most
keypoints, at least three; people choose in the order of their scores. Improved: coordinates stay fractions of a
pixel, and people are compared at their detected positions, not at smoothed ones, which lag behind those who walk
fast; of two people who share equally many keypoints the nearer one wins, not the first in the list; the filter uses
the time stamps of the frames.
"""

import dataclasses
import itertools
from dataclasses import dataclass, field

from common.arrays import Float64Array
from common.coco.errors import similarities
from common.people import People, bounding_boxes
from common.skeleton import Skeleton

import numpy as np

SAME_KEYPOINT = 0.5  # two keypoints with a likeness above this are the same one
MIN_SHARED = 3  # keypoints in the same place make two people the same
TRACKED_ABOVE = 0.1  # score of keypoints that identify people: others are guesses
LEAST_STEP_S = 1e-3  # between two frames, where time stamps do not advance


class OneEuro:
    """A low-pass filter whose cut-off grows with speed: little jitter at rest, little lag in motion.

    Casiez, Roussel, Vogel: "1 Euro Filter", CHI 2012. It filters each element of an array independently. NaN is
    "not seen": that element's history is dropped, and it starts again when it returns.
    """

    def __init__(self, min_cutoff_hz: float = 1.0, beta: float = 0.05, speed_cutoff_hz: float = 1.0) -> None:
        self.min_cutoff_hz, self.beta, self.speed_cutoff_hz = min_cutoff_hz, beta, speed_cutoff_hz
        self._raw = self._smooth = self._speed = np.array(np.nan)

    def __call__(self, values: Float64Array, step_s: float) -> Float64Array:
        """`values`, float64 of any shape (the same in each call), `step_s` after the last -> filtered, same unit."""
        fresh = np.isnan(self._raw)
        speed = np.where(fresh, 0.0 * values, (values - self._raw) / step_s)
        self._speed = np.where(fresh, speed, _low_pass(speed, self._speed, step_s, self.speed_cutoff_hz))
        cutoff_hz = self.min_cutoff_hz + self.beta * np.abs(self._speed)
        self._smooth = np.where(fresh, values, _low_pass(values, self._smooth, step_s, cutoff_hz))
        self._raw = values
        return self._smooth


def _low_pass(values: Float64Array, last: Float64Array, step_s: float, cutoff_hz: Float64Array | float) -> Float64Array:
    """One step of exponential smoothing; the time constant of a cut-off is 1 / (2 pi cutoff)."""
    alpha = 1.0 / (1.0 + 1.0 / (2 * np.pi * cutoff_hz) / step_s)
    return alpha * values + (1.0 - alpha) * last


def likeness(current: Float64Array, previous: Float64Array, sigmas: Float64Array) -> Float64Array:
    """The similarity of (M, P, 3) current people to (N, P, 3) previous ones; x, y in one frame, score 0: missing.

    Returns (M, N) float64: the number of points that both have in the same place, and, to break ties, the
    mean over all P of exp(-d^2 / (2 area (2 sigma)^2)), 0 where one lacks the point: OKS with the larger box as area.
    """
    areas, before = (bounding_boxes(points)[:, 2:].prod(axis=1) for points in (current, previous))
    near = similarities(current, previous, np.maximum(areas[:, None], before), sigmas)
    return np.asarray((near > SAME_KEYPOINT).sum(-1) + near.mean(-1))


@dataclass(eq=False)
class Track:
    """A person over time: the points (P, 3) that the next frame is compared with, their time, and their filter."""

    id: int
    points: Float64Array
    time_s: float
    missed: int = 0
    filter: OneEuro = field(default_factory=OneEuro)

    def follow(self, person: Float64Array, time_s: float) -> Float64Array:
        """Takes the points (P, 3) of a person in the next frame; returns them smoothed."""
        seen, step_s = person[:, 2:] > 0, max(time_s - self.time_s, LEAST_STEP_S)
        steady = self.filter(np.where(seen, person[:, :2], np.nan), step_s)
        self.points, self.time_s, self.missed = person, time_s, 0
        return np.hstack([np.where(seen, steady, 0.0), person[:, 2:]])


class Tracker:
    """Gives people of successive frames their ids (0, 1, 2, ..., its own count) and smooths their keypoints.

    `smooth` turns the filter on. A track without a match is kept for `max_missed` frames (the original: 0).
    """

    def __init__(self, skeleton: Skeleton, smooth: bool = True, max_missed: int = 0) -> None:
        self.smooth, self.max_missed, self.sigmas = smooth, max_missed, skeleton.point_sigmas
        self.tracks: list[Track] = []
        self._ids = itertools.count()

    def update(self, people: People, time_s: float) -> People:
        """The people of the next frame with their ids and smoothed keypoints.

        `time_s`: seconds since any fixed moment. Keypoints that score less than TRACKED_ABOVE stay as they are.
        """
        points = np.where(people.keypoints[..., 2:] < TRACKED_ABOVE, 0.0, people.keypoints)
        chosen = self._continue(points, people.scores, time_s)
        lost = [track for track in self.tracks if track not in chosen and track.missed < self.max_missed]
        for track in lost:
            track.missed += 1
        self.tracks = chosen + lost
        steady = [track.follow(person, time_s) for track, person in zip(chosen, points, strict=True)]
        is_smoothed = self.smooth & (points[..., 2:] > 0)
        keypoints = np.where(is_smoothed, np.array(steady).reshape(points.shape), people.keypoints)
        return dataclasses.replace(people, keypoints=keypoints, ids=tuple(track.id for track in chosen))

    def _continue(self, points: Float64Array, scores: Float64Array, time_s: float) -> list[Track]:
        """The track of each person: the best one still free, or a new one."""
        previous = np.array([track.points for track in self.tracks]).reshape(-1, *points.shape[1:])
        alike = likeness(points, previous, self.sigmas)
        chosen: dict[int, Track] = {}
        for person in np.argsort(-np.asarray(scores), kind="stable").tolist():
            if alike[person].max(initial=0) >= MIN_SHARED:
                best = int(alike[person].argmax())
                chosen[person], alike[:, best] = self.tracks[best], 0  # it is taken
            else:
                chosen[person] = Track(next(self._ids), points[person], time_s)
        return [chosen[person] for person in range(len(points))]
