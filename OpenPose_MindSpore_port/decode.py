# SPDX-License-Identifier: Apache-2.0
"""Decoder: heatmaps and part affinity fields of a network -> people -> COCO keypoints (spec A7).

The people are those of the original with `ORIGINAL_RULES`; the default rules place and group points better. Maps of
the size of the network input are never built: `common.peak_windows` finds where a peak can be, `peaks` decides by exact
values, `limbs` scores pairs of peaks along the fields and `grouping` puts people together. NumPy in, NumPy out; the
work is compiled by numba (cached on disk; the first call after an installation takes some ten seconds, see `warm_up`)
and runs without Python's lock, so `decode_batch` can use threads.

Cells that are not finite count as 0: they never pass a threshold, and no message is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from common.bottomup.pafs import (
    Doubles,
    Floats,
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

import numpy as np

from .grouping import group
from .limbs import connect
from .peaks import find_peaks
from .smoothing import enlargement, smoothing

Size = tuple[int, int]


@dataclass(frozen=True)
class DecodeRules:
    """Thresholds of the decoder, the original's, and where its rules are changed for better ones (spec A7, bugs 13-15).

    Heatmaps are smoothed by a Gaussian of `smoothing_sigma` network-input pixels, cut at `smoothing_truncate` times
    that. A peak is above `heatmap_threshold` and its four neighbours. A pair of peaks is sampled at `num_samples`
    points; a sample counts above `min_limb_score`, the pair if more than `samples_to_exceed` of them do. Its score
    falls by min(limb_length_ratio * size / length - length_penalty, 0). A person needs `min_points` points and a mean
    score of `min_person_score`.

    `keep_ties`: of equal neighbours one is a peak; else neither. `sub_pixel`: points at the top of a Gaussian through
    the cells around the peak; else at pixels. `pixel_centres`: input pixels become original ones as the image was
    resized, about their centres; else they are multiplied. `longer_side`: the size in the penalty is the longer side of
    the network input; else its width. `fill_only`: a person's points are never overwritten, and either end of a pair is
    taken; else see `grouping.group`. `round_results`: COCO keypoints are whole numbers. `max_peaks` of a type, the
    best, bound the work on noise, which grows with their square; 0 for no bound. On the maps of a perfect network for
    the 32 labelled coco-mini validation images these rules give AP .786, the original's .743.
    """

    smoothing_sigma: float = 2.5
    smoothing_truncate: float = 4.0
    heatmap_threshold: float = 0.05
    num_samples: int = 10
    min_limb_score: float = 0.05
    samples_to_exceed: int = 8
    limb_length_ratio: float = 1.0
    length_penalty: float = 1.0
    min_points: int = 3
    min_person_score: float = 0.2
    keep_ties: bool = True
    sub_pixel: bool = True
    pixel_centres: bool = True
    longer_side: bool = True
    fill_only: bool = True
    round_results: bool = False
    max_peaks: int = 100

    def __post_init__(self) -> None:
        if self.num_samples < 2:
            raise UserError(f"num_samples={self.num_samples}: must be 2 or more, a limb has two ends")
        if not self.heatmap_threshold > 0 or self.max_peaks < 0:
            raise UserError(f"{self}: heatmap_threshold must be positive, max_peaks not negative")
        if not (self.smoothing_sigma >= 0 and self.smoothing_truncate >= 0):
            raise UserError(f"{self}: smoothing_sigma and smoothing_truncate must not be negative")


ORIGINAL_RULES = DecodeRules(
    keep_ties=False,
    sub_pixel=False,
    pixel_centres=False,
    longer_side=False,
    fill_only=False,
    round_results=True,
    max_peaks=0,
)


def decode(
    heatmaps: Floats,
    fields: Floats,
    size_in: Size,
    size_img: Size,
    skeleton: Skeleton,
    rules: DecodeRules = DecodeRules(),  # noqa: B008  frozen
) -> People:
    """People in one image, coordinates in original pixels (`_img`).

    `heatmaps` (num_heatmaps, h, w) and `fields` (num_fields, h, w) float32 (`_map`), the last stage's; the last heatmap
    (background) is not looked at. `size_in`, `size_img` (height, width) of the network input and of the original image,
    which was resized to it. Candidates are sorted by type, then y, x of the network input; scores are totals. UserError
    where shapes do not fit the skeleton or a size is not positive.
    """
    heatmaps, fields = checked(heatmaps, fields, skeleton)
    if min(*size_in, *size_img) < 1:
        raise UserError(f"network input of {size_in} and image of {size_img} pixels: sizes must be positive")
    pixels_in, places_in, scores, starts = _peaks(heatmaps[: skeleton.num_points], size_in, rules)
    limbs, closing = limb_table(skeleton, tuple(range(len(skeleton.limbs))))
    pairs, pair_scores, pair_starts = connect(
        finite(fields)[0], *_axes(enlargement, fields, size_in), pixels_in, starts, limbs,
        sample_order(rules.num_samples), float(rules.min_limb_score), rules.num_samples - rules.samples_to_exceed - 1,
        rules.limb_length_ratio * float(max(size_in) if rules.longer_side else size_in[1]), float(rules.length_penalty),
    )  # fmt: skip
    people = group(
        skeleton.num_points, limbs, closing, pairs, pair_scores, pair_starts, scores, rules.min_points,
        float(rules.min_person_score), not rules.fill_only,
    )  # fmt: skip
    points_img = _to_image(places_in if rules.sub_pixel else pixels_in, size_in, size_img, rules.pixel_centres)
    types = np.repeat(np.arange(skeleton.num_points), np.diff(starts))
    return People(np.column_stack((points_img, scores, types)), *people)


def decode_batch(
    heatmaps: Floats,
    fields: Floats,
    sizes_in: Sequence[Size],
    sizes_img: Sequence[Size],
    skeleton: Skeleton,
    rules: DecodeRules = DecodeRules(),  # noqa: B008  frozen
    threads: int = 1,
) -> list[People]:
    """`decode` of each image of a batch: (B, num_heatmaps, h, w), (B, num_fields, h, w), two sizes an image."""
    if not len(heatmaps) == len(fields) == len(sizes_in) == len(sizes_img):
        raise UserError(
            f"{len(heatmaps)} heatmaps, {len(fields)} fields, {len(sizes_in)} and {len(sizes_img)} sizes: must be equal"
        )

    def one(i: int) -> People:
        return decode(heatmaps[i], fields[i], sizes_in[i], sizes_img[i], skeleton, rules)

    return of_each(one, len(heatmaps), threads)


def to_coco(
    people: People, skeleton: Skeleton, rules: DecodeRules = DecodeRules()  # noqa: B008  frozen
) -> tuple[Doubles, Doubles]:  # fmt: skip
    """COCO results: (M, num_keypoints, 3) float64 x_img, y_img, v; (M,) scores, a person's total score (spec A7).

    v is 2, and 0, 0, 0 stands for a missing keypoint.
    """
    keypoints = people.keypoints(skeleton) * (1, 1, 2)
    return np.rint(keypoints) if rules.round_results else keypoints, people.scores


def warm_up(skeleton: Skeleton, rules: DecodeRules = DecodeRules()) -> None:  # noqa: B008  frozen
    """Compiles the decoder, or loads it from the cache, so that the first image is not the slow one."""
    heatmaps = np.zeros((skeleton.num_heatmaps, 8, 8), np.float32)
    fields = np.zeros((skeleton.num_fields, 8, 8), np.float32)
    heatmaps[:, 4, 4] = 1
    decode(heatmaps, fields, (64, 64), (64, 64), skeleton, rules)


def _axes(operator, maps, size_in, *arguments):
    return [operator(cells, int(pixels), *arguments) for cells, pixels in zip(maps.shape[1:], size_in, strict=True)]


def _to_image(points_in, size_in, size_img, pixel_centres):
    """(N, 2) x, y of the network input -> original pixels. An image is resized about the centres of its pixels, half a
    pixel inside its edge; the original multiplies coordinates instead."""
    centre = 0.5 if pixel_centres else 0.0
    return (points_in + centre) * size_img[::-1] / size_in[::-1] - centre


def _peaks(heatmaps, size_in, rules):
    """`peaks.find_peaks`, of each type the best `max_peaks`."""
    maps, limits = finite(heatmaps)
    rows, columns = _axes(smoothing, maps, size_in, float(rules.smoothing_sigma), float(rules.smoothing_truncate))
    found = find_peaks(maps, limits, rows, columns, float(rules.heatmap_threshold), rules.keep_ties)
    pixels_in, places_in, scores, starts = found
    if rules.max_peaks and np.diff(starts).max() > rules.max_peaks:
        kept, starts = best_of_each_type(scores, starts, rules.max_peaks)
        pixels_in, places_in, scores = pixels_in[kept], places_in[kept], scores[kept]
    return pixels_in, places_in, scores, starts
