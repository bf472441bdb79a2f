# SPDX-License-Identifier: Apache-2.0
"""How exactly people place each keypoint, from images that several of them have annotated.

    python -m common.coco --estimate_sigmas=first.json,second.json

OKS needs sigma of each keypoint, with sigma^2 = E[d^2 / s^2]: d is the distance of an annotation from the true place,
s^2 the person's area (cocodataset.org, "Keypoint evaluation"). The true place is not known: of n annotations the sum of
the squared distances from their mean, divided by n - 1, takes its part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.arrays import Float64Array, Int64Array
from common.cli import UserError
from common.coco.annotations import CocoIndex
from common.coco.reader import load

import numpy as np

FARTHEST = 0.5  # of the root of the area: two annotations whose keypoints lie farther apart are of different people
FEW = 10  # repeated annotations of a keypoint, below which its sigma says little


@dataclass(frozen=True)
class Estimate:
    """sigmas: (K,), NaN where no keypoint was annotated twice. counts: (K,) people with repeated annotations of it."""

    names: tuple[str, ...]
    sigmas: Float64Array
    counts: Int64Array

    def __str__(self) -> str:
        """The line of a skeleton file, and how many annotations are behind each number."""
        values = ", ".join("?" if np.isnan(sigma) else f"{sigma:.3f}" for sigma in self.sigmas)
        named = zip(self.names, self.counts.tolist(), strict=True)
        few = [f"{name} ({count})" for name, count in named if count < FEW]
        behind = f"# people annotated repeatedly: {self.counts.min()} to {self.counts.max()} of a keypoint"
        return f"sigmas: [{values}]\n{behind}" + (f"\n# too few to rely on: {', '.join(few)}" if few else "")


def estimate(paths: Sequence[str | Path]) -> Estimate:
    """From annotation files of the same images, which are known by their names. Raises UserError, naming the file."""
    if len(paths) < 2:  # noqa: PLR2004  nothing is repeated in one
        raise UserError("--estimate_sigmas=first.json,second.json: two annotation files of the same images are needed")
    first = load(paths[0])
    points = np.zeros((len(paths), *first.keypoints.shape))
    areas = np.zeros(points.shape[:2])
    points[0], areas[0] = first.keypoints, first.areas
    rows = {first.file_name(row): row for row in range(first.num_images)}
    for place, path in enumerate(paths[1:], 1):
        other = load(path, points.shape[2])
        shared = [(rows[name], row) for row in range(other.num_images) if (name := other.file_name(row)) in rows]
        if not shared:
            raise UserError(f"{path}: no image of {paths[0]}; annotate the same images again, under the same names")
        for mine, theirs in shared:
            for person, twin in _pairs(first, mine, other, theirs):
                points[place, person], areas[place, person] = other.keypoints[twin], other.areas[twin]
    names = [bytes(name).decode() for name in first.keypoint_names] or [str(place) for place in range(points.shape[2])]
    found = Estimate(tuple(names), *_sigmas(points, areas))
    if copied := [name for name, sigma in zip(names, found.sigmas, strict=True) if sigma == 0]:
        files = ", ".join(map(str, paths))
        raise UserError(f"{files}: {copied[0]} lies at the very same places in all; two people annotate each by itself")
    return found


def _pairs(first: CocoIndex, mine: int, other: CocoIndex, theirs: int) -> list[tuple[int, int]]:
    """The people of an image in both files: those nearest to each other, by the mean distance of their keypoints."""
    ours, twins = first.people(mine), other.people(theirs)
    a, b = first.keypoints[ours, None].astype(np.float64), other.keypoints[None, twins].astype(np.float64)
    both = (a[..., 2] > 0) & (b[..., 2] > 0)
    distances = np.hypot(*np.moveaxis(a[..., :2] - b[..., :2], 3, 0))
    means = np.where(both.any(axis=2), (distances * both).sum(axis=2) / np.maximum(both.sum(axis=2), 1), np.inf)
    means[means > FARTHEST * np.sqrt(first.areas[ours])[:, None]] = np.inf
    found = []
    while means.size and np.isfinite(means.min()):
        one, twin = map(int, np.unravel_index(means.argmin(), means.shape))
        found.append((ours.start + one, twins.start + twin))
        means[one], means[:, twin] = np.inf, np.inf
    return found


def _sigmas(points: Float64Array, areas: Float64Array) -> tuple[Float64Array, Int64Array]:
    """(F, P, K, 3) x, y, v and (F, P) px^2 of P people in F files, 0 where a file lacks one -> (K,) sigmas, counts."""
    labelled = points[..., 2] > 0
    times = labelled.sum(axis=0)
    middle = (points[..., :2] * labelled[..., None]).sum(axis=0) / np.maximum(times, 1)[..., None]
    squares = (((points[..., :2] - middle) ** 2).sum(axis=3) * labelled).sum(axis=0) / np.maximum(times - 1, 1)
    area = areas.sum(axis=0) / np.maximum((areas > 0).sum(axis=0), 1)
    repeated = (times > 1) & (area > 0)[:, None]
    people = repeated.sum(axis=0)
    sums = (squares / np.maximum(area, 1e-9)[:, None]).sum(axis=0, where=repeated)
    return np.where(people > 0, np.sqrt(sums / np.maximum(people, 1)), np.nan), people
