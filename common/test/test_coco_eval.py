# SPDX-License-Identifier: Apache-2.0
"""Average precision is that of pycocotools and of the official CrowdPose tool, and nothing counts twice."""

import contextlib
import copy
import io
import json

from common.cli import UserError
from common.coco import images
from common.coco.evaluate import COCO_METRICS, CROWDPOSE_METRICS, Detections, EvaluationSet, no_detections, table
from common.coco.mini import dataset
from common.coco.reader import load, parse
from common.skeleton import COCO, CROWDPOSE

import numpy as np
import pytest
from pycocotools import coco as reference_file
from pycocotools.cocoeval import COCOeval as ReferenceEvaluation

# pycocotools' compiled part has not learnt a word of numpy 2.4 yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
NOBODY = no_detections(COCO.num_keypoints)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> dict:
    """The content of an annotation file."""
    folder = dataset.write(tmp_path_factory.mktemp("drawn"), 0, 27)
    return json.loads(images.annotation_file(folder, "val").read_text())


@pytest.fixture(scope="module")
def index(drawn):
    return parse(drawn)[0]


def disturbed(content: dict, seed: int, copies: int = 2) -> Detections:
    """Annotated people moved by noise of several strengths, some twice, some left out, and people of noise."""
    rng = np.random.default_rng(seed)
    ids, keypoints, scores = [], [], []
    for person in content["annotations"]:
        points = np.array(person["keypoints"], float).reshape(-1, 3)
        size = np.sqrt(person.get("area", 3000.0))
        for _ in range(rng.integers(0, copies + 1)):
            strength = rng.choice([0.0, 0.02, 0.05, 0.15, 1.0])
            noisy = points + rng.normal(0, 1, points.shape) * size * strength
            noisy[:, 2] = rng.random(len(points))
            ids.append(person["image_id"])
            keypoints.append(noisy)
            scores.append(round(1 - strength + rng.normal(0, 0.3), 1))  # rounded: equal scores occur
    return Detections(np.array(ids), np.array(keypoints), np.array(scores))


def reference(content: dict, detections: Detections, image_ids=None) -> tuple[list[float], list[str]]:
    """The ten numbers of pycocotools, and its lines."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        file = reference_file.COCO()
        file.dataset = copy.deepcopy(content)
        file.createIndex()
        evaluation = ReferenceEvaluation(file, file.loadRes(detections.to_json()), "keypoints")
        if image_ids is not None:
            evaluation.params.imgIds = image_ids
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist(), [line for line in printed.getvalue().splitlines() if "Average" in line]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("every", [1, 3])
def test_metrics_are_those_of_pycocotools(drawn, index, seed, every):
    detections = disturbed(drawn, seed, copies=4 * seed + 1)
    chosen = [image["id"] for image in drawn["images"]][::every]
    metrics = EvaluationSet.of(index, chosen).average_precision(detections, COCO.sigmas)
    numbers, lines = reference(drawn, detections, chosen)
    assert tuple(metrics) == COCO_METRICS and 0.01 < metrics["AP"] < 0.99
    np.testing.assert_allclose(list(metrics.values()), numbers, atol=1e-9)
    assert table(metrics).splitlines() == lines
    assert EvaluationSet.of(index, chosen).average_precision(detections, COCO.sigmas, "ochuman") == metrics


def test_crowdpose_is_that_of_the_official_tool(shared):
    golden = shared / "golden" / "topdown"
    results = json.loads((golden / "crowdpose_det.json").read_text())
    detections = Detections(
        np.array([result["image_id"] for result in results]),
        np.array([result["keypoints"] for result in results]).reshape(len(results), -1, 3),
        np.array([result["score"] for result in results]),
    )
    index = load(golden / "crowdpose_gt.json")
    metrics = EvaluationSet.of(index).average_precision(detections, CROWDPOSE.sigmas, "crowdpose")
    official = json.loads((golden / "crowdpose_official.json").read_text())
    names = {"APeasy": "AP_easy", "APmed": "AP_medium", "APhard": "AP_hard"}
    assert tuple(metrics) == CROWDPOSE_METRICS
    for name, value in metrics.items():
        assert value == pytest.approx(official[names.get(name, name)], abs=1e-9), name
    last = table({**metrics, "APhard": 0.5}).splitlines()[-1]
    assert last == " Average Precision  (AP) @[ IoU=0.50:0.95 | type=  hard | maxDets= 20 ] = 0.500"


def test_no_detections_are_a_precision_of_zero(index):
    metrics = EvaluationSet.of(index).average_precision(NOBODY, COCO.sigmas)
    assert metrics["AP"] == metrics["AR"] == 0.0 and NOBODY.to_json() == []


def test_perfect_detections_have_a_precision_of_one(drawn):
    """For any ids: the evaluation library takes 0 as no match, and custom data sets have category 0 or 9."""
    content = copy.deepcopy(drawn)
    people = [person for person in content["annotations"] if person["num_keypoints"]]
    detections = Detections(
        np.array([person["image_id"] for person in people]),
        np.array([person["keypoints"] for person in people]).reshape(len(people), -1, 3),
        np.ones(len(people)),
    )
    for category in (0, 1, 9):
        for number, person in enumerate(content["annotations"]):
            person.update(id=number, category_id=category)
        metrics = EvaluationSet.of(parse(content)[0]).average_precision(detections, COCO.sigmas)
        assert (metrics["AP"], metrics["AR"]) == (1.0, 1.0)


@pytest.mark.parametrize("spoiled", ["keypoints", "scores"])
def test_nan_names_the_image(drawn, index, spoiled):
    detections = disturbed(drawn, 0)
    getattr(detections, spoiled)[5] = np.nan
    with pytest.raises(UserError, match=f"image id {detections.image_ids[5]} has NaN"):
        EvaluationSet.of(index).average_precision(detections, COCO.sigmas)


def test_what_does_not_fit_is_named(index):
    detections = Detections(np.array([77]), np.zeros((1, 17, 3)), np.ones(1))
    with pytest.raises(UserError, match="image id 77, which is not in annotations"):
        EvaluationSet.of(index).average_precision(detections, COCO.sigmas)
    with pytest.raises(UserError, match="no crowdIndex"):
        EvaluationSet.of(index).average_precision(NOBODY, COCO.sigmas, "crowdpose")
    with pytest.raises(UserError, match="none of its images"):
        EvaluationSet.of(index, []).average_precision(NOBODY, COCO.sigmas)
    with pytest.raises(ValueError, match="17 keypoints, 14 sigmas"):
        EvaluationSet.of(index).average_precision(detections, CROWDPOSE.sigmas)


def test_result_file_is_cocos_to_the_last_digit(tmp_path, drawn):
    detections = disturbed(drawn, 0)
    path = tmp_path / "detections.json"
    detections.write_json(path)
    results = json.loads(path.read_text())
    assert list(results[0]) == ["image_id", "category_id", "keypoints", "score"] and results[0]["category_id"] == 1
    assert path.read_text() == json.dumps(results, indent=4)
    assert [result["score"] for result in results] == detections.scores.tolist()
    assert np.array_equal(np.ravel([result["keypoints"] for result in results]), detections.keypoints.ravel())
    single = Detections(np.array([1]), np.full((1, 1, 3), 0.1, np.float32), np.array([0.1]))
    assert single.to_json()[0]["keypoints"] == [float(np.float32(0.1))] * 3
