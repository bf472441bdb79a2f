# SPDX-License-Identifier: Apache-2.0
"""Limbs to people (spec A7, assembly of group_keypoints)."""

from typing import Any

import numpy as np

from .map_sampling import compiled


@compiled
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
    members = np.full((len(pairs), num_points), -1, np.int64)
    scores, counts = np.zeros(len(pairs)), np.zeros(len(pairs), np.int64)
    head, following = np.full((2, len(peak_scores)), -1, np.int64), np.empty((2, len(pairs)), np.int64)
    n = 0
    for i in range(len(limbs)):
        part = slice(pair_starts[i], pair_starts[i + 1])
        _index(members[:n], limbs[i, 0], head[0], following[0])
        if closing[i]:
            _index(members[:n], limbs[i, 1], head[1], following[1])
            _close(limbs[i], pairs[part], members, head, following)
        else:
            n = _extend(
                limbs[i], pairs[part], pair_scores[part], peak_scores, members, scores, counts, n, head[0], following[0]
            )
    kept = np.flatnonzero((counts[:n] >= min_points) & ~(scores[:n] / counts[:n] < min_score))
    return members[kept], scores[kept], counts[kept]


@compiled
def _index(members: Any, point: int, head: Any, following: Any) -> None:
    """Chains the people of each peak at `point`: head[peak], following[person], ... -1.

    Within a limb each peak has one pair, so the chains stay right while that limb's pairs are joined.
    """
    head[:] = -1
    for person in range(len(members)):
        peak = members[person, point]
        if peak >= 0:
            following[person] = head[peak]
            head[peak] = person


@compiled
def _close(limb: Any, pairs: Any, members: Any, head: Any, following: Any) -> None:
    """Fills the missing end of people that have one end of a pair; scores and counts stay."""
    for i in range(len(pairs)):
        for side in range(2):
            person = head[side, pairs[i, side]]
            while person >= 0:
                if members[person, limb[1 - side]] == -1:
                    members[person, limb[1 - side]] = pairs[i, 1 - side]
                person = following[side, person]


@compiled
def _extend(
    limb: Any, pairs: Any, pair_scores: Any, peak_scores: Any, members: Any, scores: Any, counts: Any, n: int,
    head: Any, following: Any,
) -> int:  # fmt: skip
    """Adds the second end of each pair to everyone that has the first, or begins a person; how many there are then."""
    for i in range(len(pairs)):
        a, b = pairs[i]
        person = head[a]
        if person < 0:
            members[n, limb[0]], members[n, limb[1]] = a, b
            counts[n] = 2
            scores[n] = (np.float64(peak_scores[a]) + np.float64(peak_scores[b])) + pair_scores[i]
            n += 1
        while person >= 0:
            members[person, limb[1]] = b
            counts[person] += 1
            scores[person] += np.float64(peak_scores[b]) + pair_scores[i]
            person = following[person]
    return n
