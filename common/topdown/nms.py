# SPDX-License-Identifier: Apache-2.0
"""Suppression of duplicate people by object keypoint similarity (OKS), image by image.

The people of an image are taken best first; a person too similar to one that stays is dropped.
"""

from common.arrays import BoolArray, Float64Array, FloatArray, Int64Array

import numpy as np
import numpy.typing as npt

OKS_THRESHOLD = 0.9  # both originals
CONFIDENT = 0.2  # of a keypoint's score, from where it counts in a person's (both originals)


def by_image(scores: npt.ArrayLike, images: npt.ArrayLike | None = None, last_first: bool = False) -> list[Int64Array]:
    """The rows of each image's people, the best first, image after image as they first occur.

    `scores` (N,), `images` (N,) numbers or names, None: all of one image. Of equal scores the first in the input comes
    first, or with `last_first` the last.
    """
    scores, owners = np.asarray(scores), np.zeros(np.shape(scores), np.int64)
    if images is not None:
        _, first, inverse = np.unique(np.asarray(images), return_index=True, return_inverse=True)
        owners = first[inverse]
    places = np.arange(len(scores))
    rows = np.lexsort((-places if last_first else places, -scores, owners))
    return np.split(rows, np.flatnonzero(np.diff(owners[rows])) + 1)


def owners(same: BoolArray) -> Int64Array:
    """(n,) for each of n people, best first: itself where it stays, else the best one that suppressed it.

    `same` (n, n): which are the same person. A suppressed person suppresses no others.
    """
    owner = np.arange(len(same))
    for best in range(len(same)):
        if owner[best] == best:
            mine = same[best, best:] & (owner[best:] == np.arange(best, len(same)))
            owner[best:][mine] = best
    return owner


def oks_matrix(keypoints_img: FloatArray, areas_img: npt.ArrayLike, sigmas: npt.ArrayLike) -> Float64Array:
    """(N, N) the OKS of all pairs of people.

    `keypoints_img` (N, K, 2 or more) x, y in original pixels; `areas_img` (N,) square pixels, of the padded box;
    `sigmas` (K,), `Skeleton.sigmas`. OKS = mean over k of exp(-d_k^2 / (2 sigma_k)^2 / area / 2), `area` the mean of
    both. Raises ValueError for another number of sigmas.
    """
    variances = (2 * np.asarray(sigmas, np.float64)) ** 2
    if keypoints_img.shape[1] != len(variances):
        raise ValueError(f"{keypoints_img.shape[1]} keypoints, {len(variances)} sigmas: those of another skeleton?")
    areas, points = np.asarray(areas_img, np.float64), keypoints_img[..., :2]
    area = (areas[:, None] + areas) / 2 + np.spacing(1)
    distance = ((points[:, None] - points) ** 2).sum(axis=-1)
    return np.asarray(np.exp(-(distance / variances / area[..., None] / 2)).mean(axis=-1))


def oks_nms(
    keypoints_img: FloatArray,
    areas_img: npt.ArrayLike,
    scores: npt.ArrayLike,
    sigmas: npt.ArrayLike,
    threshold: float = OKS_THRESHOLD,
    images: npt.ArrayLike | None = None,
) -> Int64Array:
    """(M,) the people that stay, as rows of the input: image after image as they first occur, best first.

    `scores` (N,): the order; of equal ones the last in the input (as the original's reversed sort). `images`
    (N,): whose similarity matters; None: all are in one image. A person goes whose OKS with one that stays is above
    `threshold`. The other arguments as `oks_matrix`; `areas_img` may be zero.
    """
    areas, kept = np.asarray(areas_img, np.float64), []
    for rows in by_image(scores, images, last_first=True):
        owner = owners(oks_matrix(keypoints_img[rows], areas[rows], sigmas) > threshold)
        kept.append(rows[owner == np.arange(len(rows))])
    return np.concatenate(kept)


def confident_mean(keypoint_scores: FloatArray, threshold: float = CONFIDENT) -> FloatArray:
    """(N,) the mean of a person's keypoint scores above `threshold`, 0 where there is none; `keypoint_scores` (N, K).

    Times the box's score this is a person's score in both models. Summed in keypoint order and in the input's
    precision, as the originals do.
    """
    by_keypoint = np.ascontiguousarray(keypoint_scores.T)
    confident = by_keypoint > threshold
    total = np.where(confident, by_keypoint, 0).sum(0, dtype=by_keypoint.dtype)
    return np.asarray(total / np.maximum(confident.sum(0), 1).astype(by_keypoint.dtype))
