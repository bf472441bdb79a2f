# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from pathlib import Path

from common.cli import UserError
from common.skeleton import COCO, OPENPOSE, Skeleton
from Lightweight_OpenPose import decode as decoder
from Lightweight_OpenPose.decode import (
    DecodeRules,
    MapGeometry,
    decode,
    decode_scales,
    demo_to_image,
    to_coco,
)
from Lightweight_OpenPose.test import golden, plain_decode, synthetic_maps

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

STAR = Skeleton(
    "star", ("middle", "up", "right", "down", "left"), (0.05,) * 5, (("left", "right"),),
    limbs=(("middle", "up"), ("middle", "right"), ("middle", "down"), ("middle", "left"), ("up", "right")),
)  # fmt: skip
POINTS_ONLY = Skeleton("points only", ("a", "b", "c", "d", "e"), (0.05,) * 5, ())
NO_PAD = (0, 0, 0, 0)
BORDER = 40  # pixels that may be equal where the outermost cell is repeated and much enlarged


def case_of(shared: Path, number: int):
    case = np.load(golden.folder(shared) / f"decode_{number}.npz")
    heatmaps, fields = case["heat"].astype(np.float32), case["paf"].astype(np.float32)
    geometries = {
        "val": MapGeometry(8, tuple(case["pad"].tolist()), tuple(case["hw"].tolist())),
        "demo": MapGeometry.demo(heatmaps.shape[1:]),
    }
    return case, heatmaps, fields, geometries


def assert_same(found, wanted) -> None:
    for name in ("candidates", "members", "scores", "counts"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)


def assert_plain(heatmaps, fields, geometry, skeleton, rules=decoder.ORIGINAL_RULES) -> decoder.People:
    """The peaks are those of the plain version, ties a little beside; from these peaks the same people come."""
    found = decode(heatmaps, fields, geometry, skeleton, rules)
    wide_fields = plain_decode.full_resolution(fields, geometry)
    plain = plain_decode.decode_full(plain_decode.full_resolution(heatmaps, geometry), wide_fields, skeleton, rules)
    unmatched = 0
    for point in range(skeleton.num_points):
        ours, theirs = (one.candidates[one.candidates[:, 3] == point, :3] for one in (found, plain))
        distances = np.abs(ours[:, None] - theirs)
        same = (distances[..., :2] <= BORDER).all(axis=2) & (distances[..., 2] < 1e-5)
        unmatched += max((~same.any(axis=0)).sum(), (~same.any(axis=1)).sum())
    assert unmatched <= 0.01 * len(plain.candidates), "ties may decide about neighbours nearer than the radius"
    by_type = [found.candidates[found.candidates[:, 3] == point, :3].tolist() for point in range(skeleton.num_points)]
    assert_equal(found, plain_decode.people_of(by_type, wide_fields, skeleton, rules))
    return found


def assert_equal(found, wanted) -> None:
    """The same people, scores within 1e-3."""
    np.testing.assert_array_equal(found.members, wanted.members)
    np.testing.assert_array_equal(found.counts, wanted.counts)
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=0, atol=1e-3)


@pytest.mark.parametrize("way", ["val", "demo"])
@pytest.mark.parametrize("number", range(7))
def test_results_are_the_originals(shared: Path, number: int, way: str) -> None:
    case, heatmaps, fields, geometries = case_of(shared, number)
    people = decode(heatmaps, fields, geometries[way], OPENPOSE)
    assert people.candidates[:, [3, 0, 1]].tolist() == case[f"{way}_kpts"][:, :3].tolist()
    np.testing.assert_allclose(people.candidates[:, 2], case[f"{way}_kpts"][:, 3], rtol=0, atol=1e-5)
    entries = np.column_stack((people.members, people.scores, people.counts))
    np.testing.assert_allclose(entries, case[f"{way}_pose_entries"], rtol=0, atol=1e-3)
    keypoints, scores = to_coco(people, OPENPOSE)
    np.testing.assert_allclose(keypoints.reshape(len(scores), -1), case[f"{way}_coco"], rtol=0, atol=0.01)
    np.testing.assert_allclose(scores, case[f"{way}_scores"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("number", [3, 6])
def test_plain_version_is_the_original(shared: Path, number: int) -> None:
    case, heatmaps, fields, geometries = case_of(shared, number)
    people = plain_decode.decode(heatmaps, fields, geometries["val"], OPENPOSE)
    entries = np.column_stack((people.members, people.scores, people.counts))
    np.testing.assert_allclose(entries, case["val_pose_entries"], rtol=0, atol=1e-3)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(4, 24), columns=st.integers(4, 24))
def test_fast_is_plain(seed: int, rows: int, columns: int) -> None:
    """Noise and people, any map size, padding and result size, also smaller than the map."""
    random = np.random.default_rng(seed)
    noise, count = random.choice([0, 0.02, 0.05, 0.3]), random.integers(0, 5)
    points = synthetic_maps.people_in(count, (rows, columns), OPENPOSE, random, 120)
    maps = synthetic_maps.drawn(points, (rows, columns), OPENPOSE, random, noise)
    pad = tuple(random.integers(0, 4, 4).tolist())
    geometry = MapGeometry(8, pad, tuple(random.integers(1, 300, 2).tolist()))
    assert_plain(*maps, geometry, OPENPOSE)
    assert_plain(*maps, MapGeometry.demo((rows, columns)), OPENPOSE)


@pytest.mark.parametrize("size", [(184, 7), (5, 176), (6, 6)])
def test_fewer_pixels_than_cells(size: tuple[int, int]) -> None:
    """The pixels beside a peak may lie some cells away from it."""
    random = np.random.default_rng(202)
    points = synthetic_maps.people_in(4, (14, 22), OPENPOSE, random, 120)
    for _ in range(4):  # memory that was not set would not be the same each time
        maps = synthetic_maps.drawn(points, (14, 22), OPENPOSE, random, 0.01)
        assert_plain(*maps, MapGeometry(8, NO_PAD, size), OPENPOSE)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1), stride=st.sampled_from([2, 4, 8, 16]), num_samples=st.integers(2, 24),
    fraction=st.sampled_from([0.0, 0.5, 0.8, 0.95]), radius=st.sampled_from([0.0, 1.5, 6.0, 40.0]),
)  # fmt: skip
def test_fast_is_plain_with_other_rules(seed, stride, num_samples, fraction, radius) -> None:
    random = np.random.default_rng(seed)
    points = synthetic_maps.people_in(3, (14, 17), STAR, random, 70)
    maps = synthetic_maps.drawn(points, (14, 17), STAR, random, 0.05)
    rules = DecodeRules(0.15, radius, num_samples, 0.1, fraction, min_points=2, min_person_score=0.4)
    assert_plain(*maps, MapGeometry(stride, NO_PAD, (101, 137)), STAR, rules)


@pytest.mark.parametrize("skeleton", [COCO, STAR, POINTS_ONLY])
@pytest.mark.parametrize("size", [(97, 203), (30, 31)])
def test_any_skeleton(skeleton: Skeleton, size: tuple[int, int]) -> None:
    random = np.random.default_rng(4)
    points = synthetic_maps.people_in(3, (20, 26), skeleton, random, 90)
    maps = synthetic_maps.drawn(points, (20, 26), skeleton, random, 0.01)
    people = assert_plain(*maps, MapGeometry(8, (3, 0, 1, 4), size), skeleton)
    assert len(people.candidates) and people.members.shape[1] == skeleton.num_points
    assert (len(people.members) > 0) == (len(skeleton.limbs) > 0) or size == (30, 31)


def test_closing_limbs_only_fill_gaps() -> None:
    assert STAR.closing_limbs == {4}
    random = np.random.default_rng(1)
    points = np.array([[[60, 60, 1], [60, 20, 1], [100, 60, 1], [60, 100, 0], [20, 60, 0]]], np.float64)
    people = assert_plain(
        *synthetic_maps.drawn(points, (16, 16), STAR, random), MapGeometry(8, NO_PAD, (128, 128)), STAR
    )
    assert (people.members[0] >= 0).tolist() == [True, True, True, False, False]
    assert people.counts.tolist() == [3]


def test_crowd() -> None:
    random = np.random.default_rng(2)
    points = synthetic_maps.people_in(30, (46, 69), OPENPOSE, random, 160)
    maps = synthetic_maps.drawn(points, (46, 69), OPENPOSE, random, 0.02)
    assert len(assert_plain(*maps, MapGeometry(8, NO_PAD, (427, 640)), OPENPOSE).members) > 10


@pytest.mark.parametrize("size", [(90, 107), (72, 96), (36, 48)])
def test_of_equal_neighbours_one_is_a_peak(size: tuple[int, int]) -> None:
    """Constant and nearly flat maps are ties up to rounding; the work stays small."""
    random = np.random.default_rng(17)
    heatmaps = np.full((STAR.num_heatmaps, 9, 12), 0.5, np.float32)
    heatmaps[1, 3:6, 4:8] = 1
    heatmaps[2] += random.normal(0, 3e-8, (9, 12)).astype(np.float32)
    heatmaps[3] = 0.7
    fields = np.full((STAR.num_fields, 9, 12), 0.5, np.float32)
    found = decode(heatmaps, fields, MapGeometry(8, NO_PAD, size), STAR, DecodeRules(nms_radius=0)).candidates
    assert [(found[:, 3] == point).sum() for point in (0, 3, 4)] == [1, 1, 1]
    assert len(found) < 60


def test_two_equal_pixels_are_one_peak() -> None:
    """A spot between four pixels; the original finds none there."""
    heatmaps, fields = np.zeros((STAR.num_heatmaps, 8, 8), np.float32), np.zeros((STAR.num_fields, 8, 8), np.float32)
    heatmaps[0, 3:5, 3:5] = 1
    found = decode(heatmaps, fields, MapGeometry(8, NO_PAD, (64, 64)), STAR).candidates
    assert found[:, [0, 1, 3]].tolist() == [[31, 31, 0]]


def test_constant_fields_and_much_noise_end() -> None:
    """All pairs of one direction are limbs and score alike."""
    random = np.random.default_rng(5)
    heatmaps, fields = synthetic_maps.pure_noise((18, 20), STAR, random, 0.1)
    fields[:] = 0.5
    people = decode(heatmaps, fields, MapGeometry(8, NO_PAD, (150, 171)), STAR)
    assert len(people.members) > 20 and (people.counts >= 3).all()


def test_thousands_of_peaks() -> None:
    random = np.random.default_rng(6)
    heatmaps = random.uniform(0, 1, (POINTS_ONLY.num_heatmaps, 68, 75)).astype(np.float32)
    fields = np.zeros((0, 68, 75), np.float32)
    rules = DecodeRules(nms_radius=0.0, max_peaks=100_000)
    people = assert_plain(heatmaps, fields, MapGeometry(1, NO_PAD, (68, 75)), POINTS_ONLY, rules)
    assert len(people.candidates) > 4096


def test_most_peaks_keeps_the_best() -> None:
    random = np.random.default_rng(7)
    heatmaps, fields = synthetic_maps.pure_noise((20, 20), STAR, random, 0.3)
    geometry = MapGeometry(8, NO_PAD, (160, 160))
    free = decode(heatmaps, fields, geometry, STAR).candidates
    capped = decode(heatmaps, fields, geometry, STAR, DecodeRules(max_peaks=5)).candidates
    for point in range(STAR.num_points):
        of_type = free[free[:, 3] == point]
        assert len(of_type) > 5
        wanted = of_type[np.sort(np.argsort(-of_type[:, 2], kind="stable")[:5])]
        np.testing.assert_array_equal(capped[capped[:, 3] == point], wanted)


def test_shifted_maps_shift_the_result() -> None:
    random = np.random.default_rng(8)
    points = synthetic_maps.people_in(1, (12, 12), OPENPOSE, random, 60) * (1, 1, 1)
    points[..., :2] = points[..., :2].clip(30, 70) * (1.3, 1.3)
    small = synthetic_maps.drawn(points, (20, 20), OPENPOSE, random)
    large = [np.pad(maps, ((0, 0), (3, 4), (5, 2))) for maps in small]
    one = decode(*small, MapGeometry(8, NO_PAD, (160, 160)), OPENPOSE)
    two = decode(*large, MapGeometry(8, NO_PAD, (216, 216)), OPENPOSE)
    assert len(one.candidates) > 5
    np.testing.assert_array_equal(one.candidates + [40, 24, 0, 0], two.candidates)
    np.testing.assert_array_equal(one.members, two.members)
    np.testing.assert_array_equal(one.scores, two.scores)


def test_padding_is_cut_off() -> None:
    random = np.random.default_rng(9)
    maps = synthetic_maps.pure_noise((12, 15), STAR, random, 0.2)
    whole = decode(*maps, MapGeometry(8, NO_PAD, (96, 120)), STAR, DecodeRules(nms_radius=0)).candidates
    cut = decode(*maps, MapGeometry(8, (16, 8, 7, 5), (73, 107)), STAR, DecodeRules(nms_radius=0)).candidates
    inside = (np.abs(whole[:, 0] - 61) < 52) & (np.abs(whole[:, 1] - 52) < 35)
    shifted = whole[inside] - [8, 16, 0, 0]
    assert len(shifted) and {tuple(row) for row in shifted} <= {tuple(row) for row in cut}


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (37, 1)])
@pytest.mark.parametrize("cells", [(1, 1), (1, 9), (2, 3)])
def test_tiny(cells: tuple[int, int], size: tuple[int, int]) -> None:
    """Maps that are constant along an axis: which of many ties is a peak does not matter."""
    maps = synthetic_maps.pure_noise(cells, OPENPOSE, np.random.default_rng(10), 0.5)
    found = decode(*maps, MapGeometry(8, NO_PAD, size), OPENPOSE).candidates
    assert (found[:, 2] >= 0.1).all() and (found[:, :2] < (size[1], size[0])).all()


def test_nothing_found() -> None:
    heatmaps = np.zeros((OPENPOSE.num_heatmaps, 8, 8), np.float32)
    people = decode(heatmaps, np.zeros((OPENPOSE.num_fields, 8, 8), np.float32), MapGeometry.demo((8, 8)), OPENPOSE)
    assert people.points().shape == (0, OPENPOSE.num_points, 3)
    keypoints, scores = to_coco(people, OPENPOSE)
    assert keypoints.shape == (0, OPENPOSE.num_keypoints, 3) and scores.shape == (0,)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_cells_that_are_not_finite_count_as_nothing(value: float) -> None:
    random = np.random.default_rng(11)
    heatmaps, fields = synthetic_maps.pure_noise((16, 18), STAR, random, 0.2)
    geometry = MapGeometry(8, NO_PAD, (130, 150))
    bad = [np.where(random.random(maps.shape) < 0.1, np.float32(value), maps) for maps in (heatmaps, fields)]
    clean = [np.where(np.isfinite(maps), maps, np.float32(0)) for maps in bad]
    assert_same(decode(*bad, geometry, STAR), decode(*clean, geometry, STAR))
    assert not len(decode(np.full_like(heatmaps, value), fields, geometry, STAR).candidates)
    assert not np.isfinite(bad[0]).all(), "the caller's maps stay as they are"


def test_huge_values_end() -> None:
    random = np.random.default_rng(12)
    largest = np.float32(3e38)
    heatmaps = random.uniform(-1, 1, (STAR.num_heatmaps, 10, 10)).astype(np.float32) * largest
    fields = random.uniform(-1, 1, (STAR.num_fields, 10, 10)).astype(np.float32) * largest
    for maps in (heatmaps, np.full_like(heatmaps, largest)):
        assert np.isfinite(decode(maps, fields, MapGeometry(8, NO_PAD, (80, 80)), STAR).candidates[:, :2]).all()


def test_scales_are_averaged_at_full_resolution() -> None:
    random = np.random.default_rng(14)
    scales = [
        (*synthetic_maps.pure_noise(cells, STAR, random, 0.3), MapGeometry(8, pad, (120, 140)))
        for cells, pad in (((8, 10), (2, 3, 2, 3)), ((15, 18), NO_PAD), ((23, 27), (0, 1, 0, 1)))
    ]
    found = decode_scales(scales, STAR)
    assert_equal(found, plain_decode.decode_full(*plain_decode.average(scales), STAR, decoder.ORIGINAL_RULES))
    assert len(found.candidates) > 50
    assert_equal(decode_scales(scales[:1], STAR), decode(*scales[0], STAR))
    with pytest.raises(UserError, match="one result size"):
        decode_scales([scales[0], (*scales[1][:2], MapGeometry(8, NO_PAD, (120, 141)))], STAR)


def test_coco_points_and_the_half_pixel() -> None:
    candidates = np.array([[10, 20, 0.9, 0], [30, 40, 0.8, 1], [50, 60, 0.7, 2]], np.float64)
    members = np.full((1, OPENPOSE.num_points), -1)
    members[0, :3] = 0, 1, 2  # nose, neck, right shoulder
    people = decoder.People(candidates, members, np.array([2.5]), np.array([4]))
    for half_pixel, shift in ((True, 0.5), (False, 0.0)):
        keypoints, scores = to_coco(people, OPENPOSE, DecodeRules(half_pixel=half_pixel))
        wanted = np.zeros((OPENPOSE.num_keypoints, 3))
        wanted[OPENPOSE.keypoints.index("nose")] = 10 + shift, 20 + shift, 1
        wanted[OPENPOSE.keypoints.index("right_shoulder")] = 50 + shift, 60 + shift, 1
        np.testing.assert_array_equal(keypoints[0], wanted)
        assert scores.tolist() == [7.5]


def test_demo_pixels_to_image() -> None:
    found = demo_to_image(np.array([[100.0, 40.0]]), 8, (4, 10, 4, 10), 0.5)
    np.testing.assert_array_equal(found, [[(100 * 8 / 4 - 10) / 0.5, (40 * 8 / 4 - 4) / 0.5]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heatmaps": (COCO.num_heatmaps, 8, 8)}, "do not belong together"),
        ({"fields": (4, 8, 8)}, "do not belong together"),
        ({"fields": (OPENPOSE.num_fields, 8, 9)}, "do not belong together"),
        ({"geometry": MapGeometry(8, (64, 0, 0, 0), (10, 10))}, "does not fit"),
        ({"geometry": MapGeometry(8, (0, -1, 0, 0), (10, 10))}, "does not fit"),
        ({"geometry": MapGeometry(8, NO_PAD, (0, 10))}, "positive"),
    ],
)  # fmt: skip
def test_bad_input_is_named(change: dict, message: str) -> None:
    heatmaps = np.zeros(change.get("heatmaps", (OPENPOSE.num_heatmaps, 8, 8)), np.float32)
    fields = np.zeros(change.get("fields", (OPENPOSE.num_fields, 8, 8)), np.float32)
    with pytest.raises(UserError, match=message):
        decode(heatmaps, fields, change.get("geometry", MapGeometry(8, NO_PAD, (10, 10))), OPENPOSE)


def test_bad_rules_are_named() -> None:
    for values in ({"num_samples": 1}, {"max_peaks": 0}, {"min_limb_score": -1.0}):
        with pytest.raises(UserError, match=next(iter(values))):
            DecodeRules(**values)


def test_decoding_does_not_need_torch() -> None:
    line = "import sys; import Lightweight_OpenPose.decode; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", line], check=True)


def test_read_only_and_other_types_are_taken() -> None:
    random = np.random.default_rng(15)
    heatmaps, fields = synthetic_maps.pure_noise((10, 12), STAR, random, 0.2)
    geometry = MapGeometry(8, NO_PAD, (80, 96))
    wanted = decode(heatmaps, fields, geometry, STAR)
    heatmaps.flags.writeable = False
    assert_same(decode(heatmaps, np.asfortranarray(fields).astype(np.float64), geometry, STAR), wanted)
