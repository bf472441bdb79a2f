# SPDX-License-Identifier: Apache-2.0
"""Peaks to limbs: pairs scored along the part affinity field, matched greedily (spec A7, group_keypoints).

Scores are those of the original, in float32 and in its order of summation. Fast values sort out nearly all pairs;
exact ones decide where a sample is near the threshold, where two scores are nearly equal, and give the final score.
"""

from typing import Any

from common.compiled import U0, U1, U2, U3, U4, U5, U6, inlined, kernel, subroutine
from common.greedy_matching import choose, rank
from common.map_bands import blend

import numpy as np

from .map_sampling import ROUNDING, SCRATCH, Axis, exact_value

NORM_FLOOR = np.float32(1e-6)
COUNT_FLOOR = 1e-6
BATCH = 1024  # pairs that are sieved together
PARTIAL_SUMS = 8  # numpy adds up eight partial sums


@kernel
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
    most = 0
    for i in range(len(limbs)):
        a, b = limbs[i, 0], limbs[i, 1]
        most += min(starts[a + 1] - starts[a], starts[b + 1] - starts[b])
    pairs, scores = np.empty((most, 2), np.int64), np.empty(most, np.float64)
    pair_starts = np.zeros(len(limbs) + 1, np.int64)
    n = 0
    for i in range(len(limbs)):
        a, b, channel = limbs[i, 0], limbs[i, 1], limbs[i, 2]
        if starts[a + 1] > starts[a] and starts[b + 1] > starts[b]:
            ends_a, ends_b = peaks[starts[a] : starts[a + 1]], peaks[starts[b] : starts[b + 1]]
            first, second = np.uintp(channel * height), np.uintp((channel + 1) * height)
            tails = (channel >= tail, channel + 1 >= tail)
            slack = ROUNDING * (_magnitude(extremes, channel) + _magnitude(extremes, channel + 1))
            for y in range(len(ready)):
                ready[y] = False
            found, values, count = _score_pairs(
                table, first, second, rows, columns, tails, ends_a, ends_b, order, least, needed, slack, lines, ready
            )
            chosen, count = _match(
                table, first, second, rows, columns, tails, ends_a, ends_b, len(order), slack, found, values, count
            )
            for j in range(count):
                pairs[n, 0], pairs[n, 1] = starts[a] + found[chosen[j], 0], starts[b] + found[chosen[j], 1]
                scores[n] = values[chosen[j]]
                n += 1
        pair_starts[i + 1] = n
    return pairs[:n], scores[:n], pair_starts


@subroutine
def _magnitude(extremes: Any, channel: int) -> float:
    return max(abs(np.float64(extremes[channel, 0])), abs(np.float64(extremes[channel, 1])))


@subroutine
def _score_pairs(
    table: Any, first: int, second: int, rows: Axis, columns: Axis, tails: Any, ends_a: Any, ends_b: Any, order: Any,
    least: float, needed: int, slack: float, lines: Any, ready: Any,
) -> Any:  # fmt: skip
    """Pairs with `needed` valid samples: (>= P, 3) int64 row of A, row of B, bits of its valid samples; scores; P.

    `table` (F * h, w): all maps; `first`, `second`: rows at which the limb's two begin. Pairs come by B, then A. A
    sample nearer than `slack` to `least` is judged by its exact value; the scores are right within `slack`. Pairs are
    sieved in batches, sample by sample.
    """
    field_a = _at_points(table, first, second, rows, columns, ends_a, lines, ready)
    field_b = _at_points(table, first, second, rows, columns, ends_b, lines, ready)
    found, scores = np.empty((BATCH, 3), np.int64), np.empty(BATCH, np.float64)
    size, spare = BATCH + len(ends_a), len(order) - needed
    state, geometry = np.empty((size, 4), np.int64), np.empty((size, 7), np.float32)
    alive, look = np.empty(size, np.int64), np.empty((3, len(ends_a)), np.float32)
    n, total = 0, 0
    for b in range(len(ends_b)):
        _look_at_ends(field_a, field_b, b, np.float32(least) - np.float32(slack), look)
        n = _append(field_a, field_b, b, look, spare, state, geometry, n)
        if n > BATCH or b == len(ends_b) - 1:
            for i in range(n):
                alive[i] = i
            for i in range(len(order)):
                n = _sieve(
                    table, first, second, rows, columns, tails, order[i], len(order), least, spare, slack, lines, ready,
                    state, geometry, alive, n,
                )  # fmt: skip
            while total + n > len(scores):
                found, scores = _doubled(found, scores)
            for place in range(n):
                i = alive[place]
                found[total, 0], found[total, 1], found[total, 2] = state[i, 0], state[i, 1], state[i, 2]
                scores[total] = np.float64(geometry[i, 6]) / (len(order) - state[i, 3] + COUNT_FLOOR)
                total += 1
            n = 0
    return found, scores, total


@subroutine
def _doubled(found: Any, scores: Any) -> Any:
    """Both lists in arrays of twice the length."""
    more_found, more_scores = np.empty((2 * len(found), 3), np.int64), np.empty(2 * len(scores), np.float64)
    for i in range(len(scores)):
        more_found[i, 0], more_found[i, 1], more_found[i, 2] = found[i, 0], found[i, 1], found[i, 2]
        more_scores[i] = scores[i]
    return more_found, more_scores


@subroutine
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


@subroutine
def _look_at_ends(field_a: Any, field_b: Any, b: int, least: float, look: Any) -> None:
    """look (3, A): the unit vector from each A to end `b`, and how many of the two end samples certainly fail."""
    bx, by, bfx, bfy = field_b[0, b], field_b[1, b], field_b[2, b], field_b[3, b]
    for a in range(field_a.shape[1]):
        dx, dy = bx - field_a[0, a], by - field_a[1, a]
        length = np.sqrt(dx * dx + dy * dy) + NORM_FLOOR
        ux, uy = dx / length, dy / length
        at_a, at_b = field_a[2, a] * ux + field_a[3, a] * uy, bfx * ux + bfy * uy
        look[0, a], look[1, a] = ux, uy
        look[2, a] = np.float32(at_a < least) + np.float32(at_b < least)


@subroutine
def _append(field_a: Any, field_b: Any, b: int, look: Any, spare: int, state: Any, geometry: Any, n: int) -> int:
    """Appends the pairs with end `b` whose ends leave hope; how many there are then.

    state[i]: a, b, bits of valid samples, failed samples; geometry[i]: start, way, unit vector, sum of valid samples.
    """
    bx, by, place = field_b[0, b], field_b[1, b], np.uintp(n)
    for a in range(field_a.shape[1]):
        ax, ay, failed = field_a[0, a], field_a[1, a], np.int64(look[2, a])
        state[place, U0], state[place, U1], state[place, U2], state[place, U3] = a, b, 0, failed
        geometry[place, U0], geometry[place, U1] = ax, ay
        geometry[place, U2], geometry[place, U3] = bx - ax, by - ay
        geometry[place, U4], geometry[place, U5], geometry[place, U6] = look[0, a], look[1, a], 0
        place += np.uintp(failed <= spare)  # no branch: it would be mispredicted
    return np.int64(place)


@subroutine
def _sieve(
    table: Any, first: int, second: int, rows: Axis, columns: Axis, tails: Any, k: int, count: int, least: float,
    spare: int, slack: float, lines: Any, ready: Any, state: Any, geometry: Any, alive: Any, n: int,
) -> int:  # fmt: skip
    """Looks at sample k of `count` of the n pairs `alive`; keeps, in order, those with at most `spare` failed ones."""
    scratch = np.empty(SCRATCH, np.float32)
    y_base, y_band, x_base, x_band = rows.base, rows.band, columns.base, columns.band
    bound, margin = np.float32(least), np.float32(slack)
    kept, at_end = np.uintp(0), k == 0 or k == count - 1
    for place in range(np.uintp(n)):
        i = np.uintp(alive[place])
        ux, uy = geometry[i, U4], geometry[i, U5]
        x, y = _sample_point(geometry[i, U0], geometry[i, U1], geometry[i, U2], geometry[i, U3], k, count)
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
        failed = state[i, U3] + (not valid and not counted)
        state[i, U2] |= np.int64(valid) << k
        state[i, U3] = failed
        geometry[i, U6] += value if valid else np.float32(0)
        alive[kept] = i
        kept += np.uintp(failed <= spare)  # no branch: it would be mispredicted
    return np.int64(kept)


@inlined
def _sample_point(ax: float, ay: float, dx: float, dy: float, k: int, count: int) -> Any:
    """Result pixel (x, y), uintp, of sample k of `count` on the way (dx, dy) from a; all float32."""
    share, step = np.float32(count - 1), np.float32(k)
    return np.uintp(np.rint(ax + dx * step / share)), np.uintp(np.rint(ay + dy * step / share))


@inlined
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


@subroutine
def _exact_along(
    table: Any, first: int, second: int, tails: Any, y_cell: Any, y_weight: Any, x_cell: Any, x_weight: Any,
    y: int, x: int, ux: float, uy: float, scratch: Any,
) -> float:  # fmt: skip
    """The field at result pixel (y, x) along the unit vector, exact, float32."""
    last = np.int64(x) == len(x_cell) - 1
    fx = exact_value(table, first, y_cell, y_weight, x_cell, x_weight, y, x, last and tails[0], scratch)
    fy = exact_value(table, second, y_cell, y_weight, x_cell, x_weight, y, x, last and tails[1], scratch)
    return fx * ux + fy * uy


@subroutine
def _match(
    table: Any, first: int, second: int, rows: Axis, columns: Axis, tails: Any, ends_a: Any, ends_b: Any, count: int,
    slack: float, found: Any, scores: Any, n: int,
) -> Any:  # fmt: skip
    """Greedy matching of the first n pairs found, each end once: rows of `found`, best score first, and how many.

    Their scores become exact.
    """
    exact, order = np.zeros(n, np.bool_), rank(scores, n)
    tied = False
    for i in range(1, n):
        if scores[order[i]] - scores[order[i - 1]] <= 2 * slack:
            exact[order[i]], exact[order[i - 1]], tied = True, True, True
    if tied:
        for i in range(n):
            if exact[i]:
                _set_exact(table, first, second, rows, columns, tails, ends_a, ends_b, count, found, i, scores)
        order = rank(scores, n)
    chosen, total = choose(order[::-1], found, len(ends_a), len(ends_b))
    for j in range(total):
        if not exact[chosen[j]]:
            _set_exact(table, first, second, rows, columns, tails, ends_a, ends_b, count, found, chosen[j], scores)
    return chosen, total


@subroutine
def _set_exact(
    table: Any, first: int, second: int, rows: Axis, columns: Axis, tails: Any, ends_a: Any, ends_b: Any, count: int,
    found: Any, i: int, scores: Any,
) -> None:  # fmt: skip
    """scores[i]: the mean of the valid samples of pair i, rounded as the original does: float32 sum, float64 count."""
    scratch, samples = np.empty(SCRATCH, np.float32), np.zeros(count, np.float32)
    y_cell, y_weight, x_cell, x_weight = rows.cell, rows.weight, columns.cell, columns.weight
    a, b, bits, valid = found[i, 0], found[i, 1], found[i, 2], 0
    ax, ay = np.float32(ends_a[a, 0]), np.float32(ends_a[a, 1])
    dx, dy = np.float32(ends_b[b, 0]) - ax, np.float32(ends_b[b, 1]) - ay
    length = np.sqrt(dx * dx + dy * dy) + NORM_FLOOR
    ux, uy = dx / length, dy / length
    for k in range(count):
        if bits >> k & 1:
            x, y = _sample_point(ax, ay, dx, dy, k, count)
            samples[k] = _exact_along(
                table, first, second, tails, y_cell, y_weight, x_cell, x_weight, y, x, ux, uy, scratch
            )
            valid += 1
    scores[i] = np.float64(_sum(samples)) / (valid + COUNT_FLOOR)


@subroutine
def _sum(values: Any) -> float:
    """Float32 sum of fewer than 128 values in numpy's order: eight partial sums, then the rest."""
    count, total, rest = len(values), np.float32(0), 0
    if count >= PARTIAL_SUMS:
        rest = count - count % PARTIAL_SUMS
        for start in range(PARTIAL_SUMS, rest, PARTIAL_SUMS):
            for k in range(PARTIAL_SUMS):
                values[k] += values[start + k]
        total = (values[0] + values[1]) + (values[2] + values[3])
        total += (values[4] + values[5]) + (values[6] + values[7])
    for k in range(rest, count):
        total += values[k]
    return total
