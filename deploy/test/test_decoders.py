# SPDX-License-Identifier: Apache-2.0
"""The decoders in C++ and JavaScript find what Python finds: on golden maps, and on drawn and odd ones."""

import shutil
import subprocess
from pathlib import Path

from common.skeleton import COCO, OPENPOSE
from common.test import top_down_golden
from common.test.test_heatmap_decoding import golden_crops, golden_maps
from deploy.test import cases
from deploy.test.cases import Case, of_heatmaps, of_lightweight, of_openpose
from Lightweight_OpenPose.decode import DecodeRules, MapGeometry
from Lightweight_OpenPose.test import synthetic_maps
from Lightweight_OpenPose.test.test_decode import POINTS_ONLY, STAR, case_of
from OpenPose_MindSpore_port.config import DecodeRules as OpenPoseRules
from OpenPose_MindSpore_port.test.test_decode import DRAWN, REAL, golden_case

import numpy as np
import pytest

SIZES = ((96, 120), (140, 173))  # of a network's input, and of an image
HERE = Path(__file__).parent


@pytest.fixture(scope="module", params=["C++", "JavaScript"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    if request.param == "C++":
        built = cases.compiled(tmp_path_factory.mktemp("built"))
        return [built] if built else pytest.skip("no C++ compiler: apt-get install g++")
    node = shutil.which("node")
    return [node, str(HERE / "decode.mjs")] if node else pytest.skip("no node: apt-get install nodejs")


def assert_same(program: list[str], tried: dict[str, Case], folder: Path, skeleton=OPENPOSE) -> None:
    """Peaks and keypoints within 0.01 pixels, scores within 1e-3, the same people in the same order."""
    answers = cases.found_by(program, list(tried.values()), folder)
    for (name, case), answer in zip(tried.items(), answers, strict=True):
        expected = case.call()
        if case.kind == cases.HEATMAPS:
            joints = np.reshape(answer["joints"], (-1, 3))
            np.testing.assert_allclose(joints[:, :2], expected[:, :2], rtol=0, atol=0.01, err_msg=name)
            np.testing.assert_allclose(joints[:, 2], expected[:, 2], rtol=0, atol=1e-3, err_msg=name)
            continue
        found = cases.people_of(answer, skeleton)
        assert found.candidates.shape == expected.candidates.shape, name
        np.testing.assert_allclose(found.candidates, expected.candidates, rtol=0, atol=0.01, err_msg=name)
        np.testing.assert_array_equal(found.members, expected.members, err_msg=name)
        np.testing.assert_array_equal(found.counts, expected.counts, err_msg=name)
        np.testing.assert_allclose(found.points()[..., 2], expected.points()[..., 2], rtol=0, atol=1e-3, err_msg=name)
        np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-3, err_msg=name)


def test_golden_people_of_lightweight_openpose(program: list[str], shared: Path, tmp_path: Path) -> None:
    tried = {}
    for number in range(7):
        _, heatmaps, pafs, geometries = case_of(shared, number)
        tried |= {f"{number} {way}": of_lightweight(heatmaps, pafs, one) for way, one in geometries.items()}
    assert_same(program, tried, tmp_path)


def test_golden_people_of_the_port(program: list[str], shared: Path, tmp_path: Path) -> None:
    golden = {name: golden_case(shared, name)[1] for name in REAL + DRAWN}
    ways = [(name, maps, original) for name, maps in golden.items() for original in (True, False)]
    assert_same(program, {f"{name} {way}": of_openpose(*maps, original=way) for name, maps, way in ways}, tmp_path)


def test_golden_heatmaps(program: list[str], shared: Path, tmp_path: Path) -> None:
    tried = {}
    for tag in top_down_golden.TAGS:
        maps, mirrored = (given.numpy()[:3] for given in golden_maps(shared, tag))
        crops = list(zip(*golden_crops(shared, tag, len(maps)), strict=True))
        edge = top_down_golden.decode_inputs(shared).edge_case(*top_down_golden.map_size(tag)).astype(np.float32)
        for how in cases.HOW:
            given = maps * 20 - 8 if how in ("sigmoid", "softmax") else maps
            flipped = given[::-1].copy() if how in ("sigmoid", "softmax") else mirrored
            for row, crop in enumerate(crops):
                tried[f"{tag} {how} {row}"] = of_heatmaps(given[row], how, crop)
                flip = COCO.keypoint_flip.tolist()
                tried[f"{tag} {how} {row} flip"] = of_heatmaps(given[row], how, crop, mirrored=flipped[row], flip=flip)
        tried[f"{tag} edge"] = of_heatmaps(edge[0], "quarter", crops[0], keep_zero=True)
    assert_same(program, tried, tmp_path)


def test_drawn_people_any_skeleton_and_rules(program: list[str], tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    for skeleton in (STAR, COCO, OPENPOSE, POINTS_ONLY):
        tried = {}
        for noise in (0.0, 0.02):
            points = synthetic_maps.people_in(3, (12, 15), skeleton, random, 70)
            maps = synthetic_maps.drawn(points, (12, 15), skeleton, random, noise)
            for size in ((90, 107), (30, 31), (184, 7)):
                tried[f"{noise} {size}"] = of_lightweight(*maps, MapGeometry(8, (3, 0, 1, 4), size), skeleton)
            rules = DecodeRules(0.15, 1.5, 17, 0.1, 0.5, min_points=2, min_person_score=0.4, max_peaks=7)
            tried[f"{noise} rules"] = of_lightweight(*maps, MapGeometry.demo((12, 15)), skeleton, rules)
            for original in (True, False):
                tried[f"{noise} {original}"] = of_openpose(*maps, SIZES, skeleton, original=original)
            rough = OpenPoseRules(0.0, 0.2, 7, 3, 0.1, 0.5, 0.5, 2, 0.1)
            tried[f"{noise} rough"] = of_openpose(*maps, SIZES, skeleton, rough)
        assert_same(program, tried, tmp_path, skeleton)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_counts_as_nothing(program: list[str], value: float, tmp_path: Path) -> None:
    random = np.random.default_rng(11)
    points = synthetic_maps.people_in(2, (16, 18), STAR, random, 90)
    maps = synthetic_maps.drawn(points, (16, 18), STAR, random)
    bad = [np.where(random.random(one.shape) < 0.05, np.float32(value), one) for one in maps]
    tried = {"a": of_lightweight(*bad, MapGeometry.demo((16, 18)), STAR), "b": of_openpose(*bad, SIZES, STAR)}
    assert_same(program, tried, tmp_path, STAR)


def test_maps_that_do_not_fit_are_refused(program: list[str], tmp_path: Path) -> None:
    heatmaps, pafs = synthetic_maps.pure_noise((8, 8), STAR, np.random.default_rng(0), 0.1)
    for case in (
        of_lightweight(heatmaps[:-1], pafs, MapGeometry.demo((8, 8)), STAR),
        of_lightweight(heatmaps, pafs, MapGeometry(8, (64, 0, 0, 0), (10, 10)), STAR),
        of_openpose(heatmaps, pafs, ((0, 64), (64, 64)), STAR),
    ):
        with pytest.raises(subprocess.CalledProcessError):
            cases.found_by(program, [case], tmp_path)


def test_cmake_builds_what_it_can(tmp_path: Path) -> None:
    """The sample too, where CMake finds ONNX Runtime's headers and library; else it says so."""
    cmake = shutil.which("cmake") or pytest.skip("no cmake: apt-get install cmake")
    folder = str(tmp_path / "build")
    done = subprocess.run([cmake, "-S", str(HERE.parent / "cpp"), "-B", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if "the sample is left out" not in done.stdout:
        subprocess.run([cmake, "--build", folder, "--target", "sample"], check=True)
        refused = subprocess.run([f"{folder}/sample", "a.onnx", str(tmp_path / "none.ppm")], stderr=subprocess.PIPE)
        assert refused.returncode == 2 and b"none.ppm: not a binary PPM" in refused.stderr
