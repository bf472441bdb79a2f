# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from dataclasses import replace
from pathlib import Path

from AlphaPose.config import Config
from AlphaPose.eval import EvaluationSettings, Evaluator, while_training
from AlphaPose.model import SimplePose
from AlphaPose.predict import PoseEstimator
from AlphaPose.test import oracle
from AlphaPose.test.oracle import evaluate_oracle, small
from common.runtime.session import Port, Session
from common.test import top_down_golden as golden
from common.test.programs import launched
from common.test.top_down_oracle import answering
from common.topdown import pipeline
from common.train.log import Log

import numpy as np
import pytest
import torch

GOLDEN_SEED = 7
COORDINATES_IMG = 1e-3  # original pixels


def golden_pictures(people: list[dict], shared: Path) -> list[pipeline.ImageBoxes]:
    """Each person in the box that the original has looked in."""
    boxes = [np.array(person["label_bbox_xyxy"]) for person in people]
    return [
        pipeline.ImageBoxes(
            lambda person=person: np.ascontiguousarray(golden.image(shared, person)[:, :, ::-1]),
            np.concatenate([box[:2], box[2:] - box[:2]])[None],
            np.array([row]),
        )
        for row, (person, box) in enumerate(zip(people, boxes, strict=True))
    ]


@pytest.mark.parametrize("case", ["plain", "flip", "edge", "regress_sigmoid", "regress_softmax"])
def test_golden_keypoints_through_the_whole_pipeline(shared: Path, case: str) -> None:
    people = golden.people(shared, "alphapose")[: 1 if case == "edge" else golden.PEOPLE]
    inputs = golden.decode_inputs(shared)
    if case == "edge":
        answers = [inputs.edge_case(64, 48)]
    else:
        answers = list(inputs.make(np.stack([person["target"] for person in people]), GOLDEN_SEED))
    opts: tuple[str, ...] = ()
    if case.startswith("regress"):
        opts = ("LOSS.TYPE", "L1JointRegression", "LOSS.NORM_TYPE", case.removeprefix("regress_"))
        answers[0] = answers[0] * np.float32(20) - np.float32(8)
    network = PoseEstimator.of_session(answering(*answers), Config(opts=opts, flip_test=case == "flip")).network
    _, found = pipeline.estimate(golden_pictures(people, shared), network, batch_size=golden.PEOPLE)
    wanted = golden.arrays(shared, "decode_alphapose")
    np.testing.assert_allclose(found[..., :2], wanted[f"{case}/coords"], atol=COORDINATES_IMG)
    np.testing.assert_allclose(found[..., 2:], wanted[f"{case}/scores"], rtol=1e-6)


def test_golden_evaluation_of_an_oracle(shared: Path) -> None:
    wanted = json.loads((shared / "golden/topdown/eval_alphapose.json").read_text())
    result = evaluate_oracle(Config(data_path=str(shared / "data/coco-mini")), sigma=2.0, batch_size=32)
    assert result.total["AP"] == pytest.approx(wanted["oracle_gt_mAP_no_flip"], abs=1e-6)
    assert len(result.detections) == wanted["n"]
    by_image = np.argsort(result.detections.image_ids, kind="stable")  # as the original goes through them
    scores, keypoints = result.detections.scores[by_image], result.detections.keypoints[by_image]
    np.testing.assert_allclose(scores[:5], wanted["scores_first5"], rtol=1e-6)
    for found, reference in zip(keypoints, wanted["keypoints_first2"], strict=False):
        np.testing.assert_allclose(found.ravel(), reference, atol=COORDINATES_IMG)


@pytest.mark.parametrize("flip_test", [False, True])
def test_an_oracle_finds_everybody_in_given_boxes(tiny_coco: Path, flip_test: bool) -> None:
    result = evaluate_oracle(Config(data_path=str(tiny_coco), flip_test=flip_test), sigma=2.0)
    assert result.total["AP"] > 0.97 and not result.skipped
    assert {"read", "crop", "network", "decode", "evaluation", "total"} == set(result.seconds)


def detected_twice(folder: Path, tmp_path: Path) -> tuple[str, np.ndarray]:
    """A file with each box by a detector, sure, and once more moved by a pixel, less sure; who is in each of them."""
    evaluator = Evaluator(small(folder), EvaluationSettings())
    given, ids = evaluator.boxes, evaluator.validation.index.image_ids
    entries = [
        {"image_id": int(image), "category_id": 1, "bbox": (box + shift).tolist(), "score": score}
        for shift, score in ((0, 0.9), (1, 0.8))
        for image, box in zip(ids[given.image_rows], given.boxes_img, strict=True)
    ]
    path = tmp_path / "person boxes.json"
    path.write_text(json.dumps(entries))
    order = np.argsort(np.tile(given.image_rows, 2), kind="stable")
    return str(path), np.tile(given.person_rows, 2)[order]


def test_people_in_detected_boxes(tiny_coco: Path, tmp_path: Path) -> None:
    """Suppression leaves one of two detections; scores are AlphaPose's own, or the detector's."""
    (path, people), config = detected_twice(tiny_coco, tmp_path), small(tiny_coco)
    plain = Evaluator(config, EvaluationSettings(detections=path))
    found = plain.boxes
    estimator = oracle.estimator(config, plain.validation, found, people)
    results = {
        rules: Evaluator(config, EvaluationSettings(detections=path, nms=rules[0], scores=rules[1]))(estimator)
        for rules in (("none", "proposal"), ("oks", "proposal"), ("pose", "proposal"), ("none", "box"), ("oks", "box"))
    }
    twice = results["none", "proposal"].detections
    assert len(twice) == len(found) == 2 * len(set(people.tolist()))
    joints = twice.keypoints[..., 2]
    np.testing.assert_allclose(twice.scores, joints.mean(1) + found.scores + 1.25 * joints.max(1), rtol=1e-6)
    np.testing.assert_allclose(results["none", "box"].detections.scores, found.scores)
    for rules, result in results.items():
        assert rules[0] == "none" or len(result.detections) < 0.75 * len(found), rules
        assert rules[0] == "none" or result.total["AP"] > 0.9, rules
    assert results["oks", "box"].detections.scores.max() <= 0.9  # the mean of the keypoints' scores times the box's
    kept = results["oks", "proposal"].detections.image_ids
    assert set(kept) == set(plain.validation.index.image_ids[found.image_rows])


def test_nobody_seen_is_an_ap_of_zero(tiny_coco: Path, tmp_path: Path) -> None:
    (path, _), config = detected_twice(tiny_coco, tmp_path), small(tiny_coco)
    blind = Session("blind", "memory", lambda inputs: [np.zeros((len(inputs[0]), 17, 32, 24), np.float32)])
    estimator = PoseEstimator.of_session(blind, config)
    for detections, nms in (("", "none"), (path, "none"), (path, "oks"), (path, "pose")):
        result = Evaluator(config, EvaluationSettings(detections=detections, nms=nms))(estimator)
        assert result.total["AP"] < 0.05, (detections, nms)


def test_two_ranks_find_what_one_finds(tiny_coco: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_coco, tmp_path / "coco")
    done = launched("AlphaPose.test.oracle", tmp_path / "logs", str(folder), ranks=2)
    assert "Traceback" not in done.stderr, done.stderr
    one = evaluate_oracle(small(folder))
    assert json.loads((folder / "oracle.json").read_text()) == [one.metrics, one.detections.to_json()]


def test_evaluation_of_a_model_in_training_leaves_out_what_training_may_skip(tiny_coco: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_coco, tmp_path / "coco")
    min((folder / "val2017").iterdir()).write_bytes(b"no image")
    torch.manual_seed(0)
    model, config = SimplePose(17, 18).train(), replace(small(folder, flip_test=True), on_bad_image="skip")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with Log(tmp_path / "metrics.jsonl", tmp_path / "logs") as log:
        metrics = while_training(config, torch.device("cpu"), None, log, tmp_path)(model)
    assert 0 <= metrics["AP"] < 0.5 and (tmp_path / "pictures" / "predictions.png").is_file()
    assert "given boxes, 1 skipped" in (tmp_path / "logs" / "train_0.log").read_text()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_an_exported_network_knows_the_size_of_its_input() -> None:
    for shape, size in (((4, 3, 128, 96), (128, 96)), ((None, 3, None, None), (256, 192))):
        session = Session("x.onnx", "memory", lambda arrays: [], (Port("image", shape),))
        network = PoseEstimator.of_session(session, Config()).network
        assert (network.size_in, network.fixed_batch) == (size, shape[0])
