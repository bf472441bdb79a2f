# SPDX-License-Identifier: Apache-2.0
"""Peaks to limbs: pairs scored along the part affinity field, matched greedily (spec A7, connections)."""

from typing import Any

from common.compiled import kernel, subroutine
from common.greedy_matching import choose, rank

import numpy as np

from .smoothing import bilinear


@kernel
def connect(
    fields: Any, rows: Any, columns: Any, peaks: Any, starts: Any, limbs: Any, order: Any, least: float,
    most_failed: int, longest: float, penalty: float,
) -> Any:  # fmt: skip
    """Joins peaks to limbs.

    `fields` (F, h, w) float32, finite; `rows`, `columns` the `smoothing.Enlargement` of the axes; `peaks` (N, 2) int64
    x, y in pixels of the network input and `starts` (num_points + 1,) from `peaks.find_peaks`; `limbs` (L, 3) int64:
    types of both ends and first field channel; `order` (S,) int64: the samples 0 .. S - 1 in the order in which to look
    at them. A sample counts if the field along the limb is above `least`, a pair if at most `most_failed` samples do
    not. Its score is the mean of all samples + min(longest / length - penalty, 0), lengths in pixels; it must be
    positive. Of equal scores the pair with the earlier end A, then the earlier end B goes first. Returns pairs (C, 2)
    int64 rows of `peaks`, scores (C,) float64, starts (L + 1,) int64.
    """
    most = 0
    for i in range(len(limbs)):
        a, b = limbs[i, 0], limbs[i, 1]
        most += min(starts[a + 1] - starts[a], starts[b + 1] - starts[b])
    pairs, scores = np.empty((most, 2), np.int64), np.empty(most, np.float64)
    pair_starts, n = np.zeros(len(limbs) + 1, np.int64), 0
    for i in range(len(limbs)):
        a, b, channel = limbs[i, 0], limbs[i, 1], limbs[i, 2]
        num_a, num_b = starts[a + 1] - starts[a], starts[b + 1] - starts[b]
        if num_a > 0 and num_b > 0:
            found, values, count = _score_pairs(
                fields, channel, rows, columns, peaks, starts[a], num_a, starts[b], num_b, order, least, most_failed,
                longest, penalty,
            )  # fmt: skip
            chosen, count = choose(rank(-values, count), found, num_a, num_b)
            for j in range(count):
                pairs[n, 0], pairs[n, 1] = starts[a] + found[chosen[j], 0], starts[b] + found[chosen[j], 1]
                scores[n] = values[chosen[j]]
                n += 1
        pair_starts[i + 1] = n
    return pairs[:n], scores[:n], pair_starts


@subroutine
def _score_pairs(
    fields: Any, channel: int, rows: Any, columns: Any, peaks: Any, first_a: int, num_a: int, first_b: int, num_b: int,
    order: Any, least: float, most_failed: int, longest: float, penalty: float,
) -> Any:  # fmt: skip
    """Pairs that count: (>= P, 2) int64 places among the As and the Bs, by A, then B; (>= P,) scores; P."""
    found, scores = np.empty((num_a * num_b, 2), np.int64), np.empty(num_a * num_b, np.float64)
    n = 0
    for a in range(num_a):
        ax, ay = np.float64(peaks[first_a + a, 0]), np.float64(peaks[first_a + a, 1])
        for b in range(num_b):
            dx, dy = peaks[first_b + b, 0] - ax, peaks[first_b + b, 1] - ay
            length = np.sqrt(dx * dx + dy * dy)
            if length > 0:
                mean = _mean_along(fields, channel, rows, columns, ax, ay, dx, dy, length, order, least, most_failed)
                score = mean + min(longest / length - penalty, 0.0)
                if score > 0:
                    found[n, 0], found[n, 1], scores[n] = a, b, score
                    n += 1
    return found, scores[:n], n


@subroutine
def _mean_along(
    fields: Any, channel: int, rows: Any, columns: Any, ax: float, ay: float, dx: float, dy: float, length: float,
    order: Any, least: float, most_failed: int,
) -> float:  # fmt: skip
    """The mean of the field along the way (dx, dy) from (ax, ay); -inf as soon as more samples fail than may."""
    ux, uy, share = dx / length, dy / length, len(order) - 1
    first, second, failed, total = np.uintp(channel), np.uintp(channel + 1), 0, 0.0
    for k in order:
        x, y = np.uintp(np.rint(ax + k * (dx / share))), np.uintp(np.rint(ay + k * (dy / share)))
        along = np.float64(bilinear(fields, first, rows, columns, x, y)) * ux
        along += np.float64(bilinear(fields, second, rows, columns, x, y)) * uy
        failed += not along > least
        if failed > most_failed:
            return -np.inf
        total += along
    return total / len(order)
