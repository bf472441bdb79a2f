# SPDX-License-Identifier: Apache-2.0
"""Average precision is that of pycocotools and of the official CrowdPose tool, and nothing counts twice."""

import contextlib
import copy
import io
import json
from pathlib import Path

import common.coco.evaluate
import common.coco.images
from common.cli import UserError
from common.coco.annotations import CocoIndex
from common.coco.evaluate import Detections
from common.coco.mini import dataset
from common.coco.reader import parse
from common.skeleton import COCO, CROWDPOSE

import numpy as np
import pytest
from pycocotools import coco as reference_file
from pycocotools.cocoeval import COCOeval as ReferenceEvaluation

# pycocotools' compiled part has not learnt a word of numpy 2.4 yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    folder = dataset.write(tmp_path_factory.mktemp("drawn"), 0, 27)
    return common.coco.images.annotation_file(folder, "val")


def disturbed(content: dict, seed: int, copies: int = 2) -> Detections:
    """Annotated people moved by noise of several strengths, some twice, some left out, and people of noise."""
    rng = np.random.default_rng(seed)
    images, keypoints, scores = [], [], []
    for person in content["annotations"]:
        points = np.array(person["keypoints"], float).reshape(-1, 3)
        size = np.sqrt(person.get("area", 3000.0))
        for _ in range(rng.integers(0, copies + 1)):
            strength = rng.choice([0.0, 0.02, 0.05, 0.15, 1.0])
            noisy = points + rng.normal(0, 1, points.shape) * size * strength
            noisy[:, 2] = rng.random(len(points))
            images.append(person["image_id"])
            keypoints.append(noisy)
            scores.append(round(1 - strength + rng.normal(0, 0.3), 1))  # rounded: equal scores occur
    return Detections(np.array(images), np.array(keypoints), np.array(scores))


def reference(content: dict, detections: Detections, image_ids=None) -> list[float]:
    """The ten numbers of pycocotools."""
    with contextlib.redirect_stdout(io.StringIO()):
        file = reference_file.COCO()
        file.dataset = copy.deepcopy(content)
        file.createIndex()
        evaluation = ReferenceEvaluation(file, file.loadRes(detections.to_json()), "keypoints")
        if image_ids is not None:
            evaluation.params.imgIds = image_ids
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist()


def index_of(content: dict) -> CocoIndex:
    return parse(content, COCO.num_keypoints)[0]


def assert_equal(metrics: dict[str, float], expected: list[float]) -> None:
    assert tuple(metrics) == common.coco.evaluate.COCO_METRICS
    np.testing.assert_allclose(list(metrics.values()), expected, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_metrics_are_those_of_pycocotools(drawn, seed):
    content = json.loads(drawn.read_text())
    detections = disturbed(content, seed, copies=4 * seed + 1)
    metrics = common.coco.evaluate.average_precision(drawn, detections, COCO.sigmas)
    assert 0.01 < metrics["AP"] < 0.99
    assert_equal(metrics, reference(content, detections))
    assert_equal(
        common.coco.evaluate.average_precision(drawn, detections, COCO.sigmas, protocol="ochuman"),
        [*metrics.values()],
    )


def test_only_the_images_asked_for_count(drawn):
    content = json.loads(drawn.read_text())
    detections = disturbed(content, 0)
    chosen = [image["id"] for image in content["images"]][::3]
    metrics = common.coco.evaluate.average_precision(drawn, detections, COCO.sigmas, chosen)
    assert_equal(metrics, reference(content, detections, chosen))
    assert metrics != common.coco.evaluate.average_precision(drawn, detections, COCO.sigmas)
    with pytest.raises(UserError, match="none of its images"):
        common.coco.evaluate.average_precision(drawn, detections, COCO.sigmas, [])


def from_json(results: list[dict], num_keypoints: int) -> Detections:
    return Detections(
        np.array([result["image_id"] for result in results], np.int64),
        np.array([result["keypoints"] for result in results], np.float64).reshape(-1, num_keypoints, 3),
        np.array([result["score"] for result in results], np.float64),
    )


def test_crowdpose_is_that_of_the_official_tool(shared):
    golden = shared / "golden" / "topdown"
    detections = from_json(json.loads((golden / "crowdpose_det.json").read_text()), CROWDPOSE.num_keypoints)
    metrics = common.coco.evaluate.average_precision(
        golden / "crowdpose_gt.json", detections, CROWDPOSE.sigmas, protocol="crowdpose"
    )
    official = json.loads((golden / "crowdpose_official.json").read_text())
    names = {"APeasy": "AP_easy", "APmed": "AP_medium", "APhard": "AP_hard"}
    assert tuple(metrics) == common.coco.evaluate.CROWDPOSE_METRICS
    for name, value in metrics.items():
        assert value == pytest.approx(official[names.get(name, name)], abs=1e-9), name


def test_nobody_detected_is_a_precision_of_zero(drawn):
    metrics = common.coco.evaluate.average_precision(
        drawn, common.coco.evaluate.no_detections(COCO.num_keypoints), COCO.sigmas
    )
    assert metrics["AP"] == metrics["AR"] == 0.0
    nobody = common.coco.evaluate.no_detections(COCO.num_keypoints)
    assert nobody.to_json() == []


def test_perfect_detections_have_a_precision_of_one(drawn):
    """Whatever the ids: 0 means nobody to the library that counts, and a data set of one's own has category 0 or 9."""
    content = json.loads(drawn.read_text())
    people = [person for person in content["annotations"] if person["num_keypoints"]]
    detections = Detections(
        np.array([person["image_id"] for person in people]),
        np.array([person["keypoints"] for person in people]).reshape(len(people), -1, 3),
        np.ones(len(people)),
    )
    for number, person in enumerate(content["annotations"]):
        person["id"] = number
    for category in (0, 1, 9):
        for person in content["annotations"]:
            person["category_id"] = category
        metrics = common.coco.evaluate.average_precision(index_of(content), detections, COCO.sigmas)
        assert (metrics["AP"], metrics["AR"]) == (1.0, 1.0)


@pytest.mark.parametrize("spoiled", ["keypoints", "scores"])
def test_nan_names_the_image(drawn, spoiled):
    detections = disturbed(json.loads(drawn.read_text()), 0)
    getattr(detections, spoiled)[5] = np.nan
    image = detections.image_ids[5]
    with pytest.raises(UserError, match=f"image id {image} has NaN"):
        common.coco.evaluate.average_precision(drawn, detections, COCO.sigmas)


def test_files_that_do_not_fit_are_named(drawn, tmp_path):
    index = index_of(json.loads(drawn.read_text()))
    detections = Detections(np.array([77]), np.zeros((1, 17, 3)), np.ones(1))
    with pytest.raises(UserError, match="image id 77, which is not in annotations"):
        common.coco.evaluate.average_precision(index, detections, COCO.sigmas)
    with pytest.raises(UserError, match="no crowdIndex"):
        nobody = common.coco.evaluate.no_detections(COCO.num_keypoints)
        common.coco.evaluate.average_precision(index, nobody, COCO.sigmas, protocol="crowdpose")
    (tmp_path / "results.json").write_text("[{}]")
    with pytest.raises(UserError, match=r"results\.json: a list"):
        common.coco.evaluate.average_precision(tmp_path / "results.json", detections, COCO.sigmas)
    with pytest.raises(ValueError, match="17 keypoints, 14 sigmas"):
        common.coco.evaluate.average_precision(index, detections, CROWDPOSE.sigmas)


def test_result_file_is_cocos_to_the_last_digit(tmp_path, drawn):
    detections = disturbed(json.loads(drawn.read_text()), 0)
    path = tmp_path / "detections.json"
    detections.write_json(path)
    results = json.loads(path.read_text())
    assert list(results[0]) == ["image_id", "category_id", "keypoints", "score"] and results[0]["category_id"] == 1
    assert path.read_text() == json.dumps(results, indent=4)
    again = from_json(results, COCO.num_keypoints)
    for name in ("image_ids", "keypoints", "scores"):
        np.testing.assert_array_equal(getattr(again, name), getattr(detections, name))
    single = Detections(np.array([1]), np.full((1, 1, 3), 0.1, np.float32), np.array([0.1]))
    assert single.to_json()[0]["keypoints"] == [float(np.float32(0.1))] * 3


def test_arrays_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="2 images, 1 people, 1 scores"):
        Detections(np.zeros(2, np.int64), np.zeros((1, 17, 3)), np.zeros(1))
    with pytest.raises(ValueError, match="must be"):
        Detections(np.zeros(1, np.int64), np.zeros((1, 51)), np.zeros(1))


def test_table_has_the_lines_of_pycocotools(drawn):
    content = json.loads(drawn.read_text())
    detections = disturbed(content, 0)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        file = reference_file.COCO(drawn)
        evaluation = ReferenceEvaluation(file, file.loadRes(detections.to_json()), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    theirs = [line for line in printed.getvalue().splitlines() if "Average" in line]
    metrics = common.coco.evaluate.average_precision(drawn, detections, COCO.sigmas)
    assert common.coco.evaluate.table(metrics).splitlines() == theirs
    crowd = common.coco.evaluate.table(dict.fromkeys(common.coco.evaluate.CROWDPOSE_METRICS, 0.5)).splitlines()
    assert crowd[-1] == " Average Precision  (AP) @[ IoU=0.50:0.95 | type=  hard | maxDets= 20 ] = 0.500"
