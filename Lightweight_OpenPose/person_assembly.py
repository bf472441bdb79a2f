# SPDX-License-Identifier: Apache-2.0
"""Limbs to people (spec A7, assembly of group_keypoints)."""

from typing import Any

from common.compiled import kernel, subroutine

import numpy as np


@kernel
def assemble(
    num_points: int, limbs: Any, closing: Any, pairs: Any, pair_scores: Any, pair_starts: Any, peak_scores: Any,
    min_points: int, min_score: float,
) -> Any:  # fmt: skip
    """Puts people together, limb by limb.

    `limbs` (L, 3) int64: types of both ends and field channel, in assembly order; `closing` (L,) bool: limbs that only
    fill a gap of a person; `pairs` (C, 2) int64 peaks, `pair_scores` (C,) float64 and `pair_starts` (L + 1,) from
    `limb_matching.connect`. A pair extends every person that has its first end, overwriting the second; if none has,
    it begins one. People of fewer than `min_points` counted points or a mean score below `min_score` are left out.
    Returns members (M, num_points) int64 peaks or -1, scores (M,) float64, counts (M,) int64.
    """
    members = np.empty((len(pairs), num_points), np.int64)
    scores, counts = np.zeros(len(pairs), np.float64), np.zeros(len(pairs), np.int64)
    head, following = np.empty((2, len(peak_scores)), np.int64), np.empty((2, len(pairs)), np.int64)
    n = 0
    for i in range(len(limbs)):
        start, stop = pair_starts[i], pair_starts[i + 1]
        if start == stop:
            continue
        _chain(members, n, limbs[i], head, following)
        if closing[i]:
            _close(limbs[i], pairs, start, stop, members, head, following)
        else:
            n = _extend(
                limbs[i], pairs, pair_scores, start, stop, peak_scores, members, scores, counts, n, head, following
            )
    kept = 0
    for person in range(n):
        if counts[person] >= min_points and not scores[person] / counts[person] < min_score:
            for point in range(num_points):
                members[kept, point] = members[person, point]
            scores[kept], counts[kept] = scores[person], counts[person]
            kept += 1
    return members[:kept], scores[:kept], counts[:kept]


@subroutine
def _chain(members: Any, n: int, limb: Any, head: Any, following: Any) -> None:
    """Chains the people that have a peak, for both ends of a limb: head[end, peak], following[end, person] ... -1.

    A limb's pairs share no peak, so the chains stay right while those pairs are joined.
    """
    for end in range(2):
        for peak in range(head.shape[1]):
            head[end, peak] = -1
        for person in range(n):
            peak = members[person, limb[end]]
            if peak >= 0:
                following[end, person] = head[end, peak]
                head[end, peak] = person


@subroutine
def _close(limb: Any, pairs: Any, start: int, stop: int, members: Any, head: Any, following: Any) -> None:
    """Fills the missing end of people that have one end of a pair; scores and counts stay."""
    for i in range(start, stop):
        for end in range(2):
            person = head[end, pairs[i, end]]
            while person >= 0:
                if members[person, limb[1 - end]] == -1:
                    members[person, limb[1 - end]] = pairs[i, 1 - end]
                person = following[end, person]


@subroutine
def _extend(
    limb: Any, pairs: Any, pair_scores: Any, start: int, stop: int, peak_scores: Any, members: Any, scores: Any,
    counts: Any, n: int, head: Any, following: Any,
) -> int:  # fmt: skip
    """Adds the second end of each pair to everyone that has the first, or begins a person; how many there are then."""
    for i in range(start, stop):
        a, b = pairs[i, 0], pairs[i, 1]
        person = head[0, a]
        if person < 0:
            for point in range(members.shape[1]):
                members[n, point] = -1
            members[n, limb[0]], members[n, limb[1]] = a, b
            counts[n] = 2
            scores[n] = (np.float64(peak_scores[a]) + np.float64(peak_scores[b])) + pair_scores[i]
            n += 1
        while person >= 0:
            members[person, limb[1]] = b
            counts[person] += 1
            scores[person] += np.float64(peak_scores[b]) + pair_scores[i]
            person = following[0, person]
    return n
