# SPDX-License-Identifier: Apache-2.0
"""What decoders of heatmaps and part affinity fields have in common: the maps they take, the people they give.

Each decoder has its own way from the ones to the others; `peak_windows`, `map_bands` and `greedy_matching` are parts
of both. The fields: Cao et al., Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields, CVPR 2017.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from common.cli import UserError
from common.map_bands import extremes
from common.skeleton import Skeleton

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Result = TypeVar("Result")


@dataclass(frozen=True)
class People:
    """What was found in one image. In which frame coordinates are, its decoder says (`_img` where not said otherwise).

    `candidates` (N, 4) float64: x, y, score, point type, all peaks, type by type. `members` (M, num_points) int64: rows
    of `candidates`, -1 for a missing point. `scores` (M,) float64: sums of point and limb scores. `counts` (M,) int64:
    points as the decoder's rules count them, which need not be the number of members.
    """

    candidates: Doubles
    members: Integers
    scores: Doubles
    counts: Integers

    def all_keypoints(self) -> Doubles:
        """The originals' array: (N, 4) float64 x, y, score, running number; shape (0,) without peaks."""
        numbers = np.arange(len(self.candidates))[:, None]
        return np.hstack((self.candidates[:, :3], numbers)) if len(self.candidates) else np.array([])

    def pose_entries(self) -> Doubles:
        """The originals' array: (M, num_points + 2) float64 members, score, count; shape (0,) without people."""
        return np.column_stack((self.members, self.scores, self.counts)) if len(self.members) else np.array([])

    def points(self) -> Doubles:
        """(M, num_points, 3) float64: x, y, score of each person's points; 0, 0, 0 where missing."""
        if not len(self.candidates):
            return np.zeros((*self.members.shape, 3))
        return np.where(self.members[..., None] >= 0, self.candidates[self.members, :3], 0.0)

    def keypoints(self, skeleton: Skeleton) -> Doubles:
        """(M, num_keypoints, 3) float64: x, y, 1 of each person's keypoints; 0, 0, 0 where missing."""
        source = skeleton.point_of_keypoint
        members = np.where(source >= 0, self.members[:, source], -1)
        keypoints = np.zeros((*members.shape, 3))
        person, keypoint = np.nonzero(members >= 0)
        keypoints[person, keypoint, :2] = self.candidates[members[person, keypoint], :2]
        keypoints[person, keypoint, 2] = 1
        return keypoints


def checked(heatmaps: Floats, fields: Floats, skeleton: Skeleton) -> tuple[Floats, Floats]:
    """Both as C-contiguous writable float32: the one type that is compiled.

    `heatmaps` (num_heatmaps, h, w), `fields` (num_fields, h, w). UserError for other shapes.
    """
    heatmaps = _checked(heatmaps, skeleton.num_heatmaps, "heatmaps", skeleton)
    fields = _checked(fields, skeleton.num_fields, "fields", skeleton)
    if heatmaps.shape[1:] != fields.shape[1:]:
        raise UserError(f"heatmaps of {heatmaps.shape[1:]} cells, but fields of {fields.shape[1:]}")
    return heatmaps, fields


def _checked(maps: Floats, count: int, what: str, skeleton: Skeleton) -> Floats:
    if maps.ndim != 3 or len(maps) != count or min(maps.shape[1:]) < 1:
        raise UserError(
            f"{what} have the shape {maps.shape}, but skeleton {skeleton.name!r} needs ({count}, height, width): "
            "network and skeleton do not belong together"
        )
    return np.require(maps, np.float32, ["C", "W", "A"])


def finite(maps: Floats) -> tuple[Floats, Floats]:
    """The maps (C, h, w) with 0 in cells that are not finite, and (C, 2) their smallest and largest values."""
    limits: Floats = extremes(maps)
    if not np.isfinite(limits).all():
        maps = np.where(np.isfinite(maps), maps, np.float32(0))
        limits = extremes(maps)
    return maps, limits


def best_of_each_type(scores: npt.NDArray[np.floating], starts: Integers, most: int) -> tuple[Integers, Integers]:
    """Of each type the `most` peaks of the highest scores, of equal ones the first, in their order.

    `scores` (N,); `starts` (num_points + 1,) the first of each type. Returns the rows kept, and their starts.
    """
    kept = [
        start + np.sort(np.argsort(-scores[start:stop], kind="stable")[:most])
        for start, stop in zip(starts[:-1], starts[1:], strict=True)
    ]
    return np.concatenate(kept), np.cumsum([0, *map(len, kept)])


def limb_table(skeleton: Skeleton, order: tuple[int, ...]) -> tuple[Integers, Flags]:
    """(L, 3) int64 types of both ends and first field channel, (L,) bool closes a gap only; limbs in this order."""
    return _limb_table(skeleton.points, skeleton.limbs, order, skeleton.closing_limbs)


@lru_cache(maxsize=16)
def _limb_table(
    points: tuple[str, ...], limbs: tuple[tuple[str, str], ...], order: tuple[int, ...], closing: frozenset[int]
) -> tuple[Integers, Flags]:
    rows = [(points.index(limbs[i][0]), points.index(limbs[i][1]), 2 * i) for i in order]
    return np.array(rows, np.int64).reshape(-1, 3), np.array([i in closing for i in order], np.bool_)


@lru_cache(maxsize=16)
def sample_order(count: int) -> Integers:
    """(count,) int64: every third sample, and so on, so that samples far from each other come first; the ends last."""
    inner = np.arange(1, count - 1)
    return np.concatenate((inner[1::3], inner[2::3], inner[0::3], [0, count - 1]))


def of_each(decode_one: Callable[[int], Result], count: int, threads: int) -> list[Result]:
    """`decode_one` of each of `count` images, on threads: compiled code runs without Python's lock."""
    if threads <= 1 or count <= 1:
        return [decode_one(i) for i in range(count)]
    with ThreadPoolExecutor(min(threads, count)) as pool:
        return list(pool.map(decode_one, range(count)))
