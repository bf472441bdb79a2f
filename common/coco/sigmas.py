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
    count = first.keypoints.shape[1]
    others = [load(path, count) for path in paths[1:]]
    rows = {first.file_name(row): row for row in range(first.num_images)}
    groups = [[person] for person in range(len(first.boxes))]
    pools = [first]
    for path, other in zip(paths[1:], others, strict=True):
        shared = [(rows[name], row) for row in range(other.num_images) if (name := other.file_name(row)) in rows]
        if not shared:
            raise UserError(f"{path}: no image of {paths[0]}; annotate the same images again, under the same names")
        for mine, theirs in shared:
            for person, twin in _pairs(first, mine, other, theirs):
                groups[person] += [-1] * (len(pools) - len(groups[person])) + [twin]
        pools.append(other)
    names = [bytes(name).decode() for name in first.keypoint_names] or [str(place) for place in range(count)]
    return Estimate(tuple(names), *_sigmas(pools, groups))


def _pairs(first: CocoIndex, mine: int, other: CocoIndex, theirs: int) -> list[tuple[int, int]]:
    """The people of an image in both files: those nearest to each other, by the mean distance of their keypoints."""
    ours, twins = (np.arange(i.people(row).start, i.people(row).stop) for i, row in ((first, mine), (other, theirs)))
    a, b = first.keypoints[ours].astype(np.float64), other.keypoints[twins].astype(np.float64)
    both = (a[:, None, :, 2] > 0) & (b[None, :, :, 2] > 0)
    distances = np.hypot(*np.moveaxis(a[:, None, :, :2] - b[None, :, :, :2], 3, 0))
    counts = both.sum(axis=2)
    means = np.where(counts > 0, (distances * both).sum(axis=2) / np.maximum(counts, 1), np.inf)
    found = []
    while means.size and np.isfinite(means.min()):
        one, twin = np.unravel_index(int(means.argmin()), means.shape)
        if means[one, twin] <= FARTHEST * np.sqrt(first.areas[ours[one]]):
            found.append((int(ours[one]), int(twins[twin])))
        means[one], means[:, twin] = np.inf, np.inf
    return found


def _sigmas(pools: Sequence[CocoIndex], groups: Sequence[Sequence[int]]) -> tuple[Float64Array, Int64Array]:
    """`groups`: the rows of each person in the files, -1 where a file does not have it."""
    count = pools[0].keypoints.shape[1]
    sums, people = np.zeros(count), np.zeros(count, np.int64)
    for group in groups:
        rows = [(pool, row) for pool, row in zip(pools, group, strict=False) if row >= 0]
        if len(rows) > 1:
            points = np.array([pool.keypoints[row] for pool, row in rows], np.float64)
            area = float(np.mean([pool.areas[row] for pool, row in rows]))
            labelled = points[..., 2] > 0
            times = labelled.sum(axis=0)
            middle = (points[..., :2] * labelled[..., None]).sum(axis=0) / np.maximum(times, 1)[:, None]
            squares = (((points[..., :2] - middle) ** 2).sum(axis=2) * labelled).sum(axis=0)
            repeated = (times > 1) & (area > 0)
            sums += np.where(repeated, squares / np.maximum(times - 1, 1) / max(area, 1e-9), 0)
            people += repeated
    return np.where(people > 0, np.sqrt(sums / np.maximum(people, 1)), np.nan), people
