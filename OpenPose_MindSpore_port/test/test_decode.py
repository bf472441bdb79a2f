# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import common.coco.images
from common.bottomup.assembly import Person, select
from common.cli import UserError
from common.skeleton import COCO, OPENPOSE, Skeleton
from OpenPose_MindSpore_port.config import DecodeRules
from OpenPose_MindSpore_port.decode import MOST_PEAKS, decode, join
from OpenPose_MindSpore_port.test import golden, ideal_maps

import numpy as np
import pytest

STAR_LIMBS = (("middle", "up"), ("middle", "right"), ("middle", "down"), ("middle", "left"), ("up", "right"))
STAR = Skeleton("star", ("middle", "up", "right", "down", "left"), (0.05,) * 5, (("left", "right"),), limbs=STAR_LIMBS)
CHAIN = Skeleton("chain", ("a", "b", "c", "d"), (0.05,) * 4, (), limbs=(("a", "b"), ("c", "d"), ("b", "c"), ("a", "c")))
REAL = [f"real{i}" for i in range(6)]
DRAWN = [f"syn{i}" for i in range(24)]


def golden_case(shared: Path, name: str):
    case = golden.case(shared, "decode.npz", name)
    maps = case["heatmaps"].astype(np.float32), case["pafs"].astype(np.float32)
    return case, (*maps, (tuple(case["map_wh"][::-1].tolist()), tuple(case["orig_hw"].tolist())))


def noise(map_size: tuple[int, int], skeleton: Skeleton, level: float):
    """Maps of normal noise: heatmaps, pafs."""
    random = np.random.default_rng(0)
    return tuple(
        random.normal(0, level, (count, *map_size)).astype(np.float32)
        for count in (skeleton.num_heatmaps, skeleton.num_pafs)
    )


def no_limbs(skeleton: Skeleton, map_size: tuple[int, int]) -> np.ndarray:
    return np.zeros((skeleton.num_pafs, *map_size), np.float32)


@pytest.mark.parametrize("name", REAL + DRAWN)
def test_results_are_the_originals(shared: Path, name: str) -> None:
    case, maps = golden_case(shared, name)
    people = decode(*maps, OPENPOSE, original=True)
    places = case["peaks"][:, 1:3] * case["orig_hw"][::-1] / case["map_wh"]
    np.testing.assert_allclose(people.candidates[:, :2], places, rtol=0, atol=0.01)
    np.testing.assert_array_equal(people.candidates[:, 3], case["peaks"][:, 0])
    np.testing.assert_allclose(people.candidates[:, 2], case["peaks"][:, 3], rtol=0, atol=1e-3)
    subsets = np.column_stack((people.members, people.scores, people.counts))
    np.testing.assert_allclose(subsets, case["subsets"].reshape(-1, subsets.shape[1]), rtol=0, atol=1e-3)
    missing = case["poses"][..., 2:] == 0
    np.testing.assert_allclose(np.where(missing, 0, people.points())[..., :2], case["poses"][..., :2], rtol=1e-12)


@pytest.mark.parametrize(("original", "expected"), [(True, 0.743), (False, 0.786)])
def test_precision_on_ideal_maps_of_real_images(shared: Path, original: bool, expected: float) -> None:
    folder = shared / "data" / "coco-mini"
    annotations = common.coco.images.annotation_file(folder, "val")
    cases = ideal_maps.of_labelled_images(folder, "val", OPENPOSE, original)
    assert ideal_maps.average_precision_of(cases, annotations, OPENPOSE, original) == pytest.approx(expected, abs=0.002)


@pytest.mark.parametrize("skeleton", [COCO, STAR])
def test_people_are_found_again(skeleton: Skeleton) -> None:
    """Encoded, then decoded: points within a tenth of a pixel, in any skeleton; an image of twice the size as well."""
    points = np.ones((2, skeleton.num_points, 3))
    points[..., :2] = np.random.default_rng(0).uniform(-100, 100, (skeleton.num_points, 2)) * (0.5, 1)
    points[:, :, :2] -= points[0, :, :2].min(axis=0)
    points[0, :, :2] += (31.3, 42.1)
    points[1, :, :2] += (250.7, 60.2)
    maps = ideal_maps.drawn(points, (368, 552), skeleton)
    for scale in (1, 2):
        people = decode(*maps, ((368, 552), (368 * scale, 552 * scale)), skeleton)
        found = people.points()[np.argsort(people.points()[:, 0, 0])]
        assert found.shape == points.shape and people.counts.tolist() == [skeleton.num_points] * 2
        about_centres = (points[..., :2] + 0.5) * scale - 0.5
        assert np.abs(found[..., :2] - about_centres).max() < 0.1 * scale


@pytest.mark.parametrize("original", [False, True])
def test_one_of_equal_neighbours_is_a_peak(original: bool) -> None:
    """Cells in pairs: the map is symmetrical about a place between two pixels."""
    heatmaps = np.zeros((STAR.num_heatmaps, 16, 16), np.float32)
    heatmaps[0, 8, 7:9] = 0.5
    heatmaps[0, 7, 7:9] = 0.25
    heatmaps[1, 7:9, 7:9] = 0.5
    sizes = (128, 128), (128, 128)
    found = decode(heatmaps, no_limbs(STAR, (16, 16)), sizes, STAR, original=original).candidates
    assert found[:, 3].tolist() == [0, 1] and np.abs(found[:, 0] - 63).max() <= 0.5
    assert not original or found[1, 1] == 63


def test_portrait_limbs_are_not_shortened_by_the_width() -> None:
    points = np.array([[[40, 380, 1], [40, 20, 1], [70, 380, 1], [40, 390, 0], [30, 380, 0]]], np.float64)
    maps = ideal_maps.drawn(points, (400, 80), STAR)
    sizes, rules = ((400, 80), (400, 80)), DecodeRules(n_subset_limbs_thresh=2)
    by_side, by_width = (decode(*maps, sizes, STAR, rules, original).scores.tolist() for original in (False, True))
    assert len(by_side) == 1 and by_side[0] > sum(by_width) + 0.5


def test_noise_keeps_the_best_peaks() -> None:
    maps, sizes = noise((46, 69), OPENPOSE, 0.05), ((368, 552), (427, 640))
    every = decode(*maps, sizes, OPENPOSE, original=True).candidates
    best = decode(*maps, sizes, OPENPOSE).candidates
    for point in range(OPENPOSE.num_points):
        scores = np.sort(every[every[:, 3] == point, 2])[::-1][:MOST_PEAKS]
        np.testing.assert_allclose(np.sort(best[best[:, 3] == point, 2])[::-1], scores)
    assert len(every) > len(best) > 1000


@pytest.mark.parametrize(
    ("shapes", "sizes", "message"),
    [
        ((COCO.num_heatmaps, OPENPOSE.num_pafs, 8), ((64, 64), (64, 64)), "do not belong together"),
        ((OPENPOSE.num_heatmaps, OPENPOSE.num_pafs, 9), ((64, 64), (64, 64)), "do not belong together"),
        ((OPENPOSE.num_heatmaps, OPENPOSE.num_pafs, 8), ((64, 64), (64, 0)), "positive"),
    ],
)
def test_bad_input_is_named(shapes: tuple[int, int, int], sizes, message: str) -> None:
    heatmaps, pafs = np.zeros((shapes[0], 8, 8), np.float32), np.zeros((shapes[1], 8, shapes[2]), np.float32)
    with pytest.raises(UserError, match=message):
        decode(heatmaps, pafs, sizes, OPENPOSE)


# --- grouping ---


def grouped(skeleton: Skeleton, pairs_of_limbs, scores, original: bool, rules: DecodeRules):
    """Members, scores and counts of the people of [[(peak a, peak b, score)]], one list a limb."""
    people, scores = list[Person](), list(scores)
    for limb, pairs in enumerate(pairs_of_limbs):
        for row_a, row_b, score in pairs:
            ends = dict(zip(skeleton.limb_points[limb].tolist(), (int(row_a), int(row_b)), strict=True))
            new = Person(ends, sum(scores[row] for row in ends.values()) + score, 2)
            join(people, new, score, scores, original, limb not in skeleton.closing_limbs)
    least = rules.n_subset_limbs_thresh, rules.subset_score_thresh
    found = select(people, np.zeros((len(scores), 4)), skeleton.num_points, *least)
    return found.members, found.scores, found.counts


def test_people_of_recorded_limbs_are_the_originals(shared: Path) -> None:
    for number in range(60):
        case = golden.case(shared, "grouping.npz", number)
        pairs = np.split(case["conns"], np.cumsum(case["n_conn"])[:-1])
        found = np.column_stack(grouped(OPENPOSE, pairs, case["peaks"][:, 3], True, DecodeRules()))
        np.testing.assert_allclose(found, case["subsets"].reshape(-1, found.shape[1]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("pairs", "original", "rules", "expected"),
    [
        ([[(0, 1, 0.5)], [(2, 3, 0.25)], [(1, 2, 1.0)], []], False, {}, [[0, 1, 2, 3]]),  # two become one
        ([[(0, 1, 0.5)], [], [(1, 2, 1.0)], [(0, 3, 0.5)]], False, {}, [[0, 1, 2, -1]]),  # another c is left
        ([[(0, 1, 0.5)], [], [(1, 2, 1.0)], [(0, 3, 0.5)]], True, {}, [[0, 1, 3, -1]]),  # or overwrites
        ([[], [], [], [(0, 1, 1.0)]], False, {"n_subset_limbs_thresh": 2}, []),  # a closing limb starts no person
        ([[(0, 1, 0.5), (2, 3, -2.5)], [], [], []], False, {"n_subset_limbs_thresh": 2}, [[0, 1, -1, -1]]),
        ([[(0, 1, 0.5)], [], [], []], False, {}, []),  # too few points
    ],
)
def test_how_limbs_become_people(pairs, original: bool, rules: dict, expected: list[list[int]]) -> None:
    assert CHAIN.closing_limbs == {2, 3}
    members, _, counts = grouped(CHAIN, pairs, [1.0] * 4, original, DecodeRules(**rules))
    assert members.tolist() == expected
    assert counts.tolist() == [sum(row >= 0 for row in person) + original for person in expected]
