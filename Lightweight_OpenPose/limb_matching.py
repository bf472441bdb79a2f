# SPDX-License-Identifier: Apache-2.0
"""Peaks to limbs: pairs scored along the part affinity field, matched greedily (spec A7, group_keypoints).

Scores are those of the original, in float32 and in its order of summation. Fast values sort out nearly all pairs;
exact ones decide where a sample is near the threshold, where two scores are nearly equal, and give the final score.
"""

from typing import Any

import numpy as np

from .map_sampling import ROUNDING, SCRATCH, U0, U1, U2, U3, U4, U5, U6, Axis, blend, compiled, exact_value, inlined

NORM_FLOOR = np.float32(1e-6)
COUNT_FLOOR = 1e-6
BATCH = 1024  # pairs that are sieved together
PARTIAL_SUMS = 8  # numpy adds up eight partial sums


@compiled
def connect(
    fields: Any, extremes: Any, rows: Axis, columns: Axis, tail: int, peaks: Any, starts: Any,
    limbs: Any, order: Any, least: float, needed: int,
) -> Any:  # fmt: skip
    """Joins peaks to limbs.

    `fields` (F, h, w) float32, finite; `extremes` (F, 2) their smallest and largest values; `rows`, `columns` the
    operators of the axes; `tail` the first map for which the last pixel of a row is a tail
    (`map_sampling.exact_value`); `peaks` (N, 2) int64 (x, y) and `starts` from `peak_selection.settle_peaks`; `limbs`
    (L, 3) int64: types of both ends and first field channel, in assembly order; `order` (S,) int64: the samples
    0 .. S - 1 in the order in which to look at them. A sample counts if above `least`, a pair if at least `needed`
    samples do. Of equal scores the pair with the later end B, then the later end A goes first (the original's order
    is arbitrary there). Returns pairs (C, 2) int64 rows of `peaks`, scores (C,) float64, starts (L + 1,) int64.
    """
    lines = np.empty((2 * len(rows.base), fields.shape[2]), np.float32)  # a limb's two maps, enlarged along y only
    ready = np.empty(len(rows.base), np.bool_)
    table, height = fields.reshape(fields.shape[0] * fields.shape[1], fields.shape[2]), fields.shape[1]
    pairs, scores = np.empty((0, 2), np.int64), np.empty(0)
    limb_starts = np.zeros(len(limbs) + 1, np.int64)
    for i in range(len(limbs)):
        a, b, channel = limbs[i]
        ends_a, ends_b = peaks[starts[a] : starts[a + 1]], peaks[starts[b] : starts[b + 1]]
        if len(ends_a) > 0 and len(ends_b) > 0:
            first, second = np.uintp(channel * height), np.uintp((channel + 1) * height)
            tails = channel >= tail, channel + 1 >= tail
            slack = ROUNDING * np.float64(np.abs(extremes[channel : channel + 2]).sum())
            ready[:] = False
            found, values = _score_pairs(
                table, first, second, rows, columns, tails, ends_a, ends_b, order, least, needed, slack, lines, ready
            )
            chosen, values = _match(
                table, first, second, rows, columns, tails, ends_a, ends_b, len(order), slack, found, values
            )
            chosen[:, 0] += starts[a]
            chosen[:, 1] += starts[b]
            pairs, scores = np.concatenate((pairs, chosen)), np.concatenate((scores, values))
        limb_starts[i + 1] = len(scores)
    return pairs, scores, limb_starts


@compiled
def _score_pairs(
    table: Any, first: int, second: int, rows: Axis, columns: Axis, tails: Any, ends_a: Any, ends_b: Any, order: Any,
    least: float, needed: int, slack: float, lines: Any, ready: Any,
) -> Any:  # fmt: skip
    """Pairs with `needed` valid samples: (P, 3) int64 row of A, row of B, bits of its valid samples; (P,) scores.

    `table` (F * h, w): all maps; `first`, `second`: rows at which the limb's two begin. Pairs come by B, then A. A
    sample nearer than `slack` to `least` is judged by its exact value; the scores are right within `slack`. Pairs are
    sieved in batches, sample by sample.
    """
    field_a = _at_points(table, first, second, rows, columns, ends_a, lines, ready)
    field_b = _at_points(table, first, second, rows, columns, ends_b, lines, ready)
    found, scores = np.empty((0, 3), np.int64), np.empty(0)
    size, spare = BATCH + len(ends_a), len(order) - needed
    index, geometry = np.empty((size, 4), np.int64), np.empty((size, 7), np.float32)
    n = 0
    for b in range(len(ends_b)):
        n = _look_at_ends(field_a, field_b, b, np.float32(least) - np.float32(slack), spare, index, geometry, n)
        if n > BATCH or b == len(ends_b) - 1:
            for k in order:
                n = _sieve(
                    table, first, second, rows, columns, tails, k, len(order), least, spare, slack, lines, ready,
                    index, geometry, n,
                )  # fmt: skip
            found = np.concatenate((found, index[:n, :3]))
            scores = np.concatenate((scores, geometry[:n, 6] / (len(order) - index[:n, 3] + COUNT_FLOOR)))
            n = 0
    return found, scores


@compiled
def _at_points(
    table: Any, first: int, second: int, rows: Axis, columns: Axis, points: Any, lines: Any, ready: Any
) -> Any:
    """(4, N) float32: x, y of each point and the field's fast values there."""
    y_base, y_band, x_base, x_band = rows.base, rows.band, columns.base, columns.band
    out = np.empty((4, len(points)), np.float32)
    for i in range(len(points)):
        x, y = np.uintp(points[i, 0]), np.uintp(points[i, 1])
        if not ready[y]:
            _raise_line(table, first, second, y_base, y_band, y, lines, ready)
        out[0, i], out[1, i] = points[i, 0], points[i, 1]
        out[2, i], out[3, i] = _fast(lines, x_base, x_band, y, x)
    return out


@compiled
def _look_at_ends(
    field_a: Any, field_b: Any, b: int, least: float, spare: int, index: Any, geometry: Any, n: int
) -> int:
    """Appends the pairs with end `b` of which at most `spare` of the two end samples certainly fail.

    index[i]: a, b, bits of valid samples, failed samples; geometry[i]: start, way, unit vector, sum of valid samples.
    """
    bx, by, bfx, bfy = field_b[0, b], field_b[1, b], field_b[2, b], field_b[3, b]
    for a in range(field_a.shape[1]):
        ax, ay = field_a[0, a], field_a[1, a]
        dx, dy = bx - ax, by - ay
        length = np.sqrt(dx * dx + dy * dy) + NORM_FLOOR
        ux, uy = dx / length, dy / length
        failed = int(field_a[2, a] * ux + field_a[3, a] * uy < least) + int(bfx * ux + bfy * uy < least)
        if failed <= spare:
            index[n, 0], index[n, 1], index[n, 2], index[n, 3] = a, b, 0, failed
            geometry[n, 0], geometry[n, 1], geometry[n, 2], geometry[n, 3] = ax, ay, dx, dy
            geometry[n, 4], geometry[n, 5], geometry[n, 6] = ux, uy, 0
            n += 1
    return n


@compiled
def _sieve(
    table: Any, first: int, second: int, rows: Axis, columns: Axis, tails: Any, k: int, count: int, least: float,
    spare: int, slack: float, lines: Any, ready: Any, index: Any, geometry: Any, n: int,
) -> int:  # fmt: skip
    """Looks at sample k of `count` of the first n pairs; keeps, in order, those with at most `spare` failed ones."""
    scratch = np.empty(SCRATCH, np.float32)
    y_base, y_band, x_base, x_band = rows.base, rows.band, columns.base, columns.band
    bound, margin = np.float32(least), np.float32(slack)
    kept, at_end = np.uintp(0), k == 0 or k == count - 1
    for i in range(np.uintp(n)):
        ax, ay, dx, dy = geometry[i, U0], geometry[i, U1], geometry[i, U2], geometry[i, U3]
        ux, uy, total = geometry[i, U4], geometry[i, U5], geometry[i, U6]
        x, y = _sample_point(ax, ay, dx, dy, k, count)
        if not ready[y]:
            _raise_line(table, first, second, y_base, y_band, y, lines, ready)
        fx, fy = _fast(lines, x_base, x_band, y, x)
        value = fx * ux + fy * uy
        counted = at_end and value < bound - margin
        if abs(value - bound) <= margin:
            value = _exact_along(
                table, first, second, tails, rows.cell, rows.weight, columns.cell, columns.weight, y, x, ux, uy, scratch
            )
        valid = value > bound
        failed = index[i, U3] + (not valid and not counted)
        if failed <= spare:
            index[kept, U0], index[kept, U1], index[kept, U3] = index[i, U0], index[i, U1], failed
            index[kept, U2] = index[i, U2] | (np.int64(valid) << k)
            geometry[kept, U0], geometry[kept, U1], geometry[kept, U2], geometry[kept, U3] = ax, ay, dx, dy
            geometry[kept, U4], geometry[kept, U5] = ux, uy
            geometry[kept, U6] = total + value if valid else total
            kept += U1
    return np.int64(kept)


@inlined
def _sample_point(ax: float, ay: float, dx: float, dy: float, k: int, count: int) -> Any:
    """Result pixel (x, y), uintp, of sample k of `count` on the way (dx, dy) from a; all float32."""
    share, step = np.float32(count - 1), np.float32(k)
    return np.uintp(np.rint(ax + dx * step / share)), np.uintp(np.rint(ay + dy * step / share))


@compiled
def _raise_line(table: Any, first: int, second: int, base: Any, band: Any, y: int, lines: Any, ready: Any) -> None:
    """Enlarges result row y of both maps along y."""
    ready[y] = True
    width = np.uintp(table.shape[1])
    blend(table, first + base[y], band, y, U0, lines, y + y, U0, width)
    blend(table, second + base[y], band, y, U0, lines, y + y + U1, U0, width)


@inlined
def _fast(lines: Any, base: Any, band: Any, y: int, x: int) -> Any:
    """Values of both maps at result pixel (y, x), right to ROUNDING. Indices uintp."""
    cell, first, second = base[x], y + y, y + y + U1
    fx, fy = np.float32(0), np.float32(0)
    for k in range(np.uintp(band.shape[1])):
        fx += band[x, k] * lines[first, cell + k]
        fy += band[x, k] * lines[second, cell + k]
    return fx, fy


@compiled
def _exact_along(
    table: Any, first: int, second: int, tails: Any, y_cell: Any, y_weight: Any, x_cell: Any, x_weight: Any,
    y: int, x: int, ux: float, uy: float, scratch: Any,
) -> float:  # fmt: skip
    """The field at result pixel (y, x) along the unit vector, exact, float32."""
    last = np.int64(x) == len(x_cell) - 1
    fx = exact_value(table, first, y_cell, y_weight, x_cell, x_weight, y, x, last and tails[0], scratch)
    fy = exact_value(table, second, y_cell, y_weight, x_cell, x_weight, y, x, last and tails[1], scratch)
    return fx * ux + fy * uy


@compiled
def _match(
    table: Any, first: int, second: int, rows: Axis, columns: Axis, tails: Any, ends_a: Any, ends_b: Any, count: int,
    slack: float, found: Any, scores: Any,
) -> Any:  # fmt: skip
    """Greedy matching, each end once: (C, 2) int64 rows of A and B, (C,) float64 exact scores, best first."""
    exact = np.zeros(len(found), np.bool_)
    rank = np.argsort(scores, kind="mergesort")
    for i in range(1, len(rank)):
        if scores[rank[i]] - scores[rank[i - 1]] <= 2 * slack:
            exact[rank[i]], exact[rank[i - 1]] = True, True
    if exact.any():
        tied = np.flatnonzero(exact)
        _set_exact(table, first, second, rows, columns, tails, ends_a, ends_b, count, found, tied, scores)
        rank = np.argsort(scores, kind="mergesort")
    used_a, used_b = np.zeros(len(ends_a), np.bool_), np.zeros(len(ends_b), np.bool_)
    chosen = np.empty(len(found), np.int64)
    n = 0
    for i in rank[::-1]:
        a, b = found[i, 0], found[i, 1]
        if not (used_a[a] or used_b[b]):
            used_a[a], used_b[b] = True, True
            chosen[n] = i
            n += 1
    chosen = chosen[:n]
    rest = chosen[~exact[chosen]]
    _set_exact(table, first, second, rows, columns, tails, ends_a, ends_b, count, found, rest, scores)
    return found[chosen][:, :2].copy(), scores[chosen]


@compiled
def _set_exact(
    table: Any, first: int, second: int, rows: Axis, columns: Axis, tails: Any, ends_a: Any, ends_b: Any, count: int,
    found: Any, wanted: Any, scores: Any,
) -> None:  # fmt: skip
    """scores[i] of the `wanted` pairs: the mean of the valid samples, a float32 sum over a float64 count."""
    scratch, samples = np.empty(SCRATCH, np.float32), np.empty(count, np.float32)
    y_cell, y_weight, x_cell, x_weight = rows.cell, rows.weight, columns.cell, columns.weight
    for i in wanted:
        a, b, bits, valid = found[i, 0], found[i, 1], found[i, 2], 0
        ax, ay = np.float32(ends_a[a, 0]), np.float32(ends_a[a, 1])
        dx, dy = np.float32(ends_b[b, 0]) - ax, np.float32(ends_b[b, 1]) - ay
        length = np.sqrt(dx * dx + dy * dy) + NORM_FLOOR
        ux, uy = dx / length, dy / length
        for k in range(count):
            samples[k] = 0
            if bits >> k & 1:
                x, y = _sample_point(ax, ay, dx, dy, k, count)
                samples[k] = _exact_along(
                    table, first, second, tails, y_cell, y_weight, x_cell, x_weight, y, x, ux, uy, scratch
                )
                valid += 1
        scores[i] = np.float64(_sum(samples)) / (valid + COUNT_FLOOR)


@compiled
def _sum(values: Any) -> float:
    """Float32 sum of fewer than 128 values in numpy's order: eight partial sums, then the rest."""
    count, total, rest = len(values), np.float32(0), 0
    if count >= PARTIAL_SUMS:
        part = values[:PARTIAL_SUMS].copy()
        rest = count - count % PARTIAL_SUMS
        for start in range(PARTIAL_SUMS, rest, PARTIAL_SUMS):
            for k in range(PARTIAL_SUMS):
                part[k] += values[start + k]
        total = ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]))
    for k in range(rest, count):
        total += values[k]
    return total
