# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from common.cli import UserError
from common.skeleton import COCO, OPENPOSE, Skeleton
from Lightweight_OpenPose import decode as decoder
from Lightweight_OpenPose.decode import DecodeRules, MapGeometry, decode, decode_scales, to_coco
from Lightweight_OpenPose.test import golden, plain_decode, synthetic_maps

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

STAR = Skeleton(
    "star",
    ("middle", "up", "right", "down", "left"),
    (0.05,) * 5,
    (("left", "right"),),
    limbs=(("middle", "up"), ("middle", "right"), ("middle", "down"), ("middle", "left"), ("up", "right")),
)
POINTS_ONLY = Skeleton("points only", ("a", "b", "c", "d", "e"), (0.05,) * 5, ())
NO_PAD = (0, 0, 0, 0)
BORDER = 40  # pixels that may be equal where the outermost cell is repeated and much enlarged


def case_of(shared: Path, number: int):
    case = np.load(golden.folder(shared) / f"decode_{number}.npz")
    heatmaps, pafs = case["heat"].astype(np.float32), case["paf"].astype(np.float32)
    geometries = {
        "val": MapGeometry(8, tuple(case["pad"].tolist()), tuple(case["hw"].tolist())),
        "demo": MapGeometry.demo(heatmaps.shape[1:]),
    }
    return case, heatmaps, pafs, geometries


def assert_plain(heatmaps, pafs, geometry, skeleton, rules=decoder.ORIGINAL_RULES) -> decoder.DecodedPeople:
    """The peaks are those of the plain version, ties a little beside; from these peaks the same people come."""
    found = decode(heatmaps, pafs, geometry, skeleton, rules)
    wide_pafs = plain_decode.full_resolution(pafs, geometry)
    plain = plain_decode.decode_full(plain_decode.full_resolution(heatmaps, geometry), wide_pafs, skeleton, rules)
    unmatched = 0
    for point in range(skeleton.num_points):
        ours, theirs = (one.candidates[one.candidates[:, 3] == point, :3] for one in (found, plain))
        distances = np.abs(ours[:, None] - theirs)
        same = (distances[..., :2] <= BORDER).all(axis=2) & (distances[..., 2] < 1e-5)
        unmatched += max((~same.any(axis=0)).sum(), (~same.any(axis=1)).sum())
    assert unmatched <= 0.01 * len(plain.candidates), "ties may decide about neighbours nearer than the radius"
    by_type = [found.candidates[found.candidates[:, 3] == point, :3].tolist() for point in range(skeleton.num_points)]
    assert_equal(found, plain_decode.people_of(by_type, wide_pafs, skeleton, rules))
    return found


def assert_equal(found, wanted) -> None:
    """The same people, scores within 1e-3."""
    np.testing.assert_array_equal(found.members, wanted.members)
    np.testing.assert_array_equal(found.counts, wanted.counts)
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=0, atol=1e-3)


@pytest.mark.parametrize("way", ["val", "demo"])
@pytest.mark.parametrize("number", range(7))
def test_results_are_the_originals(shared: Path, number: int, way: str) -> None:
    case, heatmaps, pafs, geometries = case_of(shared, number)
    people = decode(heatmaps, pafs, geometries[way], OPENPOSE)
    assert people.candidates[:, [3, 0, 1]].tolist() == case[f"{way}_kpts"][:, :3].tolist()
    np.testing.assert_allclose(people.candidates[:, 2], case[f"{way}_kpts"][:, 3], rtol=0, atol=1e-5)
    entries = np.column_stack((people.members, people.scores, people.counts))
    np.testing.assert_allclose(entries, case[f"{way}_pose_entries"], rtol=0, atol=1e-3)
    keypoints, scores = to_coco(people, OPENPOSE)
    np.testing.assert_allclose(keypoints.reshape(len(scores), -1), case[f"{way}_coco"], rtol=0, atol=0.01)
    np.testing.assert_allclose(scores, case[f"{way}_scores"], rtol=0, atol=1e-3)


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


@pytest.mark.parametrize("size", [(90, 107), (72, 96), (36, 48)])
def test_of_equal_neighbours_one_is_a_peak(size: tuple[int, int]) -> None:
    """Constant and nearly flat maps are ties up to rounding; the work stays small."""
    random = np.random.default_rng(17)
    heatmaps = np.full((STAR.num_heatmaps, 9, 12), 0.5, np.float32)
    heatmaps[1, 3:6, 4:8] = 1
    heatmaps[2] += random.normal(0, 3e-8, (9, 12)).astype(np.float32)
    heatmaps[3] = 0.7
    pafs = np.full((STAR.num_pafs, 9, 12), 0.5, np.float32)
    found = decode(heatmaps, pafs, MapGeometry(8, NO_PAD, size), STAR, DecodeRules(nms_radius=0)).candidates
    assert [(found[:, 3] == point).sum() for point in (0, 3, 4)] == [1, 1, 1]
    assert len(found) < 60


def test_padding_is_cut_off() -> None:
    random = np.random.default_rng(9)
    maps = synthetic_maps.pure_noise((12, 15), STAR, random, 0.2)
    whole = decode(*maps, MapGeometry(8, NO_PAD, (96, 120)), STAR, DecodeRules(nms_radius=0)).candidates
    cut = decode(*maps, MapGeometry(8, (16, 8, 7, 5), (73, 107)), STAR, DecodeRules(nms_radius=0)).candidates
    inside = (np.abs(whole[:, 0] - 61) < 52) & (np.abs(whole[:, 1] - 52) < 35)
    shifted = whole[inside] - [8, 16, 0, 0]
    assert len(shifted) and {tuple(row) for row in shifted} <= {tuple(row) for row in cut}


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


def test_coco_points_and_the_half_pixel() -> None:
    candidates = np.array([[10, 20, 0.9, 0], [30, 40, 0.8, 1], [50, 60, 0.7, 2]], np.float64)
    members = np.full((1, OPENPOSE.num_points), -1)
    members[0, :3] = 0, 1, 2  # nose, neck, right shoulder
    people = decoder.DecodedPeople(candidates, members, np.array([2.5]), np.array([4]))
    for half_pixel, shift in ((True, 0.5), (False, 0.0)):
        keypoints, scores = to_coco(people, OPENPOSE, DecodeRules(half_pixel=half_pixel))
        wanted = np.zeros((OPENPOSE.num_keypoints, 3))
        wanted[OPENPOSE.keypoints.index("nose")] = 10 + shift, 20 + shift, 1
        wanted[OPENPOSE.keypoints.index("right_shoulder")] = 50 + shift, 60 + shift, 1
        np.testing.assert_array_equal(keypoints[0], wanted)
        assert scores.tolist() == [7.5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heatmaps": (COCO.num_heatmaps, 8, 8)}, "do not belong together"),
        ({"pafs": (4, 8, 8)}, "do not belong together"),
        ({"pafs": (OPENPOSE.num_pafs, 8, 9)}, "do not belong together"),
        ({"geometry": MapGeometry(8, (64, 0, 0, 0), (10, 10))}, "does not fit"),
        ({"geometry": MapGeometry(8, (0, -1, 0, 0), (10, 10))}, "does not fit"),
    ],
)
def test_bad_input_is_named(change: dict, message: str) -> None:
    heatmaps = np.zeros(change.get("heatmaps", (OPENPOSE.num_heatmaps, 8, 8)), np.float32)
    pafs = np.zeros(change.get("pafs", (OPENPOSE.num_pafs, 8, 8)), np.float32)
    with pytest.raises(UserError, match=message):
        decode(heatmaps, pafs, change.get("geometry", MapGeometry(8, NO_PAD, (10, 10))), OPENPOSE)
