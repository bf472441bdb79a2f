# SPDX-License-Identifier: Apache-2.0
"""Limbs to people (spec A7, grouping)."""

from typing import Any

from common.compiled import kernel, subroutine

import numpy as np


@kernel
def group(
    num_points: int, limbs: Any, closing: Any, pairs: Any, pair_scores: Any, pair_starts: Any, peak_scores: Any,
    min_points: int, min_score: float, original: bool,
) -> Any:  # fmt: skip
    """Puts people together, limb by limb.

    `limbs` (L, 3) int64: types of both ends and field channel; `closing` (L,) bool: limbs that begin nobody; `pairs`
    (C, 2) int64 peaks, `pair_scores` (C,) float64 and `pair_starts` (L + 1,) from `limbs.connect`. A pair whose ends
    nobody has begins a person, one with an end of one person extends that person, and one between two persons makes
    them one where they have no point in common. In the `original` rule a pair that a person has the first end of
    overwrites and counts the second whatever stood there, and its first end is never set; else only free places are
    filled. People of fewer than `min_points` counted points or a mean score below `min_score` are left out. Returns
    members (M, num_points) int64 peaks or -1, scores (M,) float64, counts (M,) int64.
    """
    members = np.full((len(pairs), num_points), -1, np.int64)
    scores, counts = np.zeros(len(pairs), np.float64), np.zeros(len(pairs), np.int64)
    owners, n = np.empty(2, np.int64), 0
    for i in range(len(limbs)):
        a, b = limbs[i, 0], limbs[i, 1]
        for k in range(pair_starts[i], pair_starts[i + 1]):
            end_a, end_b, score = pairs[k, 0], pairs[k, 1], pair_scores[k]
            found = _owners(members, n, a, b, end_a, end_b, owners)
            one, two = owners[0], owners[1]
            if found == 0 and not closing[i]:
                members[n, a], members[n, b], counts[n] = end_a, end_b, 2
                scores[n] = peak_scores[end_a] + peak_scores[end_b] + score
                n += 1
            elif found == 1 and original:
                if members[one, b] != end_b:
                    _set(members, scores, counts, one, b, end_b, peak_scores[end_b] + score)
            elif found == 1:
                _fill(members, scores, counts, one, a, b, end_a, end_b, peak_scores, score)
            elif found == 2 and _apart(members, one, two):
                scores[one] += scores[two] + score
                counts[one] += counts[two]
                n = _merge(members, scores, counts, one, two, n)
            elif found == 2:
                _fill(members, scores, counts, one, a, b, end_a, end_b, peak_scores, score)
                _fill(members, scores, counts, two, a, b, end_a, end_b, peak_scores, score)
    kept = 0
    for person in range(n):
        if counts[person] >= min_points and scores[person] / counts[person] >= min_score:
            members[kept], scores[kept], counts[kept] = members[person], scores[person], counts[person]
            kept += 1
    return members[:kept], scores[:kept], counts[:kept]


@subroutine
def _owners(members: Any, n: int, a: int, b: int, end_a: int, end_b: int, owners: Any) -> int:
    """How many people have an end of the pair; the first two of them in `owners`."""
    found = 0
    for person in range(n):
        if members[person, a] == end_a or members[person, b] == end_b:
            if found < len(owners):
                owners[found] = person
            found += 1
    return found


@subroutine
def _set(members: Any, scores: Any, counts: Any, person: int, point: int, peak: int, gain: float) -> None:
    """Gives a person a point."""
    members[person, point] = peak
    counts[person] += 1
    scores[person] += gain


@subroutine
def _fill(
    members: Any, scores: Any, counts: Any, person: int, a: int, b: int, end_a: int, end_b: int, peak_scores: Any,
    score: float,
) -> None:  # fmt: skip
    """Gives a person the end of a pair whose place is free, the first of both."""
    if members[person, a] == -1:
        _set(members, scores, counts, person, a, end_a, peak_scores[end_a] + score)
    elif members[person, b] == -1:
        _set(members, scores, counts, person, b, end_b, peak_scores[end_b] + score)


@subroutine
def _apart(members: Any, one: int, two: int) -> bool:
    """Whether two people have no point in common."""
    shared = 0
    for point in range(members.shape[1]):
        shared += members[one, point] >= 0 and members[two, point] >= 0
    return shared == 0


@subroutine
def _merge(members: Any, scores: Any, counts: Any, one: int, two: int, n: int) -> int:
    """Gives the points of `two` to `one` and closes the list up; how many people there are then."""
    for point in range(members.shape[1]):
        members[one, point] = max(members[one, point], members[two, point])
    for person in range(two, n - 1):
        members[person], scores[person], counts[person] = members[person + 1], scores[person + 1], counts[person + 1]
    members[n - 1] = -1
    return n - 1
