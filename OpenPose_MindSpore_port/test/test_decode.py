# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import common.coco.images
from common.cli import UserError
from common.coco.evaluate import Detections, average_precision, concatenate
from common.skeleton import COCO, OPENPOSE, Skeleton
from OpenPose_MindSpore_port.decode import ORIGINAL_RULES, DecodeRules, People, decode, to_coco
from OpenPose_MindSpore_port.test import golden, ideal_maps, plain_decode

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

STAR = Skeleton(
    "star", ("middle", "up", "right", "down", "left"), (0.05,) * 5, (("left", "right"),),
    limbs=(("middle", "up"), ("middle", "right"), ("middle", "down"), ("middle", "left"), ("up", "right")),
)  # fmt: skip
REAL = [f"real{i}" for i in range(6)]
DRAWN = [f"syn{i}" for i in range(24)]


def golden_case(shared: Path, name: str):
    with np.load(golden.folder(shared) / "decode.npz") as cases:
        case = {key.split("/")[1]: cases[key] for key in cases if key.startswith(f"{name}/")}
    maps = case["heatmaps"].astype(np.float32), case["pafs"].astype(np.float32)
    return case, (*maps, tuple(case["map_wh"][::-1].tolist()), tuple(case["orig_hw"].tolist()))


def assert_same(found: People, wanted: People, tolerance: float = 0.0) -> None:
    for name in ("candidates", "members", "scores", "counts"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(wanted, name), rtol=0, atol=tolerance, err_msg=name, equal_nan=False
        )


def noise(map_size: tuple[int, int], skeleton: Skeleton, level: float, seed: int = 0):
    """Maps of normal noise: heatmaps, fields."""
    random = np.random.default_rng(seed)
    return tuple(
        random.normal(0, level, (count, *map_size)).astype(np.float32)
        for count in (skeleton.num_heatmaps, skeleton.num_fields)
    )


@pytest.mark.parametrize("name", REAL + DRAWN)
def test_results_are_the_originals(shared: Path, name: str) -> None:
    case, maps = golden_case(shared, name)
    people = decode(*maps, OPENPOSE, ORIGINAL_RULES)
    places = case["peaks"][:, 1:3] * case["orig_hw"][::-1] / case["map_wh"]
    np.testing.assert_allclose(people.candidates[:, :2], places, rtol=0, atol=0.01)
    np.testing.assert_array_equal(people.candidates[:, 3], case["peaks"][:, 0])
    np.testing.assert_allclose(people.candidates[:, 2], case["peaks"][:, 3], rtol=0, atol=1e-3)
    np.testing.assert_allclose(people.scores, case["scores"], rtol=0, atol=1e-3)
    subsets = np.column_stack((people.members, people.scores, people.counts))
    np.testing.assert_allclose(subsets, case["subsets"].reshape(-1, subsets.shape[1]), rtol=0, atol=1e-3)
    missing = case["poses"][..., 2:] == 0
    np.testing.assert_allclose(np.where(missing, 0, people.points())[..., :2], case["poses"][..., :2], rtol=1e-12)


def test_detections_and_their_precision_are_the_originals(shared: Path) -> None:
    folder, found, wanted = (
        golden.folder(shared),
        [],
        json.loads((golden.folder(shared) / "detections.json").read_text()),
    )
    for name in REAL:
        case, maps = golden_case(shared, name)
        keypoints, scores = to_coco(decode(*maps, OPENPOSE, ORIGINAL_RULES), OPENPOSE, ORIGINAL_RULES)
        found.append(Detections(np.full(len(scores), int(case["image_id"])), keypoints, scores))
    together = concatenate(found)
    assert together.image_ids.tolist() == [one["image_id"] for one in wanted]
    assert together.keypoints.reshape(len(wanted), -1).tolist() == [one["keypoints"] for one in wanted]
    np.testing.assert_allclose(together.scores, [one["score"] for one in wanted], rtol=0, atol=1e-3)
    values = average_precision(folder / "annotations.json", together, OPENPOSE.sigmas).values()
    published = json.loads((folder / "ap.json").read_text()).values()
    np.testing.assert_allclose(list(values), list(published), rtol=0, atol=0.002)


def test_precision_on_ideal_maps_of_real_images(shared: Path) -> None:
    """The original's ceiling is 0.743 (spec, C); ours is higher."""
    folder = shared / "data" / "coco-mini"
    annotations = common.coco.images.annotation_file(folder, "val")
    found = [
        ideal_maps.average_precision_of(
            ideal_maps.of_labelled_images(folder, "val", OPENPOSE, rules.pixel_centres), annotations, OPENPOSE, rules
        )["AP"]
        for rules in (ORIGINAL_RULES, DecodeRules())
    ]
    assert abs(found[0] - 0.743) < 0.002 and abs(found[1] - 0.786) < 0.002


def test_a_spot_of_the_image_is_found_where_it_is_painted() -> None:
    """Half the size: a pixel of the image that is resized about pixel centres comes back to itself."""
    size_img, size_in, place_img = (256, 320), (128, 160), np.array([161.0, 97.0])
    points = np.zeros((1, OPENPOSE.num_points, 3))
    points[0, :3] = *((place_img + 0.5) / 2 - 0.5), 1
    points[0, 1:3, 0] += (20, 40)
    maps = ideal_maps.drawn(points, size_in, OPENPOSE)
    people = decode(*maps, size_in, size_img, OPENPOSE)
    np.testing.assert_allclose(people.candidates[people.candidates[:, 3] == 0, :2], place_img[None], atol=0.05)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1), rows=st.integers(3, 20), columns=st.integers(3, 20), stride=st.sampled_from([4, 8]),
    original=st.booleans(), ratio=st.sampled_from([0.3, 1.0]),
)  # fmt: skip
def test_fast_is_plain(seed: int, rows: int, columns: int, stride: int, original: bool, ratio: float) -> None:
    """Noise and people, any map size, also inputs that are no multiple of the stride, and images of any size."""
    random = np.random.default_rng(seed)
    size_in = (rows * stride - int(random.integers(0, 4)), columns * stride - int(random.integers(0, 4)))
    size_img = tuple(random.integers(1, 300, 2).tolist())
    points = ideal_maps.people_in(int(random.integers(1, 4)), size_in, STAR, random, 80)
    whole = rows * 8, columns * 8
    maps = ideal_maps.with_noise(ideal_maps.drawn(points, whole, STAR), random.choice([0.01, 0.04]), random)
    rules = dataclasses.replace(
        ORIGINAL_RULES if original else DecodeRules(), min_points=2, limb_length_ratio=ratio, max_peaks=12
    )
    wanted = plain_decode.decode(*maps, size_in, size_img, STAR, rules)
    found = decode(*maps, size_in, size_img, STAR, rules)
    np.testing.assert_array_equal(found.members, wanted.members)
    np.testing.assert_array_equal(found.counts, wanted.counts)
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=0, atol=1e-3)
    np.testing.assert_allclose(found.candidates, wanted.candidates, rtol=0, atol=0.01)


@pytest.mark.parametrize("skeleton", [COCO, STAR])
def test_people_are_found_again(skeleton: Skeleton) -> None:
    """Encoded, then decoded: points within a tenth of a pixel, in any skeleton."""
    random = np.random.default_rng(3)
    shape = ideal_maps.people_in(1, (0, 0), skeleton, random, 200)[0]
    points = np.stack([shape, shape])
    points[:, :, :2] -= points[0, :, :2].min(axis=0)
    points[0, :, :2] += (31.3, 42.1)
    points[1, :, :2] += (250.7, 60.2)
    people = decode(*ideal_maps.drawn(points, (368, 552), skeleton), (368, 552), (368, 552), skeleton)
    found = people.points()[np.argsort(people.points()[:, 0, 0])]
    assert found.shape == points.shape and people.counts.tolist() == [skeleton.num_points] * 2
    assert np.abs(found[..., :2] - points[..., :2]).max() < 0.1


def test_one_drawn_cell_lands_where_it_stands() -> None:
    """The cell (x 10, y 4) of a map: the pixel (8 x + 3.5, 8 y + 3.5), between two: one of them is a peak."""
    heatmaps = np.zeros((STAR.num_heatmaps, 12, 20), np.float32)
    heatmaps[1, 4, 10] = 1
    fields = np.zeros((STAR.num_fields, 12, 20), np.float32)
    rules = DecodeRules(sub_pixel=False)
    found = decode(heatmaps, fields, (96, 160), (96, 160), STAR, rules).candidates
    assert found[:, [0, 1, 3]].tolist() == [[83, 35, 1]]
    image = decode(heatmaps, fields, (96, 160), (48, 320), STAR, rules).candidates
    assert image[:, :2].tolist() == [[166.5, 17.25]]


@pytest.mark.parametrize("rules", [DecodeRules(sub_pixel=False), ORIGINAL_RULES])
def test_one_of_equal_neighbours_is_a_peak(rules: DecodeRules) -> None:
    """Cells in pairs: the map is symmetrical about a place between two pixels. The original finds no peak there."""
    heatmaps = np.zeros((STAR.num_heatmaps, 16, 16), np.float32)
    heatmaps[0, 8, 7:9] = 0.5
    heatmaps[0, 7, 7:9] = 0.25
    heatmaps[1, 7:9, 7:9] = 0.5
    fields = np.zeros((STAR.num_fields, 16, 16), np.float32)
    found = decode(heatmaps, fields, (128, 128), (128, 128), STAR, rules).candidates
    assert found[:, [0, 3]].tolist() == [[63, 0], [63, 1]] and found[1, 1] == 63


@pytest.mark.parametrize("level", [0.06, 0.5, 7.0])
@pytest.mark.parametrize("ripple", [0.0, 1e-8, 1e-7, 1e-6, 1e-4])
def test_nearly_flat_maps_give_no_far_points(level: float, ripple: float) -> None:
    """A point is at most half a pixel or half a cell from its peak, however flat the map is around it."""
    random, size_in, size_img = np.random.default_rng(6), (368, 552), (427, 640)
    heatmaps = (level * (1 + ripple * random.normal(0, 1, (STAR.num_heatmaps, 46, 69)))).astype(np.float32)
    fields = np.zeros((STAR.num_fields, 46, 69), np.float32)
    pixels, places = (
        decode(heatmaps, fields, size_in, size_img, STAR, DecodeRules(sub_pixel=sub_pixel)).candidates
        for sub_pixel in (False, True)
    )
    assert len(pixels) == len(places) and (ripple >= 1e-6 or len(places) <= 30 * STAR.num_points)
    assert np.abs(places[:, :2] - pixels[:, :2]).max() <= 8 * 640 / 552


@pytest.mark.parametrize("height", [1e-6, 1e-4, 1e-2])
def test_a_flat_top_moves_its_point_by_half_a_pixel_at_most(height: float) -> None:
    """Beside a cell of 0 there is no Gaussian: the parabola through pixels decides, here about a slope of almost 0."""
    heatmaps = np.zeros((STAR.num_heatmaps, 12, 20), np.float32)
    heatmaps[0, :, :10] = 0.5
    heatmaps[0, 6, 4] += height
    fields, sizes = np.zeros((STAR.num_fields, 12, 20), np.float32), ((96, 160), (96, 160))
    pixels, places = (
        decode(heatmaps, fields, *sizes, STAR, DecodeRules(sub_pixel=sub_pixel)).candidates
        for sub_pixel in (False, True)
    )
    near_border = (pixels[:, 1] < 4) | (pixels[:, 1] > 91)
    assert np.abs(places - pixels)[near_border].max(initial=0) <= 0.5
    assert np.abs(places - pixels).max() <= 4.5


def test_constant_maps_give_next_to_nothing() -> None:
    """Every pixel is a tie; the work stays small."""
    maps = (np.full((count, 46, 69), 0.5, np.float32) for count in (OPENPOSE.num_heatmaps, OPENPOSE.num_fields))
    people = decode(*maps, (368, 552), (427, 640), OPENPOSE)
    assert len(people.candidates) <= OPENPOSE.num_points


def test_portrait_limbs_are_not_shortened_by_the_width() -> None:
    points = np.array([[[40, 380, 1], [40, 20, 1], [70, 380, 1], [40, 390, 0], [30, 380, 0]]], np.float64)
    maps = ideal_maps.drawn(points, (400, 80), STAR)
    scores = {
        longer: decode(*maps, (400, 80), (400, 80), STAR, DecodeRules(min_points=2, longer_side=longer)).scores.tolist()
        for longer in (True, False)
    }
    assert len(scores[True]) == 1 and scores[True][0] > sum(scores[False]) + 0.5


def test_most_peaks_keeps_the_best() -> None:
    maps = noise((20, 20), STAR, 0.3)
    free, capped = (
        decode(*maps, (160, 160), (160, 160), STAR, DecodeRules(max_peaks=most)).candidates for most in (0, 5)
    )
    for point in range(STAR.num_points):
        of_type = free[free[:, 3] == point]
        assert len(of_type) > 5
        np.testing.assert_array_equal(capped[capped[:, 3] == point], of_type[np.sort(np.argsort(-of_type[:, 2])[:5])])


def test_noise_takes_little_time() -> None:
    maps = noise((46, 69), OPENPOSE, 0.05)
    decode(*maps, (368, 552), (427, 640), OPENPOSE)
    began = time.process_time()
    assert len(decode(*maps, (368, 552), (427, 640), OPENPOSE).candidates) > 1000
    assert time.process_time() - began < 0.3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_cells_that_are_not_finite_count_as_nothing(value: float) -> None:
    random, maps = np.random.default_rng(1), noise((16, 18), STAR, 0.2)
    bad = [np.where(random.random(one.shape) < 0.1, np.float32(value), one) for one in maps]
    clean = [np.where(np.isfinite(one), one, np.float32(0)) for one in bad]
    sizes = (128, 144), (130, 150)
    assert_same(decode(*bad, *sizes, STAR), decode(*clean, *sizes, STAR))
    assert not len(decode(np.full_like(maps[0], value), maps[1], *sizes, STAR).candidates)
    assert not np.isfinite(bad[0]).all(), "the caller's maps stay as they are"


def test_huge_values_end() -> None:
    random, largest = np.random.default_rng(2), np.float32(3e38)
    maps = [np.clip(one, -1, 1) * largest for one in noise((10, 10), STAR, 0.5)]
    for heatmaps in (maps[0], np.full_like(maps[0], largest), random.choice([-largest, largest], maps[0].shape)):
        found = decode(heatmaps, maps[1], (80, 80), (80, 80), STAR).candidates
        assert np.isfinite(found[:, :2]).all()


def test_nothing_found() -> None:
    heatmaps = np.zeros((OPENPOSE.num_heatmaps, 8, 8), np.float32)
    people = decode(heatmaps, np.zeros((OPENPOSE.num_fields, 8, 8), np.float32), (64, 64), (64, 64), OPENPOSE)
    keypoints, scores = to_coco(people, OPENPOSE)
    assert keypoints.shape == (0, OPENPOSE.num_keypoints, 3) and scores.shape == (0,)


@pytest.mark.parametrize("cells", [(1, 1), (1, 9), (2, 3)])
@pytest.mark.parametrize("size_in", [(1, 1), (1, 40), (37, 1)])
def test_tiny(cells: tuple[int, int], size_in: tuple[int, int]) -> None:
    """Maps that are constant along an axis: which of many ties is a peak does not matter."""
    maps = noise(cells, OPENPOSE, 0.5)
    for rules in (ORIGINAL_RULES, DecodeRules()):
        found = decode(*maps, size_in, (50, 50), OPENPOSE, rules)
        assert (found.candidates[:, 2] >= rules.heatmap_threshold).all()
        assert found.candidates[:, :2].max(initial=0) <= 50


def test_coco_keypoints() -> None:
    candidates = np.array([[10.4, 20.6, 0.9, 0], [30, 40, 0.8, 1], [50.5, 60, 0.7, 2]])
    members = np.full((1, OPENPOSE.num_points), -1)
    members[0, :3] = 0, 1, 2  # nose, neck, right shoulder
    people = People(candidates, members, np.array([2.5]), np.array([4]))
    for rules, nose, shoulder in (
        (DecodeRules(), [10.4, 20.6, 2], [50.5, 60, 2]),
        (ORIGINAL_RULES, [10, 21, 2], [50, 60, 2]),
    ):
        keypoints, scores = to_coco(people, OPENPOSE, rules)
        assert scores.tolist() == [2.5] and (keypoints[0, :, 2] > 0).sum() == 2
        assert keypoints[0, OPENPOSE.keypoints.index("nose")].tolist() == nose
        assert keypoints[0, OPENPOSE.keypoints.index("right_shoulder")].tolist() == shoulder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heatmaps": (COCO.num_heatmaps, 8, 8)}, "do not belong together"),
        ({"fields": (4, 8, 8)}, "do not belong together"),
        ({"fields": (OPENPOSE.num_fields, 8, 9)}, "do not belong together"),
        ({"size_in": (0, 64)}, "positive"),
        ({"size_img": (64, 0)}, "positive"),
    ],
)  # fmt: skip
def test_bad_input_is_named(change: dict, message: str) -> None:
    heatmaps = np.zeros(change.get("heatmaps", (OPENPOSE.num_heatmaps, 8, 8)), np.float32)
    fields = np.zeros(change.get("fields", (OPENPOSE.num_fields, 8, 8)), np.float32)
    with pytest.raises(UserError, match=message):
        decode(heatmaps, fields, change.get("size_in", (64, 64)), change.get("size_img", (64, 64)), OPENPOSE)


@pytest.mark.parametrize("name", ["num_samples", "max_peaks", "heatmap_threshold", "smoothing_sigma"])
def test_bad_rules_are_named(name: str) -> None:
    with pytest.raises(UserError, match=name):
        DecodeRules(**{name: -1})


def test_smoothing_can_be_left_out() -> None:
    maps = noise((12, 12), STAR, 0.3)
    people = decode(*maps, (96, 96), (96, 96), STAR, DecodeRules(smoothing_sigma=0.0, max_peaks=0))
    assert len(people.candidates) > 50


def test_decoding_does_not_need_torch() -> None:
    line = "import sys; import OpenPose_MindSpore_port.decode; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", line], check=True)


def test_read_only_and_other_types_are_taken() -> None:
    heatmaps, fields = noise((10, 12), STAR, 0.2)
    wanted = decode(heatmaps, fields, (80, 96), (80, 96), STAR)
    heatmaps.flags.writeable = False
    assert_same(decode(heatmaps, np.asfortranarray(fields).astype(np.float64), (80, 96), (80, 96), STAR), wanted)
