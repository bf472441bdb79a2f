# SPDX-License-Identifier: Apache-2.0
"""Decoder: heatmaps and part affinity fields of a network -> people -> COCO keypoints.

The people are those of the original with `ORIGINAL_RULES`; the default rules place and group points better. What it
shares with Lightweight OpenPose is in `common.bottomup`. NumPy in, NumPy out. The first call on a machine compiles for
some seconds, see `warm_up`.
"""

from dataclasses import dataclass
from functools import lru_cache

from common.arrays import Float32Array, Float64Array
from common.bottomup.assembly import People, Person, checked_maps, select
from common.bottomup.limbs import LimbRule, find_pairs
from common.bottomup.peaks import Axis, Peaks, axis_of, find_peaks
from common.cli import UserError
from common.skeleton import Skeleton

import cv2
import numpy as np

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class DecodeRules:
    """Thresholds of the decoder, the original's, and where its rules are changed for better ones.

    On the maps of a perfect network for the 32 labelled coco-mini validation images the default rules give AP .786, the
    original's .743.
    """

    smoothing_sigma: float = 2.5  # of the Gaussian that smooths heatmaps, network-input pixels
    smoothing_truncate: float = 4.0  # sigmas at which it is cut
    heatmap_threshold: float = 0.05  # the least value of a peak
    num_samples: int = 10  # of the field along a pair of peaks
    min_limb_score: float = 0.05  # a sample counts above it
    samples_to_exceed: int = 8  # a pair counts if more samples do
    limb_length_ratio: float = 1.0  # its score falls by min(limb_length_ratio * size / length - length_penalty, 0)
    length_penalty: float = 1.0
    min_points: int = 3  # of a person
    min_person_score: float = 0.2  # mean over a person's points
    sub_pixel: bool = True  # points at the top of a Gaussian through the cells around the peak; else at pixels
    pixel_centres: bool = (
        True  # pixels become original ones about their centres, as images are resized; else multiplied
    )
    longer_side: bool = True  # the size above is the longer side of the network input; else its width
    fill_only: bool = True  # a person's points are never overwritten, either end of a pair is taken; else see `join`
    round_results: bool = False  # COCO keypoints are whole numbers
    max_peaks: int = 100  # of a type, the best: work on noise grows with their square; 0 for no bound

    def __post_init__(self) -> None:
        if self.num_samples < 2:
            raise UserError(f"num_samples={self.num_samples}: must be 2 or more, a limb has two ends")
        if not self.heatmap_threshold > 0 or self.max_peaks < 0:
            raise UserError(f"{self}: heatmap_threshold must be positive, max_peaks not negative")
        if not (self.smoothing_sigma >= 0 and self.smoothing_truncate >= 0):
            raise UserError(f"{self}: smoothing_sigma and smoothing_truncate must not be negative")


DEFAULT_RULES = DecodeRules()
ORIGINAL_RULES = DecodeRules(
    sub_pixel=False, pixel_centres=False, longer_side=False, fill_only=False, round_results=True, max_peaks=0
)


def decode(
    heatmaps: Float32Array, fields: Float32Array, size_in: Size, size_img: Size, skeleton: Skeleton,
    rules: DecodeRules = DEFAULT_RULES,
) -> People:  # fmt: skip
    """People in one image, coordinates in original pixels (`_img`).

    `heatmaps` (num_heatmaps, h, w), of which the last (background) is not looked at, and `fields` (num_fields, h, w)
    float32 (`_map`), the last stage's. `size_in` of the network input, to which an image of `size_img` was resized.
    Candidates come by type, y, x. Raises UserError where shapes do not fit the skeleton or a size is not positive.
    """
    heatmaps, fields = checked_maps(heatmaps, fields, skeleton)
    if min(*size_in, *size_img) < 1:
        raise UserError(f"network input of {size_in} and image of {size_img} pixels: sizes must be positive")
    sides = list(zip(fields.shape[1:], size_in, strict=True))
    smooth = tuple(_axis(*side, rules.smoothing_sigma, rules.smoothing_truncate) for side in sides)
    peaks = _by_rows(find_peaks(heatmaps, smooth, rules.heatmap_threshold, 0.0, rules.max_peaks))
    longest = rules.limb_length_ratio * (max(size_in) if rules.longer_side else size_in[1])
    rule = LimbRule(
        rules.num_samples, float(rules.min_limb_score), rules.samples_to_exceed + 1, True, float(longest),
        float(rules.length_penalty),
    )  # fmt: skip
    axes, people, scores = tuple(_axis(*side) for side in sides), list[Person](), peaks.candidates[:, 2].tolist()
    for limb, ends in enumerate(skeleton.limb_points.tolist()):
        for a, (b, score) in find_pairs(fields[2 * limb : 2 * limb + 2], axes, peaks, ends, rule).items():
            pair = {ends[0]: a, ends[1]: b}
            join(people, pair, score, scores, rules.fill_only, limb not in skeleton.closing_limbs)
    places = _places(heatmaps, peaks, size_in) if rules.sub_pixel else peaks.candidates[:, :2]
    centre = 0.5 if rules.pixel_centres else 0.0
    candidates = np.hstack(((places + centre) * size_img[::-1] / size_in[::-1] - centre, peaks.candidates[:, 2:]))
    return select(people, candidates, skeleton.num_points, rules.min_points, rules.min_person_score)


def join(
    people: list[Person], pair: dict[int, int], score: float, scores: list[float], fill_only: bool, begins: bool
) -> None:
    """Gives a pair {type: row of the candidates} to those who have an end of it; where nobody has, it may begin one.

    Two people without a type in common become one; others fill their gaps, each the first one of the pair. By the
    original's rule (not `fill_only`) a single owner gets the second end over whatever stood there, counted again.
    """
    (a, row_a), (b, row_b) = pair.items()
    owners = [person for person in people if person.points.get(a) == row_a or person.points.get(b) == row_b]
    if len(owners) == 2 and not owners[0].points.keys() & owners[1].points.keys():
        owners[0].points |= owners[1].points
        owners[0].score += owners[1].score + score
        owners[0].count += owners[1].count
        people.remove(owners[1])
    elif begins and not owners:
        people.append(Person(pair, scores[row_a] + scores[row_b] + score, 2))
    elif len(owners) == 1 and not fill_only:
        if owners[0].points.get(b) != row_b:
            owners[0].add(b, row_b, scores[row_b] + score)
    elif len(owners) <= 2:
        for person in owners:
            for end in [end for end in pair if end not in person.points][:1]:
                person.add(end, pair[end], scores[pair[end]] + score)


def to_coco(
    people: People, skeleton: Skeleton, rules: DecodeRules = DEFAULT_RULES
) -> tuple[Float64Array, Float64Array]:
    """COCO results: (M, num_keypoints, 3) float64 x_img, y_img, v; (M,) scores, a person's total.

    v is 2; 0, 0, 0 stands for a missing keypoint.
    """
    keypoints = people.keypoints(skeleton) * (1, 1, 2)
    return np.rint(keypoints) if rules.round_results else keypoints, people.scores


def warm_up(skeleton: Skeleton, rules: DecodeRules = DEFAULT_RULES) -> None:
    """Compiles the decoder, or loads what was compiled before, so that the first image is not the slow one."""
    heatmaps, fields = (np.ones((count, 8, 8), np.float32) for count in (skeleton.num_heatmaps, skeleton.num_fields))
    decode(heatmaps, fields, (64, 64), (64, 64), skeleton, rules)


@lru_cache(maxsize=1024)
def _axis(cells: int, pixels: int, sigma: float = 0.0, truncate: float = 0.0) -> Axis:
    """A bilinear enlargement, then a Gaussian of `sigma` pixels that is reflected at the border."""
    matrix = cv2.resize(np.eye(cells), (cells, pixels), interpolation=cv2.INTER_LINEAR)
    if radius := int(truncate * sigma + 0.5):
        weights = np.exp(-0.5 / sigma**2 * np.arange(-radius, radius + 1) ** 2)
        matrix = cv2.sepFilter2D(matrix, -1, np.ones(1), weights / weights.sum(), borderType=cv2.BORDER_REFLECT)
    return axis_of(matrix)


def _by_rows(peaks: Peaks) -> Peaks:
    """The same peaks, those of a type by y, then x."""
    order = np.lexsort(peaks.candidates[:, [0, 1, 3]].T)
    return Peaks(peaks.candidates[order], peaks.around[order], peaks.starts)


def _places(heatmaps: Float32Array, peaks: Peaks, size_in: Size) -> Float64Array:
    """(N, 2) x, y: the top of a Gaussian through the nearest cell and its neighbours, as targets are Gaussians.

    An enlarged map is made of straight lines, which draw its peak to the middle of a cell. Where the three cells are no
    Gaussian, the top of a parabola through the pixels.
    """
    pixels, value, types = peaks.candidates[:, :2], peaks.candidates[:, 2], peaks.candidates[:, 3].astype(int)
    shape = np.array(heatmaps.shape[:0:-1])
    cells = ((2 * pixels + 1) * shape // (2 * np.array(size_in[::-1]))).astype(int)
    places, padded = np.empty_like(pixels), np.pad(heatmaps, ((0, 0), (1, 1), (1, 1))).astype(np.float64)
    for axis, step in enumerate(np.eye(2, dtype=int)):
        before, middle, after = (padded[(types, *(cells + 1 + move * step).T[::-1])] for move in (-1, 0, 1))
        is_gaussian = (before > 0) & (before <= middle) & (middle >= after) & (after > 0)
        logs = np.log(np.where(is_gaussian, (before, middle, after), 1))
        by_cells = (cells[:, axis] + 0.5 + _top(*logs)) * size_in[1 - axis] / shape[axis] - 0.5
        by_pixels = pixels[:, axis] + _top(peaks.around[:, axis], value, peaks.around[:, axis + 2])
        places[:, axis] = np.where(is_gaussian, by_cells, by_pixels)
    return places


def _top(before: Float64Array, value: Float64Array, after: Float64Array) -> Float64Array:
    """Steps from the middle of three values to the top of a parabola through them: half a step at most, 0 if flat."""
    bend = 2 * value - before - after
    with np.errstate(invalid="ignore"):
        top = np.where((bend > 0) & (bend < np.inf), 0.5 * (after - before) / np.where(bend > 0, bend, np.inf), 0)
    return np.clip(top, -0.5, 0.5)
