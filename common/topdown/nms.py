# SPDX-License-Identifier: Apache-2.0
"""The same person found twice counts once: suppression by object keypoint similarity (OKS), many images in one call.

Both top-down models end their evaluation with it. The people of an image are taken best first; who
is too similar to one that stays goes. All pairs of all images are compared in one array operation, so that only the
few pairs that are too similar are walked through one by one.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from common.arrays import FloatArray, Int64Array

import numpy as np
import numpy.typing as npt

OKS_THRESHOLD = 0.9  # both originals
CONFIDENT = 0.2  # of a keypoint's score, from where it counts in a person's (both originals)
SOFT_MAX_PEOPLE = 20  # an image, in the soft variant
_PAIRS_AT_ONCE = 1 << 10  # keeps the arrays within a core's cache, and a crowd from filling the memory


class Ranked(NamedTuple):
    """N people, image after image in the order in which the images first occur, the best of an image first.

    `rows` (N,): their places in the input. `sizes` (I,): how many each image has.
    """

    rows: Int64Array
    sizes: Int64Array


def rank(scores: npt.ArrayLike, images: npt.ArrayLike | None = None, *, last_first: bool = False) -> Ranked:
    """Sorts people by image and falling score; `scores` (N,), `images` (N,) numbers or names, None: all of one image.

    Of equal scores the first in the input comes first, or with `last_first` the last.
    """
    scores = np.asarray(scores)
    places = np.arange(len(scores))
    owners = np.zeros(len(scores), np.int64) if images is None else _by_first_occurrence(np.asarray(images))
    rows = np.lexsort((-places if last_first else places, -scores, owners))
    return Ranked(rows, np.bincount(owners).astype(np.int64))


def _by_first_occurrence(images: npt.NDArray[Any]) -> Int64Array:
    """(N,) the number of each person's image, counted in the order in which the images first occur."""
    _, first, inverse = np.unique(images, return_index=True, return_inverse=True)
    numbers = np.empty(len(first), np.int64)
    numbers[np.argsort(first)] = np.arange(len(first))
    return numbers[inverse]


def pairs(sizes: Int64Array) -> Iterator[tuple[Int64Array, Int64Array]]:
    """Every two people of one image, in parts: (a, b), places in the order of `rank` with a before b, a rising."""
    people = int(sizes.sum())
    left = np.arange(people)
    followers = np.repeat(np.cumsum(sizes), sizes) - left - 1
    ends = np.cumsum(followers)
    start = 0
    while start < people:
        before = ends[start] - followers[start]
        stop = max(start + 1, int(np.searchsorted(ends, before + _PAIRS_AT_ONCE, "right")))
        counts = followers[start:stop]
        a = np.repeat(left[start:stop], counts)
        yield a, np.arange(len(a)) - np.repeat(ends[start:stop] - counts - before, counts) + a + 1
        start = stop


def owners(num_people: int, too_similar: Iterable[tuple[int, int]]) -> Int64Array:
    """(N,) whom each person belongs to: itself where it stays, else the best person that suppressed it.

    `too_similar`: pairs (a, b) in the order of `pairs`. Who has gone suppresses nobody.
    """
    owner = list(range(num_people))
    for a, b in too_similar:
        if owner[a] == a and owner[b] == b:
            owner[b] = a
    return np.array(owner, np.int64)


def pair_oks(
    keypoints_img: FloatArray,
    areas_img: npt.ArrayLike,
    sigmas: npt.ArrayLike,
    left: Int64Array,
    right: Int64Array,
) -> npt.NDArray[np.float64]:
    """(P,) the OKS of people `left[i]` and `right[i]`.

    `keypoints_img` (N, K, 2 or more) x, y in original pixels; `areas_img` (N,) square pixels, of the padded box;
    `sigmas` (K,), `Skeleton.sigmas`. OKS = mean over k of exp(-d_k^2 / (2 sigma_k)^2 / area / 2), `area` the mean of
    both. Raises ValueError for another number of sigmas.
    """
    variances = (2 * np.asarray(sigmas, np.float64)) ** 2
    if keypoints_img.shape[1] != len(variances):
        raise ValueError(f"{keypoints_img.shape[1]} keypoints, {len(variances)} sigmas: those of another skeleton?")
    areas = np.asarray(areas_img, np.float64)
    area = (areas[left] + areas[right]) / 2 + np.spacing(1)
    x, y = (np.ascontiguousarray(keypoints_img[..., axis]) for axis in (0, 1))
    distance = (x[left] - x[right]) ** 2 + (y[left] - y[right]) ** 2
    similarity = np.exp(-(distance / variances / area[:, None] / 2))
    return np.asarray(similarity.sum(1) / len(variances))


def oks_matrix(keypoints_img: FloatArray, areas_img: npt.ArrayLike, sigmas: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(N, N) the OKS of everybody with everybody; arguments as `pair_oks`."""
    people = len(keypoints_img)
    left, right = np.divmod(np.arange(people * people), max(people, 1))
    return pair_oks(keypoints_img, areas_img, sigmas, left, right).reshape(people, people)


def oks_nms(
    keypoints_img: FloatArray,
    areas_img: npt.ArrayLike,
    scores: npt.ArrayLike,
    sigmas: npt.ArrayLike,
    threshold: float = OKS_THRESHOLD,
    images: npt.ArrayLike | None = None,
) -> Int64Array:
    """(M,) the people that stay, as rows of the input: image after image as they first occur, best first.

    `scores` (N,): who comes first; of equal ones the last in the input (as the original's reversed sort). `images`
    (N,): whose similarity matters; None: all stand in one image. Somebody goes whose OKS with one that stays is above
    `threshold`. The other arguments as `pair_oks`; `areas_img` may be zero.
    """
    ranked = rank(scores, images, last_first=True)
    keypoints, areas = keypoints_img[ranked.rows], np.asarray(areas_img, np.float64)[ranked.rows]
    owner = owners(len(keypoints), _above(keypoints, areas, sigmas, threshold, ranked.sizes))
    return np.asarray(ranked.rows[owner == np.arange(len(owner))])


def _above(
    keypoints: FloatArray,
    areas: FloatArray,
    sigmas: npt.ArrayLike,
    threshold: float,
    sizes: Int64Array,
) -> Iterator[tuple[int, int]]:
    for a, b in pairs(sizes):
        above = pair_oks(keypoints, areas, sigmas, a, b) > threshold
        yield from zip(a[above].tolist(), b[above].tolist(), strict=True)


def soft_oks_nms(
    keypoints_img: FloatArray,
    areas_img: npt.ArrayLike,
    scores: npt.ArrayLike,
    sigmas: npt.ArrayLike,
    threshold: float = OKS_THRESHOLD,
    images: npt.ArrayLike | None = None,
) -> Int64Array:
    """(M,) at most SOFT_MAX_PEOPLE of each image, put in a new order: nobody goes for being similar, but comes later.

    After each choice the scores of the others are multiplied by exp(-OKS^2 / threshold). Arguments as
    `oks_nms`.
    """
    ranked, areas = rank(scores, images, last_first=True), np.asarray(areas_img, np.float64)
    values = np.asarray(scores, np.float64)
    chosen = []
    for rows in np.split(ranked.rows, np.cumsum(ranked.sizes)[:-1]):
        decay = np.exp(-(oks_matrix(keypoints_img[rows], areas[rows], sigmas) ** 2) / threshold)
        chosen.append(rows[_softly(values[rows], decay)])
    return np.concatenate([np.zeros(0, np.int64), *chosen])


def _softly(scores: FloatArray, decay: FloatArray) -> list[int]:
    """The order of choice; `scores` (n,) falling, `decay` (n, n). The original reverses ties anew in each round."""
    waiting, order = np.arange(len(scores)), list[int]()
    while len(waiting) and len(order) < SOFT_MAX_PEOPLE:
        best, waiting = int(waiting[0]), waiting[1:]
        order.append(best)
        scores = scores[1:] * decay[best, waiting]
        turn = np.argsort(scores, kind="stable")[::-1]
        waiting, scores = waiting[turn], scores[turn]
    return order


def confident_mean(keypoint_scores: FloatArray, threshold: float = CONFIDENT) -> FloatArray:
    """(N,) the mean of a person's keypoint scores above `threshold`, 0 where there is none; `keypoint_scores` (N, K).

    Times the box's score this is a person's score in both models. Summed in keypoint order and in
    the input's precision, as the originals do.
    """
    by_keypoint = np.ascontiguousarray(keypoint_scores.T)
    confident = by_keypoint > threshold
    total = np.where(confident, by_keypoint, 0).sum(0, dtype=by_keypoint.dtype)
    return np.asarray(total / np.maximum(confident.sum(0), 1).astype(by_keypoint.dtype))
