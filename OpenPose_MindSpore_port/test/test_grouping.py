# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from common.bottomup.assembly import Person, select
from common.skeleton import OPENPOSE, Skeleton
from OpenPose_MindSpore_port.decode import DecodeRules, join
from OpenPose_MindSpore_port.test import golden, plain_decode

import numpy as np
import pytest

CHAIN = Skeleton("chain", ("a", "b", "c", "d"), (0.05,) * 4, (), limbs=(("a", "b"), ("c", "d"), ("b", "c"), ("a", "c")))


def grouped(skeleton: Skeleton, pairs_of_limbs, scores, original: bool, rules: DecodeRules):
    """Members, scores and counts of the people of [[(peak a, peak b, score)]], one list a limb."""
    people, scores = list[Person](), list(scores)
    for limb, pairs in enumerate(pairs_of_limbs):
        for a, b, score in pairs:
            pair = dict(zip(skeleton.limb_points[limb].tolist(), (int(a), int(b)), strict=True))
            join(people, pair, score, scores, not original, limb not in skeleton.closing_limbs)
    found = select(people, np.zeros((len(scores), 4)), skeleton.num_points, rules.min_points, rules.min_person_score)
    return found.members, found.scores, found.counts


@pytest.mark.parametrize("number", range(60))
def test_people_are_the_originals(shared: Path, number: int) -> None:
    with np.load(golden.folder(shared) / "grouping.npz") as cases:
        peaks, counts, conns, wanted = (cases[f"{number}/{key}"] for key in ("peaks", "n_conn", "conns", "subsets"))
    pairs = np.split(conns, np.cumsum(counts)[:-1])
    members, scores, counts = grouped(OPENPOSE, pairs, peaks[:, 3], True, DecodeRules())
    found = np.column_stack((members, scores, counts))
    np.testing.assert_allclose(found, wanted.reshape(-1, found.shape[1]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("fill_only", [True, False])
def test_fast_is_plain(fill_only: bool) -> None:
    random = np.random.default_rng(int(fill_only))
    rules = DecodeRules(fill_only=fill_only, min_points=2, min_person_score=0.5)
    for _ in range(40):
        sizes = random.integers(0, 6, OPENPOSE.num_points)
        first, scores = np.cumsum([0, *sizes]), random.uniform(0, 1, sizes.sum())
        pairs = []
        for a, b in OPENPOSE.limb_points:
            count = random.integers(0, min(sizes[a], sizes[b]) + 1)
            ends_a, ends_b = (first[end] + random.permutation(sizes[end])[:count] for end in (a, b))
            pairs.append(list(zip(ends_a.tolist(), ends_b.tolist(), random.uniform(0, 1, count).tolist(), strict=True)))
        members, totals, counts = grouped(OPENPOSE, pairs, scores, not fill_only, rules)
        wanted = plain_decode.group(pairs, scores.tolist(), OPENPOSE, rules)
        assert members.tolist() == [row[0] for row in wanted] and counts.tolist() == [row[2] for row in wanted]
        np.testing.assert_allclose(totals, [row[1] for row in wanted], rtol=0, atol=1e-6)


def test_two_parts_become_one_person() -> None:
    pairs = [[(0, 1, 0.5)], [(2, 3, 0.25)], [(1, 2, 1.0)], []]
    members, scores, counts = grouped(CHAIN, pairs, [0.1, 0.2, 0.3, 0.4], False, DecodeRules())
    assert members.tolist() == [[0, 1, 2, 3]] and counts.tolist() == [4]
    np.testing.assert_allclose(scores, [0.5 + 0.25 + 1.0 + 0.1 + 0.2 + 0.3 + 0.4])


def test_a_point_is_never_overwritten_by_default() -> None:
    """Limb a - c finds another c: the original takes it and counts one point more than there are."""
    pairs = [[(0, 1, 0.5)], [], [(1, 2, 1.0)], [(0, 3, 0.5)]]
    kept, _, counts = grouped(CHAIN, pairs, [1.0] * 4, False, DecodeRules())
    assert kept.tolist() == [[0, 1, 2, -1]] and counts.tolist() == [3]
    overwritten, _, counts = grouped(CHAIN, pairs, [1.0] * 4, True, DecodeRules())
    assert overwritten.tolist() == [[0, 1, 3, -1]] and counts.tolist() == [4]


def test_closing_limbs_begin_nobody() -> None:
    assert CHAIN.closing_limbs == {2, 3}
    members, _, _ = grouped(CHAIN, [[], [], [], [(0, 1, 1.0)]], [1.0, 1.0], False, DecodeRules(min_points=2))
    assert members.shape == (0, CHAIN.num_points)


def test_people_of_few_points_or_low_scores_are_left_out() -> None:
    pairs = [[(0, 1, 0.5), (2, 3, -2.5)], [], [], []]
    for least, wanted in ((2, [[0, 1, -1, -1]]), (3, [])):
        members, _, _ = grouped(CHAIN, pairs, [1.0] * 4, False, DecodeRules(min_points=least))
        assert members.tolist() == wanted
