# SPDX-License-Identifier: Apache-2.0
"""Kinds of errors and distances in hand-made cases with known answers, and the page of a report."""

import functools
import json
import math
from pathlib import Path

from common.cli import UserError
from common.coco import accuracy, errors, images
from common.coco.evaluate import Detections, EvaluationSet
from common.coco.reader import parse
from common.media import error_report, html_page
from common.skeleton import COCO, Skeleton

import numpy as np
import pytest

POINTS = Skeleton("points", ("left_hand", "right_hand", "nose"), (0.1, 0.1, 0.1), (("left_hand", "right_hand"),))
AREA = 10_000.0  # s = 100 px, 2 sigma = 0.2: ks is 0.85 at 11.4 px and 0.5 at 23.5 px
JUST_GOOD, JUST_NEAR = (0.2 * 100 * math.sqrt(-2 * math.log(ks)) for ks in (0.85, 0.5))
FIRST = np.array([(100, 300, 2), (300, 300, 2), (200, 100, 2)], float)
SECOND = FIRST + (1000, 0, 0)


def index_of(*images_of_people, boxes=None, **more):
    images_, annotations = [], []
    for number, people in enumerate(images_of_people, 1):
        images_.append({"id": number, "file_name": f"{number}.jpg", "width": 3000, "height": 1000})
        for keypoints in people:
            place = {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "area": AREA}
            box = boxes[len(annotations)] if boxes else [0, 0, 400, 400]
            annotations.append({**place, "bbox": box, "keypoints": np.ravel(keypoints).tolist(), **more})
    sections = {"images": images_, "annotations": annotations}
    return parse(sections, len(images_of_people[0][0]))[0]


def detections_of(*people, ids=None):
    scores = np.linspace(0.9, 0.5, len(people)) if len(people) else np.zeros(0)
    ids = np.array(ids if ids is not None else [1] * len(people), np.int64)
    return Detections(ids, np.array(people, float).reshape(len(people), -1, 3), scores)


def kinds_of(index, detections, skeleton=POINTS):
    found = errors.match(index, np.arange(index.num_images), detections, skeleton)
    return [[errors.KINDS[kind] if kind >= 0 else "-" for kind in row] for row in found.kinds.tolist()]


def moved(keypoints, place, x, y=0.0):
    changed = keypoints.copy()
    changed[place, :2] += x, y
    return changed


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (FIRST, "good"),
        (moved(FIRST, 0, JUST_GOOD - 0.1), "good"),
        (moved(FIRST, 0, JUST_GOOD + 0.1), "jitter"),
        (moved(FIRST, 0, 0, JUST_NEAR - 0.1), "jitter"),
        (moved(FIRST, 0, 0, JUST_NEAR + 0.1), "miss"),
        (moved(FIRST, 0, 200), "inversion"),  # at the right hand
        (moved(FIRST, 0, 200 - JUST_NEAR + 0.1), "inversion"),
        (moved(FIRST, 0, 1000), "swap"),  # at the left hand of the other person
        (moved(FIRST, 0, 1200), "swap"),  # at the right hand of the other person
        (moved(FIRST, 0, 100, -200), "miss"),  # at the nose: no counterpart of a hand
        (moved(FIRST, 0, 1100, -200), "miss"),  # at the other's nose
        (FIRST * np.array([[1, 1, 0], [1, 1, 1], [1, 1, 1]]), "miss"),  # not detected
    ],
)
def test_a_keypoint_is_of_the_published_kind(found, kind):
    index = index_of([FIRST, SECOND])
    assert kinds_of(index, detections_of(found, SECOND)) == [[kind, "good", "good"], ["good"] * 3]


def test_what_is_not_labelled_has_no_kind_and_is_nobodys_counterpart():
    hidden = FIRST.copy()
    hidden[1] = 0
    assert kinds_of(index_of([hidden]), detections_of(moved(FIRST, 0, 200))) == [["miss", "-", "good"]]


def test_people_who_are_not_found_and_detections_of_nobody():
    index = index_of([FIRST, SECOND])
    nobody = FIRST + (2200, 500, 0)
    found = errors.match(index, np.array([0]), detections_of(nobody, FIRST), POINTS)
    assert found.found_by.tolist() == [1, -1] and found.background.tolist() == [True, False]
    assert (found.kinds[1] == errors.NOT_LABELLED).all() and np.isnan(found.distances[1]).all()
    crowd = index_of([FIRST], iscrowd=1, boxes=[[2000, 500, 600, 500]])
    assert not errors.match(crowd, np.array([0]), detections_of(nobody), POINTS).background.any()


def test_distances_and_heads_of_a_known_case():
    index = index_of([COCO_PERSON], boxes=[[0, 0, 100, 200]])
    mine = COCO_PERSON.copy()
    mine[:, 0] += 10
    numbers = accuracy.accuracy(index, errors.match(index, np.array([0]), detections_of(mine), COCO), COCO)
    assert numbers["epe_px"]["all"] == pytest.approx(10) and numbers["epe_relative"]["nose"] == pytest.approx(0.05)
    # the head is 20 px wide, from ear to ear: half of it is the distance
    assert numbers["pckh"]["0.5"]["all"] == 1 and numbers["pckh"]["0.2"]["all"] == 0
    assert numbers["pck"]["0.05"]["all"] == 1 and numbers["auc"]["all"] == pytest.approx(0.91)  # a step at 0.05
    index = index_of([FIRST, SECOND])
    numbers = accuracy.accuracy(index, errors.match(index, np.array([0]), detections_of(FIRST), POINTS), POINTS)
    assert numbers["pck"]["0.05"]["all"] == 1 and numbers["pck_of_all"]["0.05"]["nose"] == 0.5
    assert accuracy.accuracy(*points_case(), POINTS)["pckh"] is None  # it has no head


def test_pck_is_that_of_a_plain_version():
    rng = np.random.default_rng(0)
    truth = np.concatenate([rng.uniform(0, 300, (30, 3, 2)), np.full((30, 3, 1), 2.0)], axis=2)
    found = truth + np.concatenate([rng.normal(0, 15, (30, 3, 2)), np.zeros((30, 3, 1))], axis=2)
    boxes = np.concatenate([np.zeros((30, 2)), rng.uniform(100, 400, (30, 2))], axis=1).tolist()
    truth[::3, 1, 2], found[::4, 2, 2] = 0, 0  # not labelled; not found
    index = index_of(*truth[:, None], boxes=boxes)
    matches = errors.match(index, np.arange(30), detections_of(*found, ids=range(1, 31)), POINTS)
    numbers = accuracy.accuracy(index, matches, POINTS)

    def plain_pck(threshold):
        near = []
        for person, mine, box, by in zip(truth, found, boxes, matches.found_by, strict=True):
            for (x, y, v), (mine_x, mine_y, score) in zip(person, mine, strict=True):
                if v > 0 and by >= 0:
                    near.append(score > 0 and math.dist((x, y), (mine_x, mine_y)) <= threshold * max(box[2:]))
        return sum(near) / len(near)

    for threshold in accuracy.PCK_THRESHOLDS:
        assert numbers["pck"][str(threshold)]["all"] == pytest.approx(plain_pck(threshold), abs=1e-6)
    curve = [plain_pck(step / 100) for step in range(51)]
    area = sum((a + b) / 2 for a, b in zip(curve, curve[1:], strict=False)) / 50
    assert numbers["auc"]["all"] == pytest.approx(area, abs=1e-6)


COCO_PERSON = np.array([(40 + 5 * place, 20 + 10 * place, 2) for place in range(17)], float)
COCO_PERSON[:5, :2] = (50, 20), (54, 18), (46, 18), (60, 20), (40, 20)


def points_case():
    index = index_of([FIRST])
    return index, errors.match(index, np.array([0]), detections_of(FIRST), POINTS)


def test_parts_have_the_ap_of_their_images():
    one = [FIRST]
    two = [FIRST, SECOND]
    index = index_of(one, two, two, boxes=[[0, 0, 400, 400]] * 3 + [[0, 0, 400, 400], [0, 0, 400, 300]])
    found = detections_of(FIRST, moved(FIRST, 0, 30), SECOND, ids=[1, 2, 3])
    validation = EvaluationSet(Path(), Path(), index, np.arange(3))
    measure = functools.partial(accuracy.precision, found, POINTS, "coco")
    crowds = accuracy.by_part("people", validation, measure)
    assert [part["images"] for part in crowds] == [1, 2, 0, 0]
    assert crowds[0]["AP"] == pytest.approx(1) and crowds[2]["AP"] is None
    expected = EvaluationSet.of(index, [2, 3]).average_precision(found.select(found.image_ids > 1), POINTS.sigmas)["AP"]
    assert crowds[1]["AP"] == pytest.approx(expected, abs=1e-6)
    overlaps = accuracy.by_part("overlap", validation, measure)
    assert [part["images"] for part in overlaps] == [0, 0, 0, 2]  # the first image has no overlapping people
    without = accuracy.without_each(validation, POINTS, measure)
    assert without["left_hand"] > without["nose"]


def truth_of(tiny_coco: Path) -> tuple[EvaluationSet, Detections]:
    """The validation images, and their annotated people as detections."""
    path = images.annotation_file(tiny_coco, "val")
    validation = EvaluationSet.load(path, images.image_folder(tiny_coco, "val"), COCO, 0)
    index = validation.index
    people = np.flatnonzero(~index.is_crowd & (index.num_keypoints > 0))
    ids = index.image_ids[index.image_rows(people)]
    return validation, Detections(ids, index.keypoints[people].astype(float), np.full(len(people), 0.9))


def test_the_page_of_a_drawn_data_set(tiny_coco, tmp_path):
    validation, detections = truth_of(tiny_coco)
    detections.keypoints[0, 0, 0] += 200  # the nose, far away
    error_report.write(validation, detections, COCO, tmp_path)
    numbers = json.loads((tmp_path / "report.json").read_text())
    assert numbers["errors"]["nose"]["miss"] == 1 and numbers["errors"]["left_eye"]["miss"] == 0
    assert numbers["people_found"] == numbers["people"] == len(detections) and numbers["detections_of_nobody"] == 0
    page = (tmp_path / "report.html").read_text()
    assert page.count("<figure>") == 1 and page.count("<table>") == 7 and "http-equiv" not in page
    assert "1 of" in page


def test_names_of_files_are_text_on_the_page():
    shown = html_page.figure(np.zeros((4, 4, 3), np.uint8), "<script>&\x1b.jpg")
    assert "&lt;script&gt;&amp;\\x1b.jpg" in shown


def test_results_of_other_images_are_refused(tiny_coco, tmp_path):
    found = Detections(np.array([7], np.int64), np.ones((1, 17, 3)), np.ones(1))
    with pytest.raises(UserError, match="image id 7"):
        error_report.write(truth_of(tiny_coco)[0], found, COCO, tmp_path)
