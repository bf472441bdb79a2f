# SPDX-License-Identifier: Apache-2.0
"""Whoever is found twice counts once: the originals' numbers, and what must hold for any people."""

import json
from pathlib import Path

from common.skeleton import COCO
from common.topdown import nms

import numpy as np
import pytest

_NAMES = "two_duplicates_one_far single two_people_many_jitters low_scores_dropped crowd_20 zero_scores_partial_overlap"
CASES = tuple(_NAMES.split())


def people(num_images: int, crowd: int, seed: int = 0, ties: bool = False):
    """Keypoints (N, 17, 3), areas, scores and images; two of five people are copies of the one before."""
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(0, 400, (num_images * crowd, 17, 3))
    for row in np.flatnonzero(rng.random(len(keypoints)) < 0.4):
        keypoints[row] = keypoints[row - 1] + rng.normal(0, 4, (17, 3))
    areas = np.prod(keypoints[..., :2].max(1) - keypoints[..., :2].min(1), axis=1)
    scores = rng.random(len(keypoints)).round(1 if ties else 9)
    return keypoints, areas, scores, rng.integers(0, num_images, len(keypoints)) * 7


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, dict]:
    cases = json.loads((shared / "golden" / "topdown" / "nms_cases.json").read_text())
    assert {case["name"] for case in cases} == set(CASES)
    return {case["name"]: case for case in cases}


@pytest.mark.parametrize("name", CASES)
def test_people_kept_are_the_originals(golden, name: str) -> None:
    case = golden[name]
    poses, areas, scores = np.array(case["poses"], np.float32), case["oks_area"], case["oks_score"]
    matrix = nms.oks_matrix(poses, areas, COCO.sigmas)
    np.testing.assert_allclose(matrix, case["oks_matrix"], rtol=0, atol=1e-15)
    for threshold in (0.9, 0.5):
        kept = nms.oks_nms(poses, areas, scores, COCO.sigmas, threshold)
        assert kept.tolist() == case[f"oks_nms_{threshold}"]


@pytest.mark.parametrize("ties", [False, True])
def test_many_images_at_once_are_each_image_alone(ties: bool) -> None:
    keypoints, areas, scores, images = people(9, 6, ties=ties)
    expected = []
    for image in dict.fromkeys(images.tolist()):
        rows = np.flatnonzero(images == image)
        expected += rows[nms.oks_nms(keypoints[rows], areas[rows], scores[rows], COCO.sigmas, 0.5)].tolist()
    kept = nms.oks_nms(keypoints, areas, scores, COCO.sigmas, 0.5, images)
    assert kept.tolist() == expected
    assert 0 < len(kept) < len(scores)
    named = nms.oks_nms(keypoints, areas, scores, COCO.sigmas, 0.5, [f"image {i}" for i in images])
    assert named.tolist() == expected


def test_of_equal_scores_the_last_comes_first() -> None:
    keypoints = np.repeat(np.arange(4.0)[:, None, None] * 1000, 17, axis=1).repeat(2, axis=2)
    kept = nms.oks_nms(keypoints, np.full(4, 100.0), np.full(4, 0.5), COCO.sigmas)
    assert kept.tolist() == [3, 2, 1, 0]
    twins = np.zeros((3, 17, 2))
    assert nms.oks_nms(twins, np.full(3, 100.0), np.zeros(3), COCO.sigmas).tolist() == [2]


def test_who_has_gone_takes_nobody_along() -> None:
    """a is like b and b like c, but a not like c: only b goes."""
    keypoints = np.zeros((3, 17, 2))
    keypoints[1, :, 0], keypoints[2, :, 0] = 8, 16
    areas = np.full(3, 10_000.0)
    matrix = nms.oks_matrix(keypoints, areas, COCO.sigmas)
    assert matrix[0, 2] < 0.6 < min(matrix[0, 1], matrix[1, 2])
    assert nms.oks_nms(keypoints, areas, [0.9, 0.8, 0.7], COCO.sigmas, 0.6).tolist() == [0, 2]


def test_confident_mean_leaves_out_what_is_unsure() -> None:
    scores = np.array([[0.5, 0.1, 0.3], [0.2, 0.1, 0.0], [1.0, 1.0, 0.25]], np.float32)
    mean = nms.confident_mean(scores)
    assert mean.dtype == np.float32
    np.testing.assert_allclose(mean, [0.4, 0.0, 0.75], rtol=1e-6)
    assert nms.confident_mean(scores, threshold=0.0)[0] == pytest.approx(0.3)
    assert nms.confident_mean(np.zeros((0, 17))).shape == (0,)
