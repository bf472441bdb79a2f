# SPDX-License-Identifier: Apache-2.0
"""People: what goes into a decoder, and what comes out of it."""

from dataclasses import dataclass

from common.arrays import Float32Array, Float64Array, Int64Array
from common.cli import UserError
from common.skeleton import Skeleton

import numpy as np


@dataclass(frozen=True)
class DecodedPeople:
    """The people of one image. In which frame coordinates are, the decoder says (`_img` unless stated otherwise)."""

    candidates: Float64Array  # (N, 4) x, y, score, point type: all peaks, type by type
    members: Int64Array  # (M, num_points) rows of `candidates`, -1 for a missing point
    scores: Float64Array  # (M,) sums of point and limb scores
    counts: Int64Array  # (M,) points as the decoder's rules count them, which need not be the number of members

    def points(self) -> Float64Array:
        """(M, num_points, 3) float64: x, y, score of each person's points; 0, 0, 0 where missing."""
        return np.vstack((self.candidates[:, :3], np.zeros(3)))[self.members]  # row -1 is the last one

    def keypoints(self, skeleton: Skeleton) -> Float64Array:
        """(M, num_keypoints, 3) float64: x, y, 1 of each person's keypoints; 0, 0, 0 where missing."""
        source = skeleton.point_of_keypoint
        is_there = (source >= 0) & (self.members[:, source] >= 0)
        keypoints = np.where(is_there[..., None], self.points()[:, source], 0.0)
        keypoints[..., 2] = is_there
        return keypoints


@dataclass(eq=False)
class Person:
    """A person under assembly."""

    points: dict[int, int]  # {type: row of the candidates}
    score: float
    count: int = 1

    def add(self, point: int, row: int, gain: float) -> None:
        """Sets a point, replacing any other, and counts it."""
        self.points[point] = row
        self.score, self.count = self.score + gain, self.count + 1


def checked_maps(heatmaps: Float32Array, pafs: Float32Array, skeleton: Skeleton) -> tuple[Float32Array, Float32Array]:
    """Heatmaps without the background (num_points, h, w) and pafs (num_pafs, h, w), C-contiguous, 0 where not finite.

    Raises UserError for maps of other shapes.
    """
    size, counts = pafs.shape[1:], (skeleton.num_heatmaps, skeleton.num_pafs)
    if (heatmaps.shape, pafs.shape) != ((counts[0], *size), (counts[1], *size)) or len(size) != 2 or min(size) < 1:
        raise UserError(
            f"heatmaps of shape {heatmaps.shape} and pafs of shape {pafs.shape}, but {skeleton.name!r} needs "
            f"{counts[0]} and {counts[1]} maps of one size: network and skeleton do not belong together"
        )
    maps = (np.ascontiguousarray(maps, np.float32) for maps in (heatmaps[:-1], pafs))
    clean_heatmaps, clean_pafs = (np.nan_to_num(one, nan=0.0, posinf=0.0, neginf=0.0) for one in maps)
    return clean_heatmaps, clean_pafs


def select(
    people: list[Person], candidates: Float64Array, num_points: int, min_points: int, min_score: float
) -> DecodedPeople:
    """The people with at least `min_points` counted points and a mean score of at least `min_score`."""
    people = [person for person in people if person.count >= min_points and person.score / person.count >= min_score]
    members = [[person.points.get(point, -1) for point in range(num_points)] for person in people]
    scores, counts = np.array([person.score for person in people]), np.array([person.count for person in people], int)
    return DecodedPeople(candidates, np.array(members, np.int64).reshape(-1, num_points), scores, counts)
