# SPDX-License-Identifier: Apache-2.0
"""Peaks of heatmaps, and the limbs that part affinity fields join them to, without enlarging whole maps.

The published decoders enlarge maps, look for pixels above their neighbours, and sample the pafs between these (Cao et
al., CVPR 2017, sections 2.3 and 2.4). Each axis is enlarged separately (`Axis`): only rows and columns that matter.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from common.arrays import Float32Array, Float64Array, Int64Array

import cv2
import numba
import numpy as np

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
inlined: Callable[[Callable[..., Any]], Any] = numba.njit(forceinline=True, **OPTIONS)  # a part of a kernel
TIE = np.float32(4e-7)  # share of a map's largest magnitude by which pixels may differ through rounding alone


class Axis(NamedTuple):
    """One axis of an enlargement: pixel p is the sum over k of taps[p, k] * cells[first[p] + k]."""

    first: Int64Array  # (pixels,)
    taps: Float32Array  # (pixels, K)


class Peaks(NamedTuple):
    """The peaks of an image, type by type: those of type t are the rows starts[t]:starts[t + 1]."""

    candidates: Float64Array  # (N, 4) x, y, value of the enlarged heatmap, type
    around: Float64Array  # (N, 4) values of the pixels left, above, right and below, -inf outside the image
    starts: list[int]  # (num_types + 1,)


Pairs = dict[int, tuple[int, float]]  # {peak at the first end: (peak at the second end, score)}, rows of candidates


class LimbRule(NamedTuple):
    """Which pairs of peaks are limbs. The paf is sampled between both, ends included; the score must be positive."""

    num_samples: int
    least: float  # a sample counts above it
    needed: int  # samples that must count
    mean_of_all: bool = False  # the mean of all samples; else of those that count
    longest: float = np.inf  # the score is that mean plus min(longest / length - penalty, 0), lengths in pixels
    penalty: float = 0.0


def axis_of(matrix: Float64Array) -> Axis:
    """The Axis of a (pixels, cells) matrix with a few adjacent numbers in each row that are not 0."""
    used, cells = matrix != 0, matrix.shape[1]
    first, last = used.argmax(axis=1), cells - 1 - used[:, ::-1].argmax(axis=1)
    width = (last - first).max() + 1
    first = np.minimum(first, cells - width)
    return Axis(first, np.take_along_axis(matrix, first[:, None] + np.arange(width), 1).astype(np.float32))


def find_peaks(
    heatmaps: Float32Array, axes: tuple[Axis, Axis], threshold: float, nms_radius: float, max_peaks: int
) -> Peaks:
    """Peaks of `heatmaps` (num_types, h, w), finite, enlarged by `axes` (y, x); of each type by x, then y.

    A peak is at least `threshold` and above its four neighbours; of neighbours that differ by rounding alone, the left
    or upper one is it. A peak nearer than `nms_radius` pixels to an earlier one is dropped. Of more than `max_peaks` of
    a type the best stay (0: all).
    """
    magnitudes, found = np.abs(heatmaps), []
    high = magnitudes > 0.999 * threshold / np.prod([np.abs(axis.taps).sum(axis=1).max() for axis in axes])
    hot_ys, hot_xs = _near(high.any(axis=2), axes[0]), _near(high.any(axis=1), axes[1])
    ties = TIE * magnitudes.max(axis=(1, 2))
    for cells, ys, xs, tie in zip(heatmaps, hot_ys, hot_xs, ties, strict=True):
        peaks = _peaks_of_map(cells, *axes, ys, xs, np.float32(threshold), tie, nms_radius)
        if 0 < max_peaks < len(peaks):
            peaks = peaks[np.sort(np.argsort(-peaks[:, 2], kind="stable")[:max_peaks])]
        found.append(peaks)
    counts, peaks = list(map(len, found)), np.concatenate(found)
    candidates = np.column_stack((peaks[:, :3], np.repeat(np.arange(len(found)), counts)))
    return Peaks(candidates, peaks[:, 3:], np.cumsum([0, *counts]).tolist())


def find_pairs(
    paf: Float32Array, axes: tuple[Axis, Axis], peaks: Peaks, ends: tuple[int, int], rule: LimbRule
) -> Pairs:
    """The limbs of one kind, best first, each peak in one at most; of equal scores the earlier first end, then second.

    `paf` (2, h, w) float32, finite: x and y components, to be enlarged by `axes` (y, x); `ends`: types of both ends.
    """
    (first_a, last_a), (first_b, last_b) = (peaks.starts[end : end + 2] for end in ends)
    points = peaks.candidates[first_a:last_a, :2], peaks.candidates[first_b:last_b, :2]
    cells = np.ascontiguousarray(paf.transpose(1, 0, 2)).reshape(paf.shape[1], -1)
    scores = _score_pairs(cells, *axes, *points, rule)
    rows = np.argwhere(scores > 0)
    order = np.argsort(-scores[tuple(rows.T)], kind="stable")
    pairs, used = Pairs(), set[int]()
    for a, b in rows[order].tolist():
        if first_a + a not in pairs and b not in used:
            pairs[first_a + a] = first_b + b, float(scores[a, b])
            used.add(b)
    return pairs


def _near(high: Any, axis: Axis) -> list[Int64Array]:
    """[pixels of an axis that any high cell is part of, and those beside], map by map; `high` (num_types, cells)."""
    reached = np.any([high.take(axis.first + k, axis=1) for k in range(axis.taps.shape[1])], axis=0)
    return [np.flatnonzero(one) for one in cv2.dilate(reached.astype(np.uint8), np.ones((1, 3), np.uint8))]


def kernel(function: Callable[..., Any]) -> Any:
    """numba for a function that Python calls; cached on disk if possible, until this file changes."""
    try:
        return numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:
        return numba.njit(**OPTIONS)(function)


@kernel
def _peaks_of_map(
    cells: Any, rows: Axis, columns: Axis, ys: Any, xs: Any, threshold: float, tie: float, radius: float
) -> Any:
    """(N, 7) x, y, value, values around: the peaks of a map (h, w) among the pixels of `ys` and `xs`, by x, then y."""
    lifted, image = np.empty((len(ys), cells.shape[1]), np.float32), np.empty((len(xs) + 2, len(ys) + 2), np.float32)
    image[:] = -np.inf
    for j in range(len(ys)):
        _enlarge(cells, rows, ys[j], lifted[j])
    turned = np.ascontiguousarray(lifted.T)
    for i in range(len(xs)):
        _enlarge(turned, columns, xs[i], image[i + 1, 1:-1])
    found, count = np.empty((image.size // 2, 7)), 0
    for i in range(len(xs)):
        for j in range(len(ys)):
            value, left, above = image[i + 1, j + 1], image[i, j + 1], image[i + 1, j]
            if value >= threshold and value - max(left, above) > tie:
                right, below = image[i + 2, j + 1], image[i + 1, j + 2]
                if value - max(right, below) >= -tie and _is_free(found, count, xs[i], ys[j], radius):
                    found[count, 0], found[count, 1], found[count, 2] = xs[i], ys[j], value
                    found[count, 3], found[count, 4], found[count, 5], found[count, 6] = left, above, right, below
                    count += 1
    return found[:count]


@inlined
def _enlarge(cells: Any, axis: Axis, pixel: int, line: Any) -> None:
    """Fills `line` (m,) with a pixel of the first axis of `cells` (n, m)."""
    line[:] = 0
    for k in range(axis.taps.shape[1]):
        source, tap = cells[axis.first[pixel] + k], axis.taps[pixel, k]
        for j in range(len(line)):
            line[j] += tap * source[j]


@inlined
def _is_free(found: Any, count: int, x: int, y: int, radius: float) -> bool:
    """Whether none of the first `count` peaks, they come by x, is nearer than `radius`."""
    for i in range(count - 1, -1, -1):
        dx, dy = x - found[i, 0], y - found[i, 1]
        if dx >= radius:
            return True
        if dx * dx + dy * dy < radius * radius:
            return False
    return True


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
            _enlarge(cells, rows, y, lines[y])
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
