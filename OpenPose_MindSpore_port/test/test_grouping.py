# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from common.bottomup.pafs import limb_table
from common.skeleton import OPENPOSE, Skeleton
from OpenPose_MindSpore_port.decode import DecodeRules
from OpenPose_MindSpore_port.grouping import group
from OpenPose_MindSpore_port.test import golden, plain_decode

import numpy as np
import pytest

CHAIN = Skeleton("chain", ("a", "b", "c", "d"), (0.05,) * 4, (), limbs=(("a", "b"), ("c", "d"), ("b", "c"), ("a", "c")))


def grouped(skeleton: Skeleton, pairs_of_limbs, scores, original: bool, rules: DecodeRules):
    """`group` of [[(peak a, peak b, score)]], one list a limb."""
    pairs = np.array([pair for pairs in pairs_of_limbs for pair in pairs], np.float64).reshape(-1, 3)
    starts = np.cumsum([0, *map(len, pairs_of_limbs)])
    limbs, closing = limb_table(skeleton, tuple(range(len(skeleton.limbs))))
    return group(
        skeleton.num_points, limbs, closing, pairs[:, :2].astype(np.int64), pairs[:, 2].copy(), starts,
        np.asarray(scores, np.float64), rules.min_points, rules.min_person_score, original,
    )  # fmt: skip


@pytest.mark.parametrize("number", range(60))
def test_people_are_the_originals(shared: Path, number: int) -> None:
    with np.load(golden.folder(shared) / "grouping.npz") as cases:
        peaks, counts, conns, wanted = (cases[f"{number}/{key}"] for key in ("peaks", "n_conn", "conns", "subsets"))
    pairs = np.split(conns, np.cumsum(counts)[:-1])
    members, scores, counts = grouped(OPENPOSE, pairs, peaks[:, 3], True, DecodeRules())
    found = np.column_stack((members, scores, counts))
    np.testing.assert_allclose(found, wanted.reshape(-1, found.shape[1]), rtol=0, atol=1e-9)


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
        np.testing.assert_allclose(totals, [row[1] for row in wanted], rtol=0, atol=1e-9)


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
