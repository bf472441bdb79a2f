# SPDX-License-Identifier: Apache-2.0
"""One pose a person: the original's numbers, and what must hold for any people."""

import dataclasses
import json
import math
from pathlib import Path

import common.coco.images
from AlphaPose.pose_nms import PUBLISHED_RULES, pose_nms, proposal_scores
from AlphaPose.scoring import given_box_scores
from common.coco import evaluate, reader
from common.skeleton import COCO

import numpy as np
import pytest

CASES = (
    "two_duplicates_one_far", "single", "two_people_many_jitters", "low_scores_dropped", "crowd_20",
    "zero_scores_partial_overlap",
)  # fmt: skip


def people(num_images: int, crowd: int, seed: int = 0, size: float = 400.0, jitter: float = 2.5):
    """Keypoints, boxes, box scores and images; every second is about a copy of the one before."""
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(0, size, (num_images * crowd, 17, 3))
    for row in np.flatnonzero(rng.random(len(keypoints)) < 0.5):
        keypoints[row] = keypoints[row - 1] + rng.normal(0, jitter, (17, 3))
    keypoints[..., 2] = rng.uniform(0, 1, keypoints.shape[:2]).round(1)
    boxes = np.concatenate([keypoints[..., :2].min(1), keypoints[..., :2].max(1)], axis=1)
    return keypoints, boxes, rng.random(len(keypoints)), np.repeat(np.arange(num_images), crowd)


def plain_nms(keypoints, boxes, min_area: float) -> list[tuple[int, list[int], np.ndarray]]:
    """One person after the other, keypoint by keypoint: (pick, group, pose)."""
    rules, poses = PUBLISHED_RULES, keypoints.copy()
    poses[..., 2][poses[..., 2] == 0] = rules.score_floor
    left, found = list(range(len(poses))), []
    while left:
        pick = max(left, key=lambda row: (poses[row, :, 2].mean(), -row))
        size = 0.1 * max(boxes[pick, 2] - boxes[pick, 0], boxes[pick, 3] - boxes[pick, 1])
        group = []
        for row in left:
            gaps = [math.dist(a, b) for a, b in zip(poses[pick, :, :2], poses[row, :, :2], strict=True)]
            pairs = zip(gaps, poses[pick, :, 2], poses[row, :, 2], strict=True)
            likeness = sum((gap <= 1) * math.tanh(a) * math.tanh(b) for gap, a, b in pairs)
            likeness += 1.7 * sum(math.exp(-gap / 2.65) for gap in gaps)
            if likeness > 22.48 or sum(gap / min(size, 7) <= 1 for gap in gaps) >= 5:
                group.append(row)
        left = [row for row in left if row not in group]
        pose = plain_merge(poses[pick], poses[group], min(size, 15))
        area = 1.5**2 * np.prod(pose[:, :2].max(0) - pose[:, :2].min(0))
        if min(poses[pick, :, 2].max(), pose[:, 2].max()) >= 0.3 and area >= min_area:
            found.append((pick, group, pose))
    return found


def plain_merge(pick, group, reach: float):
    near = np.linalg.norm(group[..., :2] - pick[:, :2], axis=2) <= reach
    weights = group[..., 2] * near
    share = weights / weights.sum(0)
    return np.dstack([(share * values).sum(0) for values in (group[..., 0], group[..., 1], weights)])[0]


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, dict]:
    cases = json.loads((shared / "golden" / "topdown" / "nms_cases.json").read_text())
    assert {case["name"] for case in cases} == set(CASES)
    return {case["name"]: case for case in cases}


@pytest.mark.parametrize("min_area", [0, 4000])
@pytest.mark.parametrize("name", CASES)
def test_people_are_the_originals(golden, name: str, min_area: int) -> None:
    case = golden[name]
    keypoints = np.dstack([case["poses"], case["kp_scores"]])
    found, wanted = (
        pose_nms(keypoints, case["boxes"], case["box_scores"], None, min_area),
        case[f"pose_nms_area{min_area}"],
    )
    assert found.picks.tolist() == wanted["pick_ids"]
    assert [list(group) for group in found.members] == wanted["merged_ids"]
    np.testing.assert_allclose(found.boxes_img, wanted["boxes"], rtol=0, atol=0.01)
    np.testing.assert_allclose(found.box_scores, wanted["box_scores"], rtol=0, atol=1e-3)
    np.testing.assert_allclose(found.keypoints_img[..., :2], wanted["poses"], rtol=5e-7)
    np.testing.assert_allclose(found.keypoints_img[..., 2], wanted["kp_scores"], rtol=5e-7)
    np.testing.assert_allclose(found.scores, wanted["proposal_scores"], rtol=5e-7)


@pytest.mark.parametrize(("size", "jitter", "min_area"), [(400, 2.5, 0), (400, 2.5, 300_000), (5, 0.6, 0), (9, 0.5, 0)])
def test_many_images_at_once_are_each_image_alone(size: float, jitter: float, min_area: int) -> None:
    """Among tiny people matching keypoints are rare, and likeness decides."""
    keypoints, boxes, box_scores, images = people(8, 5, 0, size, jitter)
    found = pose_nms(keypoints, boxes, box_scores, images, min_area)
    assert 0 < len(found) < len(keypoints)
    assert sum(len(group) > 1 for group in found.members) > 2
    for image in range(8):
        mine, start = found.select(images[found.picks] == image), 5 * image
        wanted = plain_nms(keypoints[start : start + 5], boxes[start : start + 5], min_area)
        assert mine.picks.tolist() == [start + pick for pick, _, _ in wanted]
        assert [list(group) for group in mine.members] == [[start + row for row in group] for _, group, _ in wanted]
        np.testing.assert_allclose(
            mine.keypoints_img, np.array([pose for *_, pose in wanted]).reshape(-1, 17, 3), rtol=1e-5
        )
        np.testing.assert_allclose(mine.scores, proposal_scores(mine.keypoints_img[..., 2], mine.box_scores))


def test_nothing_given_is_changed() -> None:
    keypoints, boxes, box_scores, images = people(2, 4)
    keypoints[0, 3, 2] = 0
    given = keypoints.astype(np.float32)
    kept = given.copy()
    pose_nms(given, boxes, box_scores, images)
    np.testing.assert_array_equal(given, kept)


def test_nobody() -> None:
    found = pose_nms(np.zeros((0, 17, 3)), np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    assert (len(found), found.keypoints_img.shape, found.boxes_img.shape, found.members) == (0, (0, 17, 3), (0, 4), ())


def test_people_of_whom_nothing_is_sure_leave() -> None:
    keypoints, boxes, box_scores, _ = people(1, 1)
    keypoints[..., 2] = 0.29
    assert len(pose_nms(keypoints, boxes, box_scores)) == 0
    weak = dataclasses.replace(PUBLISHED_RULES, min_score=0.2)
    assert len(pose_nms(keypoints, boxes, box_scores, rules=weak)) == 1
    keypoints[..., 2] = 0
    assert len(pose_nms(keypoints, boxes, box_scores)) == 0


def test_a_box_without_size_merges_nothing_else_and_divides_by_nothing() -> None:
    keypoints, _, box_scores, _ = people(1, 3, seed=3)
    keypoints[..., 2] += 0.4
    turned = np.array([[10, 10, 10, 10], [20, 20, 5, 5], [0, 0, 0, 0]], np.float32)
    found = pose_nms(keypoints, turned, box_scores)
    assert sorted(found.members) == [(0,), (1,), (2,)]
    np.testing.assert_allclose(found.keypoints_img, keypoints[found.picks], rtol=1e-6)


@pytest.mark.parametrize(("score", "is_same"), [(0.8, True), (0.3, False)])
def test_scores_decide_where_all_keypoints_are_near_but_none_matches(score: float, is_same: bool) -> None:
    """A box of 5 pixels: keypoints match within half a pixel; these are 0.9 apart, their nearness is 20.6."""
    keypoints = np.zeros((2, 17, 3))
    keypoints[1, :, 0] = 0.9
    keypoints[..., 2] = score
    found = pose_nms(keypoints, [[0, 0, 5, 5]] * 2, [0.5, 0.5], rules=dataclasses.replace(PUBLISHED_RULES, min_score=0))
    assert found.members == (((0, 1),) if is_same else ((0,), (1,)))


def test_far_keypoints_of_a_group_are_left_out_of_the_mean() -> None:
    keypoints, boxes, _, _ = people(1, 1)
    keypoints = keypoints.repeat(2, 0)
    keypoints[0, :, 2], keypoints[1, :, 2] = 0.9, 0.6
    keypoints[1, :10, 0] += 16
    keypoints[1, 10:, 0] += 5
    [pose] = pose_nms(keypoints, boxes.repeat(2, 0), [0.5, 0.5]).keypoints_img
    np.testing.assert_allclose(pose[:10], keypoints[0, :10], rtol=1e-5)
    np.testing.assert_allclose(pose[10:, 0], keypoints[0, 10:, 0] + 2, rtol=1e-5)
    np.testing.assert_allclose(pose[10:, 2], (0.9**2 + 0.6**2) / 1.5, rtol=1e-5)


def test_equals_are_gathered_around_the_first() -> None:
    keypoints, boxes, _, _ = people(1, 1)
    keypoints[..., 2] = 0.5
    found = pose_nms(keypoints.repeat(3, 0), boxes.repeat(3, 0), [0.1, 0.2, 0.3])
    assert found.picks.tolist() == [0]
    assert found.members == ((0, 1, 2),)
    np.testing.assert_allclose(found.keypoints_img, keypoints, rtol=1e-6)
    assert found.scores[0] == pytest.approx(0.5 + 0.1 + 1.25 * 0.5)


def oracle(person: np.ndarray, box: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(17, 3) what a network finds that repeats its training targets, 64 x 48, sigma 2."""
    low = np.maximum(box[:2], 0)
    high = np.minimum(box[:2] + np.maximum(box[2:] - 1, 0), size - 1)
    width = max((high - low)[0], (high - low)[1] * 0.75) * 1.25
    corner, cell = (low + high) / 2 - np.array([width, width / 0.75]) / 2, width / 48
    cells, last = np.trunc((person[:, :2] - corner) / cell + 0.5), np.array([47, 63])
    seen = (person[:, 2] > 0) & ((cells + 7 > 0) & (cells - 6 <= last)).all(1)
    inside = np.where(seen[:, None], np.clip(cells, 0, last), 0)
    heights = np.where(seen, np.exp(-((cells - inside) ** 2).sum(1) / (2 * 2**2)), 0)
    return np.column_stack([inside * cell + corner, heights])


def test_given_boxes_have_the_originals_precision(shared: Path) -> None:
    path = common.coco.images.annotation_file(shared / "data" / "coco-mini", "val")
    index = reader.load(path)
    owners = np.repeat(np.arange(len(index.image_ids)), np.diff(index.person_offsets))
    rows = np.flatnonzero((index.keypoints[..., 2] > 0).any(1) & ~index.is_crowd)
    sizes = index.image_sizes[owners[rows]][:, ::-1]
    found = np.array(
        [oracle(*row) for row in zip(index.keypoints[rows].astype(np.float64), index.boxes[rows], sizes, strict=True)]
    )
    scores = given_box_scores(found[..., 2])
    wanted = json.loads((shared / "golden" / "topdown" / "eval_alphapose.json").read_text())
    assert len(rows) == wanted["n"]
    detections = evaluate.Detections(index.image_ids[owners[rows]], found, scores)
    metrics = evaluate.average_precision(path, detections, COCO.sigmas)
    assert metrics["AP"] == pytest.approx(wanted["oracle_gt_mAP_no_flip"], abs=1e-9)
    order = [
        int(np.abs(found - np.reshape(person, (17, 3))).sum((1, 2)).argmin()) for person in wanted["keypoints_first2"]
    ]
    np.testing.assert_allclose(found[order].reshape(2, -1), wanted["keypoints_first2"], atol=1e-3)
    np.testing.assert_allclose(scores[order], wanted["scores_first5"][:2], rtol=1e-6)


def test_the_best_keypoint_weighs_more_in_alphaposes_own_score() -> None:
    scores = np.array([[0.2, 0.4], [1.0, 0.0]])
    np.testing.assert_allclose(given_box_scores(scores), [0.7, 1.5])
    np.testing.assert_allclose(proposal_scores(scores, [0.5, 0.0]), [0.3 + 0.5 + 0.5, 0.5 + 1.25])
