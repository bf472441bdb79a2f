# SPDX-License-Identifier: Apache-2.0
"""Decoder: heatmaps and part affinity fields of a network -> people -> COCO keypoints, by the publication's rules.

NumPy in, NumPy out, on `common.bottomup`. The first call on a machine compiles for some seconds, see `warm_up`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from common.arrays import Float32Array, Float64Array
from common.bottomup.assembly import DecodedPeople, Person, checked_maps, select
from common.bottomup.maps import Axis, LimbRule, Pairs, axis_of, find_pairs, find_peaks
from common.cli import UserError
from common.skeleton import Skeleton

import cv2
import numpy as np

DEMO_UPSAMPLING = 4


@dataclass(frozen=True)
class MapGeometry:
    """From map cells to result pixels: enlarge by `stride`, cut `pad` off, resize to `size`, both cubic."""

    stride: int  # network-input pixels a cell
    pad: tuple[int, int, int, int]  # top, left, bottom, right, network-input pixels
    size: tuple[int, int]  # height, width of the result: in validation the original image, so that results are _img

    @classmethod
    def demo(cls, map_size: tuple[int, int]) -> "MapGeometry":
        """Maps of (height, width) cells enlarged and nothing else."""
        return cls(DEMO_UPSAMPLING, (0, 0, 0, 0), (map_size[0] * DEMO_UPSAMPLING, map_size[1] * DEMO_UPSAMPLING))

    def axes(self, map_size: tuple[int, int]) -> tuple[Axis, Axis]:
        """y and x, for maps of (height, width) cells. Raises UserError where the padding leaves nothing."""
        edges = self.pad[::2], self.pad[1::2]
        for cells, cut in zip(map_size, edges, strict=True):
            if min(*cut, self.stride - 1) < 0 or cells * self.stride <= sum(cut):
                raise UserError(f"{self} does not fit maps of {map_size} cells: padding must leave a part of the map")
        y, x = (_axis(map_size[i], self.stride, *edges[i], self.size[i]) for i in (0, 1))
        return y, x


@dataclass(frozen=True)
class DecodeRules:
    """Thresholds of the decoder; the defaults are the original's. Lengths in pixels of the result."""

    heatmap_threshold: float = 0.1  # the least value of a peak
    nms_radius: float = 6.0  # a peak nearer than that to one further left is dropped
    num_samples: int = 10  # of the field along a pair of peaks
    min_limb_score: float = 0.05  # a sample counts above it
    min_limb_fraction: float = 0.8  # a pair counts if more of its samples do
    min_points: int = 3  # of a person
    min_person_score: float = 0.2  # mean over a person's points
    # 0.5 added to COCO coordinates, as in published figures. On ideal maps that costs accuracy: AP .773 instead of .791
    # on the labelled coco-mini validation images, because the training maps peak at the annotated coordinates.
    half_pixel: bool = True
    max_peaks: int = 1000  # of a type, the best: work on noise grows with their square; the original has no bound


ORIGINAL_RULES = DecodeRules()
Scale = tuple[Float32Array, Float32Array, MapGeometry]  # heatmaps, pafs and geometry of an image at one scale


def decode(
    heatmaps: Float32Array,
    pafs: Float32Array,
    geometry: MapGeometry,
    skeleton: Skeleton,
    rules: DecodeRules = ORIGINAL_RULES,
) -> DecodedPeople:
    """People in one image, in pixels of the geometry's result (`_img` in validation).

    `heatmaps` (num_heatmaps, h, w), of which the last (background) is ignored, and `pafs` (num_pafs, h, w)
    float32 (`_map`). Candidates come by type, x, y. A point that two limbs set counts twice, one that only closes a gap
    does not. Raises UserError where shapes do not fit the skeleton or the geometry.
    """
    heatmaps, pafs = checked_maps(heatmaps, pafs, skeleton)
    axes = geometry.axes(pafs.shape[1:])
    peaks = find_peaks(heatmaps, axes, rules.heatmap_threshold, rules.nms_radius, rules.max_peaks)
    needed = sum(n / rules.num_samples <= rules.min_limb_fraction for n in range(rules.num_samples + 1))
    rule = LimbRule(rules.num_samples, float(rules.min_limb_score), needed)
    people, scores = list[Person](), peaks.candidates[:, 2].tolist()
    for limb in skeleton.assembly:
        ends = skeleton.limb_points[limb].tolist()
        pairs = find_pairs(pafs[2 * limb : 2 * limb + 2], axes, peaks, ends, rule)
        if limb in skeleton.closing_limbs:
            close(people, ends, pairs)
        else:
            extend(people, ends, pairs, scores)
    return select(people, peaks.candidates, skeleton.num_points, rules.min_points, rules.min_person_score)


def extend(people: list[Person], ends: tuple[int, int], pairs: Pairs, scores: Sequence[float]) -> None:
    """Whoever has the first end (`ends`: types) gets the second; else a person starts."""
    a, b = ends
    owned = {person.points.get(a) for person in people}
    people += [Person({a: row}, scores[row]) for row in pairs if row not in owned]
    for person in people:
        if person.points.get(a) in pairs:
            row, score = pairs[person.points[a]]
            person.add(b, row, scores[row] + score)


def close(people: list[Person], ends: tuple[int, int], pairs: Pairs) -> None:
    """A limb that closes a loop adds a missing end, uncounted."""
    a, b = ends
    firsts = {row_b: row_a for row_a, (row_b, _) in pairs.items()}
    for points in (person.points for person in people):
        if b not in points and points.get(a) in pairs:
            points[b], _ = pairs[points[a]]
        elif a not in points and points.get(b) in firsts:
            points[a] = firsts[points[b]]


def decode_scales(scales: Sequence[Scale], skeleton: Skeleton, rules: DecodeRules = ORIGINAL_RULES) -> DecodedPeople:
    """People in the mean of an image's enlarged maps, of scales that all lead to the same pixels."""
    heatmaps, pafs = (np.mean([_enlarged(scale[kind], scale[2]) for scale in scales], axis=0) for kind in (0, 1))
    return decode(heatmaps, pafs, MapGeometry(1, (0, 0, 0, 0), scales[0][2].size), skeleton, rules)


def to_coco(
    people: DecodedPeople, skeleton: Skeleton, rules: DecodeRules = ORIGINAL_RULES
) -> tuple[Float64Array, Float64Array]:
    """(M, num_keypoints, 3) float64 x_img, y_img, 1, or 0, 0, 0 for a missing one; (M,) scores times count less one."""
    keypoints = people.keypoints(skeleton)
    keypoints[..., :2] += 0.5 * rules.half_pixel * keypoints[..., 2:]
    return keypoints, people.scores * np.maximum(0, people.counts - 1)


def warm_up(skeleton: Skeleton, rules: DecodeRules = ORIGINAL_RULES) -> None:
    """Compiles the decoder, or loads what was compiled before, so that the first image is not the slow one."""
    heatmaps, pafs = (np.ones((count, 8, 8), np.float32) for count in (skeleton.num_heatmaps, skeleton.num_pafs))
    decode(heatmaps, pafs, MapGeometry.demo((8, 8)), skeleton, rules)


@lru_cache(maxsize=1024)
def _axis(cells: int, stride: int, before: int, after: int, pixels: int) -> Axis:
    """Both resizes of an axis in one: what they make of the identity."""
    enlarged = cv2.resize(np.eye(cells), (cells, cells * stride), interpolation=cv2.INTER_CUBIC)
    return axis_of(cv2.resize(enlarged[before : len(enlarged) - after], (cells, pixels), interpolation=cv2.INTER_CUBIC))


def _enlarged(maps: Float32Array, geometry: MapGeometry) -> Float32Array:
    """(C, h, w) float32 -> (C, height, width)."""
    y, x = geometry.axes(maps.shape[1:])
    columns = sum(x.taps[:, k] * maps[:, :, x.first + k] for k in range(x.taps.shape[1]))
    return sum(y.taps[:, k, None] * columns[:, y.first + k] for k in range(y.taps.shape[1]))
