# SPDX-License-Identifier: Apache-2.0
"""Decoder: heatmaps and part affinity fields of a network -> people -> COCO keypoints.

The results are those of the original to the last bit (spec A7; maps enlarged as OpenCV does it), but full-resolution
maps are never built: `common.peak_windows` finds where a peak can be, `peak_selection` decides by exact values,
`limb_matching` scores pairs of peaks along the fields and `person_assembly` puts people together. NumPy in, NumPy out;
the work is compiled by numba (cached on disk; the first call after an installation takes some ten seconds, see
`warm_up`) and runs without Python's lock, so `decode_batch` can use threads.

Cells that are not finite count as 0: they never pass a threshold, and no message is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from common.bottomup.pafs import (
    Doubles,
    Floats,
    Integers,
    People,
    best_of_each_type,
    checked,
    finite,
    limb_table,
    of_each,
    sample_order,
)
from common.cli import UserError
from common.skeleton import Skeleton

import cv2
import numpy as np
import numpy.typing as npt

from .map_sampling import Axis, axis_operator, exact_map
from .peak_selection import settle_peaks
from .person_assembly import assemble
from .threads import all_candidates, connect_all

DEMO_UPSAMPLING = 4
SIMD_LANES = 4  # OpenCV's cubic resize; see map_sampling.exact_value
MOST_SAMPLES = 62  # the valid samples of a pair are the bits of an integer


@dataclass(frozen=True)
class MapGeometry:
    """From map cells to result pixels: enlarge by `stride`, cut `pad` off, resize to `size` (cubic, spec A7).

    `stride` is network-input pixels a cell; `pad` (top, left, bottom, right) in network-input pixels, after the
    enlargement; `size` (height, width) of the result, on the validation path that of the original image, so that
    results are in original pixels.
    """

    stride: int
    pad: tuple[int, int, int, int]
    size: tuple[int, int]

    @classmethod
    def demo(cls, map_size: tuple[int, int], upsampling: int = DEMO_UPSAMPLING) -> "MapGeometry":
        """The demo's way (spec A8): enlarge maps of (height, width) cells, nothing else.

        Results are in pixels of the enlarged map; `demo_to_image` brings them to the image.
        """
        return cls(upsampling, (0, 0, 0, 0), (map_size[0] * upsampling, map_size[1] * upsampling))

    @classmethod
    def identity(cls, size: tuple[int, int]) -> "MapGeometry":
        """For maps that have the result's (height, width) already."""
        return cls(1, (0, 0, 0, 0), size)

    def operators(self, map_size: tuple[int, int]) -> tuple[Axis, Axis]:
        """Operators of y and x for maps of (height, width) cells. UserError where the padding leaves nothing."""
        top, left, bottom, right = (int(edge) for edge in self.pad)
        before, after = (top, left), (bottom, right)
        for cells, edge, other in zip(map_size, before, after, strict=True):
            if min(edge, other, cells - 1, self.stride - 1) < 0 or cells * self.stride <= edge + other:
                raise UserError(f"{self} does not fit maps of {map_size} cells: padding must leave a part of the map")
        if min(self.size) < 1:
            raise UserError(f"{self}: the size must be positive")
        y, x = (
            axis_operator(int(cells), int(self.stride), edge, other, int(pixels))
            for cells, edge, other, pixels in zip(map_size, before, after, self.size, strict=True)
        )
        return y, x


@dataclass(frozen=True)
class DecodeRules:
    """Thresholds of the decoder; the defaults are the original's (spec A7).

    A peak has a heatmap value of `heatmap_threshold` at least and is above its four neighbours; peaks nearer than
    `nms_radius` (pixels of the result) to one further left are dropped. A pair of peaks is sampled at `num_samples`
    points; a sample counts above `min_limb_score`, the pair if more than `min_limb_fraction` of its samples count.
    A person needs `min_points` points and a mean score of `min_person_score`.

    `half_pixel` adds 0.5 to the coordinates of a COCO result, as the original does. The training maps have their peaks
    at the annotated coordinates themselves, so on ideal maps that costs accuracy: decoding the maps of the 32 labelled
    coco-mini validation images gives AP .773 with it and .791 without (spec, BUGS 4). Published figures have it.

    `max_peaks` bounds the work on noise, which grows with the square of a type's peaks: of more peaks of one type the
    best are kept. The original has no bound. Pure noise on maps of 46 x 69 cells gives at most about 660 of a type.
    """

    heatmap_threshold: float = 0.1
    nms_radius: float = 6.0
    num_samples: int = 10
    min_limb_score: float = 0.05
    min_limb_fraction: float = 0.8
    min_points: int = 3
    min_person_score: float = 0.2
    half_pixel: bool = True
    max_peaks: int = 1000

    def __post_init__(self) -> None:
        if not 2 <= self.num_samples <= MOST_SAMPLES:
            raise UserError(f"num_samples={self.num_samples}: must be 2 to {MOST_SAMPLES}")
        if not (self.heatmap_threshold > 0 and self.min_limb_score >= 0 and self.max_peaks > 0):
            raise UserError(f"{self}: heatmap_threshold and max_peaks must be positive, min_limb_score not negative")

    @property
    def needed_samples(self) -> int:
        """The smallest number of samples that is more than `min_limb_fraction` of them, and one at least."""
        enough = (n for n in range(1, self.num_samples + 1) if n / self.num_samples > self.min_limb_fraction)
        return next(enough, self.num_samples + 1)


ORIGINAL_RULES = DecodeRules()


def decode(
    heatmaps: Floats, fields: Floats, geometry: MapGeometry, skeleton: Skeleton, rules: DecodeRules = ORIGINAL_RULES,
    threads: int = 1,
) -> People:  # fmt: skip
    """People in one image.

    `heatmaps` (num_heatmaps, h, w) and `fields` (num_fields, h, w) float32 (`_map`); the last heatmap (background) is
    not looked at. The coordinates of the result are result pixels of the geometry (`_img` on the validation path), its
    candidates are sorted by type, x, y; of its counts, a point that two limbs set counts twice, one that only closes a
    gap does not. Ties between limb scores: see `limb_matching.connect`. Much work, of a crowd or of noise, is divided
    among `threads`. Raises UserError where shapes do not fit the skeleton or the geometry.
    """
    heatmaps, fields = checked(heatmaps, fields, skeleton)
    rows, columns = geometry.operators((heatmaps.shape[1], heatmaps.shape[2]))
    heatmaps, heat_range = finite(heatmaps[: skeleton.num_points])
    fields, field_range = finite(fields)
    peaks, peak_scores, starts = _find_peaks(heatmaps, heat_range, rows, columns, skeleton, rules, threads)
    limbs, closing = limb_table(skeleton, skeleton.assembly)
    pairs, pair_scores, pair_starts = connect_all(
        fields, field_range, rows, columns, _first_tail(skeleton.num_fields, columns), peaks, starts, limbs,
        sample_order(rules.num_samples), _as_float32(rules.min_limb_score), rules.needed_samples, threads,
    )  # fmt: skip
    people = assemble(
        skeleton.num_points, limbs, closing, pairs, pair_scores, pair_starts, peak_scores, rules.min_points,
        float(rules.min_person_score),
    )  # fmt: skip
    types = np.repeat(np.arange(skeleton.num_points), np.diff(starts))
    return People(np.column_stack((peaks, peak_scores, types)).astype(np.float64), *people)


def decode_batch(
    heatmaps: Floats,
    fields: Floats,
    geometries: Sequence[MapGeometry],
    skeleton: Skeleton,
    rules: DecodeRules = ORIGINAL_RULES,
    threads: int = 1,
) -> list[People]:
    """`decode` of each image of a batch: (B, num_heatmaps, h, w) and (B, num_fields, h, w), one geometry an image."""
    if not len(heatmaps) == len(fields) == len(geometries):
        raise UserError(f"{len(heatmaps)} heatmaps, {len(fields)} fields, {len(geometries)} geometries: must be equal")

    def one(i: int) -> People:
        return decode(heatmaps[i], fields[i], geometries[i], skeleton, rules, max(1, threads // len(heatmaps)))

    return of_each(one, len(heatmaps), threads)


def decode_scales(
    scales: Sequence[tuple[Floats, Floats, MapGeometry]], skeleton: Skeleton, rules: DecodeRules = ORIGINAL_RULES
) -> People:
    """People in one image that was seen at several scales: (heatmaps, fields, geometry) of each, of one result size.

    Full-resolution maps are built and averaged in float32, as in the original (spec A7).
    """
    sizes = {geometry.size for _, _, geometry in scales}
    if len(sizes) != 1:
        raise UserError(f"the scales of an image must have one result size, not {sorted(sizes)}")
    heatmaps, fields = (
        sum(_full_resolution(scale[kind], scale[2]) / np.float32(len(scales)) for scale in scales) for kind in (0, 1)
    )
    return decode(heatmaps, fields, MapGeometry.identity(sizes.pop()), skeleton, rules)


def to_coco(people: People, skeleton: Skeleton, rules: DecodeRules = ORIGINAL_RULES) -> tuple[Doubles, Doubles]:
    """COCO results (spec A7, convert_to_coco_format): (M, num_keypoints, 3) float64 x_img, y_img, v; (M,) scores.

    v is 1, and 0, 0, 0 stands for a missing keypoint; coordinates get 0.5 added where `rules.half_pixel`. A person's
    score is its score times its count less one.
    """
    keypoints = people.keypoints(skeleton)
    keypoints[..., :2] += 0.5 * rules.half_pixel * keypoints[..., 2:]
    return keypoints, people.scores * np.maximum(0, people.counts - 1)


def demo_to_image(
    points: Doubles, stride: int, pad: tuple[int, int, int, int], scale: float, upsampling: int = DEMO_UPSAMPLING
) -> Doubles:
    """(..., 2) float64 x, y in pixels of a map enlarged `upsampling` times -> original pixels (spec A8).

    `pad` (top, left, bottom, right) in network-input pixels, `scale` network-input pixels an original pixel.
    """
    return (np.asarray(points, np.float64) * stride / upsampling - np.array([pad[1], pad[0]])) / scale


def warm_up(skeleton: Skeleton, rules: DecodeRules = ORIGINAL_RULES) -> None:
    """Compiles the decoder, or loads it from the cache, so that the first image is not the slow one."""
    heatmaps = np.zeros((skeleton.num_heatmaps, 8, 8), np.float32)
    fields = np.zeros((skeleton.num_fields, 8, 8), np.float32)
    heatmaps[:, 4, 4] = 1
    decode(heatmaps, fields, MapGeometry(8, (0, 0, 0, 0), (64, 64)), skeleton, rules)


def _as_float32(threshold: float) -> float:
    """A threshold as it compares with float32 values."""
    return float(np.float32(threshold))


def _first_tail(count: int, columns: Axis) -> int:
    """The first of `count` interleaved maps that lies past the last full SIMD register of an image row."""
    return count - count * len(columns.base) % SIMD_LANES


def _find_peaks(
    maps: Floats, limits: Floats, rows: Axis, columns: Axis, skeleton: Skeleton, rules: DecodeRules, threads: int
) -> tuple[Integers, Floats, Integers]:
    """(N, 2) int64 x, y, (N,) float32 scores and (num_points + 1,) starts of each type's peaks."""
    threshold, tail = _as_float32(rules.heatmap_threshold), _first_tail(skeleton.num_heatmaps, columns)
    points, certain, starts, flat = all_candidates(maps, limits, rows, columns, threshold, threads)
    for c in np.flatnonzero(flat):
        flat_points = _peaks_of(exact_map(maps[c], rows, columns), threshold, c >= tail)
        points = np.insert(points, starts[c], flat_points, axis=0)
        certain = np.insert(certain, starts[c], np.zeros(len(flat_points), bool))
        starts[c + 1 :] += len(flat_points)
    peaks, scores, starts = settle_peaks(
        maps, rows, columns, tail, threshold, float(rules.nms_radius), points, certain, starts
    )
    if np.diff(starts).max() <= rules.max_peaks:
        return peaks, scores, starts
    kept, starts = best_of_each_type(scores, starts, rules.max_peaks)
    return peaks[kept], scores[kept], starts


def _peaks_of(image: Floats, threshold: float, tail: bool) -> npt.NDArray[np.uintp]:
    """(N, 2) uintp x, y, by x, then y: the peaks of a map of exact values, and all that a tail column may change."""
    padded = np.pad(image, 1, constant_values=-np.inf)
    around = (padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1])
    lead = (image >= np.float32(threshold)) & np.logical_and.reduce([image > other for other in around])
    lead[:, -2:] |= tail & (image[:, -2:] >= np.float32(threshold))
    return np.argwhere(lead.T).astype(np.uintp)


def _full_resolution(maps: Floats, geometry: MapGeometry) -> Floats:
    """(C, h, w) float32 -> (C, height, width) by OpenCV, all maps in one call: its rounding depends on that."""
    if not len(maps):
        return np.zeros((0, *geometry.size), np.float32)
    enlarged = np.ascontiguousarray(np.moveaxis(maps, 0, -1), np.float32)
    enlarged = cv2.resize(enlarged, None, fx=geometry.stride, fy=geometry.stride, interpolation=cv2.INTER_CUBIC)
    top, left, bottom, right = geometry.pad
    enlarged = enlarged[top : enlarged.shape[0] - bottom, left : enlarged.shape[1] - right]
    resized = cv2.resize(enlarged, geometry.size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(np.moveaxis(resized.reshape(*geometry.size, -1), -1, 0))
