# SPDX-License-Identifier: Apache-2.0
"""Decoder: heatmaps and part affinity fields (pafs) of a network -> people -> COCO keypoints.

By default points are placed and grouped better than in the original, whose people come with `original`: on the maps of
a perfect network for the 32 labelled coco-mini validation images AP is .786, the original's .743. What both OpenPoses
share is in `common.bottomup`. NumPy in, NumPy out; the first call on a machine compiles for some seconds.
"""

from functools import lru_cache

from common.arrays import Float32Array, Float64Array
from common.bottomup.assembly import DecodedPeople, Person, checked_maps, select
from common.bottomup.maps import Axis, LimbRule, Peaks, axis_of, find_pairs, find_peaks
from common.cli import UserError
from common.skeleton import Skeleton
from OpenPose_MindSpore_port.config import DecodeRules

import cv2
import numpy as np

Size = tuple[int, int]  # height, width
DEFAULT_RULES = DecodeRules()
GAUSSIAN_REACH = 4.0  # standard deviations at which the smoothing Gaussian is cut
MOST_PEAKS = 100  # of a type, the best: work on noise grows with their square; the original takes all


def decode(
    heatmaps: Float32Array,
    pafs: Float32Array,
    sizes: tuple[Size, Size],
    skeleton: Skeleton,
    rules: DecodeRules = DEFAULT_RULES,
    original: bool = False,
) -> DecodedPeople:
    """People in one image, coordinates in original pixels (`_img`).

    Args:
        heatmaps: (num_heatmaps, h, w) float32; the last map, the background, is ignored.
        pafs: (num_pafs, h, w) float32.
        sizes: (height, width) of the network's input, and of the image that was resized to it.
        skeleton: The points and limbs of the maps.
        rules: Thresholds.
        original: Points at whole pixels, multiplied back to the image; all peaks; its rule of joining.

    Raises:
        UserError: Shapes do not fit the skeleton, or a size is not positive.
    """
    heatmaps, pafs = checked_maps(heatmaps, pafs, skeleton)
    size_in, size_img = sizes
    if min(*size_in, *size_img) < 1:
        raise UserError(f"network input of {size_in} and image of {size_img} pixels: sizes must be positive")
    sides = list(zip(pafs.shape[1:], size_in, strict=True))
    smooth = tuple(_axis(*side, rules.gaussian_sigma) for side in sides)
    most = 0 if original else MOST_PEAKS
    peaks = _by_rows(find_peaks(heatmaps, smooth, rules.heatmap_peak_thresh, 0.0, most))
    longest = rules.limb_length_ratio * (size_in[1] if original else max(size_in))
    needed, penalty = rules.n_integ_points_thresh + 1, rules.length_penalty_value
    limb_rule = LimbRule(rules.n_integ_points, rules.inner_product_thresh, needed, True, longest, penalty)
    axes, people, scores = tuple(_axis(*side) for side in sides), list[Person](), peaks.candidates[:, 2].tolist()
    for limb, (a, b) in enumerate(skeleton.limb_points.tolist()):
        for row_a, (row_b, score) in find_pairs(pafs[2 * limb :][:2], axes, peaks, (a, b), limb_rule).items():
            new = Person({a: row_a, b: row_b}, scores[row_a] + scores[row_b] + score, 2)
            join(people, new, score, scores, original, limb not in skeleton.closing_limbs)
    places = peaks.candidates[:, :2] if original else _places(heatmaps, peaks, size_in)
    centre = 0.0 if original else 0.5  # images are resized about the centres of pixels
    candidates = np.hstack(((places + centre) * size_img[::-1] / size_in[::-1] - centre, peaks.candidates[:, 2:]))
    return select(people, candidates, skeleton.num_points, rules.n_subset_limbs_thresh, rules.subset_score_thresh)


def join(people: list[Person], limb: Person, score: float, scores: list[float], original: bool, begins: bool) -> None:
    """Adds a limb, a person of two points, to the people who have one of them; if there are none, it may start one.

    Two people without a type in common become one; others fill their gaps, each the first one of the limb. By the
    original's rule a single owner gets the second point whatever was there, counted again. `score`: of the
    limb alone; `scores`: of the candidates.
    """
    (a, row_a), (b, row_b) = limb.points.items()
    owners = [person for person in people if person.points.get(a) == row_a or person.points.get(b) == row_b]
    if len(owners) == 2 and not owners[0].points.keys() & owners[1].points.keys():
        owners[0].points |= owners[1].points
        owners[0].score += owners[1].score + score
        owners[0].count += owners[1].count
        people.remove(owners[1])
    elif begins and not owners:
        people.append(limb)
    elif len(owners) == 1 and original:
        if owners[0].points.get(b) != row_b:
            owners[0].add(b, row_b, scores[row_b] + score)
    elif len(owners) <= 2:
        for person in owners:
            for end in [end for end in limb.points if end not in person.points][:1]:
                person.add(end, limb.points[end], scores[limb.points[end]] + score)


def to_coco(people: DecodedPeople, skeleton: Skeleton, original: bool = False) -> tuple[Float64Array, Float64Array]:
    """COCO results: (M, num_keypoints, 3) float64 x_img, y_img, v; (M,) scores, a person's total.

    v is 2; 0, 0, 0 is a missing keypoint. The original rounds to whole pixels.
    """
    keypoints = people.keypoints(skeleton) * (1, 1, 2)
    return np.rint(keypoints) if original else keypoints, people.scores


@lru_cache(maxsize=1024)
def _axis(cells: int, pixels: int, sigma: float = 0.0) -> Axis:
    """A bilinear enlargement, then a Gaussian of `sigma` pixels that is reflected at the border."""
    matrix = cv2.resize(np.eye(cells), (cells, pixels), interpolation=cv2.INTER_LINEAR)
    if radius := int(GAUSSIAN_REACH * sigma + 0.5):
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
