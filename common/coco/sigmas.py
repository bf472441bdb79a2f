# SPDX-License-Identifier: Apache-2.0
"""How accurately people annotate each keypoint, from images annotated twice.

    python -m common.coco --estimate_sigmas=first.json,second.json

OKS needs sigma of each keypoint, with sigma^2 = E[d^2 / s^2]: d is the distance of an annotation from the true place,
s^2 the person's area (cocodataset.org, "Keypoint evaluation"). The true place is unknown: of two annotations that are
e apart, e^2 / 2 takes the place of d^2.
"""

from collections.abc import Sequence
from pathlib import Path

from common.arrays import Float64Array
from common.cli import UserError
from common.coco.annotations import CocoIndex
from common.coco.reader import load

import numpy as np

FARTHEST = 0.5  # of the root of the area: two annotations whose keypoints are farther apart are of different people
FEW = 10  # repeated annotations of a keypoint, below which its sigma is unreliable


def estimate(paths: Sequence[str | Path]) -> str:
    """The line of a skeleton file, and the number of people for each value.

    `paths`: two annotation files of the same images, matched by their names. Raises UserError, naming the file.
    """
    if len(paths) != 2:  # noqa: PLR2004
        raise UserError("--estimate_sigmas=first.json,second.json: two annotation files of the same images are needed")
    first, second = load(paths[0]), load(paths[1])
    rows = {second.file_name(row): row for row in range(second.num_images)}
    shared = [(row, rows[name]) for row in range(first.num_images) if (name := first.file_name(row)) in rows]
    if not shared:
        raise UserError(f"{paths[1]}: no image of {paths[0]}; annotate the same images again, under the same names")
    squares = np.concatenate([_squares(first, second, *images) for images in shared])
    counts = np.isfinite(squares).sum(axis=0)
    sigmas = np.sqrt(np.nansum(squares, axis=0) / np.maximum(counts, 1) / 2)
    names = first.keypoint_names.tolist() or list(map(str, range(len(sigmas))))
    if copied := [name for name, sigma, count in zip(names, sigmas, counts, strict=True) if sigma == 0 < count]:
        what = f"{copied[0]} is at identical places in both; two people must annotate independently"
        raise UserError(f"{paths[0]}, {paths[1]}: {what}")
    values = ", ".join(f"{sigma:.3f}" if count else "?" for sigma, count in zip(sigmas, counts, strict=True))
    few = ", ".join(f"{name} ({count})" for name, count in zip(names, counts, strict=True) if count < FEW)
    behind = f"# people annotated twice: {counts.min()} to {counts.max()} of a keypoint"
    return f"sigmas: [{values}]\n{behind}" + (f"\n# too few to rely on: {few}" if few else "")


def _squares(first: CocoIndex, second: CocoIndex, row: int, other_row: int) -> Float64Array:
    """(N, K) squared distances over the area of N people of an image, each other's nearest; NaN: not in both."""
    a = first.keypoints[first.people(row), None].astype(np.float64)
    b = second.keypoints[None, second.people(other_row)].astype(np.float64)
    squares = ((a[..., :2] - b[..., :2]) ** 2).sum(axis=-1) / first.areas[first.people(row), None, None]
    squares[(a[..., 2] <= 0) | (b[..., 2] <= 0)] = np.nan
    there = np.isfinite(squares)
    means = np.sqrt(np.nansum(squares, axis=2) / np.maximum(there.sum(axis=2), 1))
    means[~there.any(axis=2) | (means > FARTHEST)] = np.inf
    if not means.size:
        return np.empty((0, squares.shape[2]))
    nearest = np.isfinite(means) & (means == means.min(axis=1, keepdims=True)) & (means == means.min(axis=0))
    return np.asarray(squares[nearest])
