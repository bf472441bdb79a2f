# SPDX-License-Identifier: Apache-2.0
"""Limbs: pairs of peaks that a part affinity field joins (Cao et al., CVPR 2017, sections 2.3 and 2.4)."""

from typing import Any, NamedTuple

from common.arrays import Float32Array
from common.bottomup.peaks import Axis, Peaks, enlarge, inlined, kernel

import numpy as np

Pairs = dict[int, tuple[int, float]]  # {peak at the first end: (peak at the second end, score)}, rows of candidates


class LimbRule(NamedTuple):
    """Which pairs of peaks are limbs. The field is sampled between both, ends included; the score must be positive."""

    num_samples: int
    least: float  # a sample counts above it
    needed: int  # samples that must count
    mean_of_all: bool = False  # the mean of all samples; else of those that count
    longest: float = np.inf  # the score is that mean plus min(longest / length - penalty, 0), lengths in pixels
    penalty: float = 0.0


def find_pairs(
    field: Float32Array, axes: tuple[Axis, Axis], peaks: Peaks, ends: tuple[int, int], rule: LimbRule
) -> Pairs:
    """The limbs of one kind, best first, each peak in one at most; of equal scores the earlier first end, then second.

    `field` (2, h, w) float32, finite: x and y components, to be enlarged by `axes` (y, x); `ends`: types of both ends.
    """
    (first_a, last_a), (first_b, last_b) = (peaks.starts[end : end + 2] for end in ends)
    points = peaks.candidates[first_a:last_a, :2], peaks.candidates[first_b:last_b, :2]
    if not all(map(len, points)):
        return {}
    cells = np.ascontiguousarray(field.transpose(1, 0, 2)).reshape(field.shape[1], -1)
    scores = _score_pairs(cells, *axes, *points, rule)
    rows = np.argwhere(scores > 0)
    order = np.argsort(-scores[tuple(rows.T)], kind="stable")
    pairs, used = Pairs(), set[int]()
    for a, b in rows[order].tolist():
        if first_a + a not in pairs and b not in used:
            pairs[first_a + a] = first_b + b, float(scores[a, b])
            used.add(b)
    return pairs


@kernel
def _score_pairs(cells: Any, rows: Axis, columns: Axis, a: Any, b: Any, rule: LimbRule) -> Any:
    """(A, B) float64: the score of each pair, 0 for no limb. `cells` (h, 2 w): a row of x, a row of y components."""
    lines, is_ready = np.empty((len(rows.first), cells.shape[1]), np.float32), np.zeros(len(rows.first), np.bool_)
    scores = np.empty((len(a), len(b)))
    for i in range(len(a)):
        for j in range(len(b)):
            way = b[j, 0] - a[i, 0], b[j, 1] - a[i, 1]
            scores[i, j] = _score(cells, rows, columns, lines, is_ready, (a[i, 0], a[i, 1]), way, rule)
    return scores


@inlined
def _score(cells: Any, rows: Axis, columns: Axis, lines: Any, is_ready: Any, start: Any, way: Any, rule: Any) -> Any:
    """A pair's score. Middle samples come first: there most wrong pairs fail; `lines` are enlarged when needed."""
    (ax, ay), (dx, dy), count, failed, total = start, way, rule.num_samples, 0, 0.0
    length = np.sqrt(dx * dx + dy * dy)
    for i in range(count if length > 0 else 0):
        k = count // 2 + (i + 1) // 2 * (1 - i % 2 * 2)
        x, y = np.uintp(np.rint(ax + dx * k / (count - 1))), np.uintp(np.rint(ay + dy * k / (count - 1)))
        if not is_ready[y]:
            enlarge(cells, rows, y, lines[y])
            is_ready[y] = True
        along = (_at(lines, y, columns, x, 0) * dx + _at(lines, y, columns, x, cells.shape[1] // 2) * dy) / length
        failed += not along > rule.least
        if failed > count - rule.needed:
            return 0.0
        if rule.mean_of_all or along > rule.least:
            total += along
    mean = total / max(count if rule.mean_of_all else count - failed, 1)
    return max(mean + min(rule.longest / length - rule.penalty, 0.0), 0.0)


@inlined
def _at(lines: Any, y: int, columns: Axis, x: int, start: int) -> Any:
    """The value at pixel (x, y) of a component whose cells begin at `start`."""
    total, first = np.float32(0), np.uintp(start + columns.first[x])  # unsigned: a signed index costs a test
    for k in range(np.uintp(columns.taps.shape[1])):
        total += columns.taps[x, k] * lines[y, first + k]
    return total
