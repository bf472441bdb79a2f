# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import common.coco.evaluate
from common.cli import UserError
from common.coco.evaluate import EvaluationSet
from common.coco.images import warp_image
from common.runtime.session import Session
from common.skeleton import COCO, CROWDPOSE, Skeleton
from common.test import top_down_golden as golden
from common.test.programs import launched
from common.topdown import crops, pipeline
from MIPNet.data import normalise as normalise_in_training
from MIPNet.evaluation import Protocol, boxes_of, evaluate, people_of_modes, published_rows, table_of
from MIPNet.inference import InputRule, estimator, normalise
from MIPNet.merging import merge_modes
from MIPNet.test.oracle import PAIRS, PLAIN, Oracle, evaluate_oracle, load

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
GOLDEN_SEED = 7
COORDINATES_IMG = 2e-3  # original pixels; the golden ones are float32 of up to 640
CEILING = 0.9  # AP of ideal maps of 32 x 24 cells
DECODED = 4  # people in the golden maps of w48


def answering(*answers: np.ndarray) -> Session:
    """A network that gives these maps, one after the other."""
    left: Iterator[np.ndarray] = iter(answers)
    return Session("golden", "memory", lambda arrays: [next(left)])


def golden_pictures(people: list[dict[str, Any]], shared: Path) -> list[pipeline.Picture]:
    """Each person in the box that the original has looked in."""
    return [
        pipeline.Picture(
            lambda person=person: np.ascontiguousarray(golden.image(shared, person)[:, :, ::-1]),
            box_of(person)[None], np.array([row]),
        )
        for row, person in enumerate(people)
    ]  # fmt: skip


def box_of(person: dict[str, Any]) -> np.ndarray:
    size = person["scale"].astype(np.float64) / crops.PADDING
    return np.concatenate([person["center"] - size / 2, size])


@pytest.mark.parametrize("tag", ["w48_384x288", "w32_256x192"])
@pytest.mark.parametrize("case", ["plain/post1", "plain/post0", "flip/post1", "edge/post1", "plain/dark"])
def test_golden_keypoints_through_the_whole_pipeline(shared: Path, tag: str, case: str) -> None:
    count = 1 if case.startswith("edge") else DECODED if tag.startswith("w48") else golden.PEOPLE
    people, inputs = golden.people(shared, tag)[:count], golden.decode_inputs(shared)
    answers = [inputs.edge_case(*golden.map_size(tag))]
    if count > 1:
        answers = list(inputs.make(np.stack([person["target"] for person in people]), GOLDEN_SEED))
    refinement: Any = {"post1": "quarter", "post0": "none", "dark": "dark"}[case.split("/")[1]]
    rule = InputRule(golden.SIZES_IN[tag], flip_test=case.startswith("flip"), refinement=refinement)
    network = estimator(answering(*answers), rule, COCO)
    (found,) = pipeline.estimate(golden_pictures(people, shared), network, batch_size=golden.PEOPLE)
    wanted = golden.arrays(shared, "decode_mipnet")[f"{tag}/{case}/coords"]
    np.testing.assert_allclose(found.keypoints_img[..., :2], wanted, atol=0.02 if "dark" in case else COORDINATES_IMG)


def test_golden_inputs(shared: Path) -> None:
    for person in golden.people(shared, "w48_384x288"):
        image = np.ascontiguousarray(golden.image(shared, person)[:, :, ::-1])
        matrix = crops.image_to_crop(crops.Crop(person["center"], person["scale"]), (384, 288), image.shape[1])
        shown = normalise(warp_image(image, matrix, (384, 288))[None])[0]
        np.testing.assert_allclose(
            np.stack([shown.mean((1, 2)), shown.std((1, 2))]), person["input_mean_std"], atol=1e-3
        )


@pytest.mark.parametrize("color_rgb", [True, False])
def test_the_network_sees_what_it_is_trained_on(color_rgb: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 6, 5, 3), np.uint8)
    colours = np.ascontiguousarray(pixels[..., ::-1]) if color_rgb else pixels
    trained = normalise_in_training(torch.from_numpy(colours).permute(0, 3, 1, 2))
    np.testing.assert_allclose(normalise(pixels, color_rgb), trained.numpy(), rtol=0, atol=1e-6)
    blue = np.zeros((1, 4, 4, 3), np.uint8)
    blue[..., 0] = 255
    assert normalise(blue, color_rgb)[0, :, 0, 0].argmax() == (2 if color_rgb else 0)


def test_golden_evaluation(shared: Path) -> None:
    """The predictions of the golden case, in our boxes, with our scores and areas: all numbers of the original."""
    inputs = np.load(shared / "golden/topdown/eval_mipnet_inputs.npz")
    wanted = json.loads((shared / "golden/topdown/eval_mipnet.json").read_text())
    validation = load(shared / "data/coco-mini")
    given = boxes_of(validation, "coco", None)
    ids = validation.index.annotation_ids[given.person_rows]
    order = {person: row for row, person in enumerate(inputs["annotation_id"].tolist())}
    rows = [order[person] for person in ids.tolist()]
    assert sorted(rows) == list(range(len(order)))
    given = dataclasses.replace(given, scores=inputs["box_score"][rows])
    keypoints = np.concatenate([inputs["pred_lambda0"][rows], inputs["pred_lambda1"][rows]], axis=1)
    rule = InputRule(lambdas=(0.0, 1.0))
    network, protocol = estimator(answering(), rule, COCO), Protocol(lambdas=rule.lambdas)
    modes = people_of_modes(keypoints, given, validation, network, protocol)
    for name, chosen in {"lambda_merged": modes, "lambda0": modes[:1], "lambda1": modes[1:]}.items():
        people = merge_modes(chosen, COCO.sigmas, protocol.rules(len(chosen)))
        metrics = common.coco.evaluate.average_precision(validation.annotations, people.detections, COCO.sigmas)
        np.testing.assert_allclose(list(metrics.values()), list(wanted[name].values()), atol=1e-12)
    people = merge_modes(modes, COCO.sigmas, protocol.rules(2))
    found = {(row["annotation_id"], row["score"]): row for row in published_rows(people, given, validation, network)}
    for row in wanted["kept_first10"]:
        mine = found[row["annotation_id"], row["score"]]
        assert all(mine[key] == value for key, value in row.items())


@pytest.mark.parametrize("flip_test", [False, True])
def test_a_plain_oracle_finds_everybody(tiny_coco: Path, flip_test: bool) -> None:
    result = evaluate_oracle(load(tiny_coco), InputRule(PLAIN.size_in, flip_test=flip_test))
    assert result.metrics["AP"] > CEILING and result.num_images == 6 and not result.by_lambda
    assert {"read", "crop", "network", "decode", "merge", "evaluation", "total"} == set(result.seconds)


@pytest.mark.parametrize("flip_test", [False, True])
def test_modes_are_merged_and_count_alone(tiny_coco: Path, flip_test: bool) -> None:
    rule = InputRule(PAIRS.size_in, lambdas=PAIRS.lambdas, flip_test=flip_test)
    result = evaluate_oracle(load(tiny_coco), rule)
    assert list(result.by_lambda) == [0.0, 1.0]
    assert result.by_lambda[1.0]["AP"] > CEILING and result.metrics["AP"] > CEILING
    assert len(result.people_by_lambda[1.0].boxes) == result.num_boxes
    assert result.num_boxes <= len(result.detections) < 2 * result.num_boxes  # whom both found is found once
    everybody = evaluate_oracle(load(tiny_coco), rule, nms="none")
    assert len(everybody.detections) == 2 * result.num_boxes
    lines = table_of(result, "net", Protocol(lambdas=rule.lambdas))
    assert [line.split(" ")[1] for line in lines[2:]] == ["l0,1:net", "l0:net", "l1:net"]
    assert lines[0].startswith("| Arch | AP | AP .5 | AP .75 | AP (M) |")
    assert lines[2].split()[3] == f"{result.metrics['AP']:.3f}"  # where the launchers look for it


def test_two_ranks_find_what_one_finds(tiny_coco: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_coco, tmp_path / "coco")
    found = []
    for ranks in (1, 2):
        done = launched("MIPNet.test.oracle", tmp_path / "logs", str(folder), ranks=ranks)
        assert "Traceback" not in done.stderr, done.stderr
        found.append(json.loads((folder / f"oracle_{ranks}.json").read_text()))
    assert found[0] == found[1] and found[0]["metrics"]["AP"] > CEILING


def sample(shared: Path, name: str, skeleton: Skeleton) -> EvaluationSet:
    folder = shared / "data" / name
    return EvaluationSet.load(folder / f"test_{name}.json", folder, skeleton, 0)


@pytest.mark.parametrize("rule", [PLAIN, PAIRS], ids=["plain", "lambda"])
def test_crowdpose_has_its_own_joints_and_numbers(shared: Path, rule: InputRule) -> None:
    result = evaluate_oracle(sample(shared, "crowdpose", CROWDPOSE), rule, "crowdpose", CROWDPOSE)
    assert tuple(result.metrics) == common.coco.evaluate.CROWDPOSE_METRICS
    assert result.metrics["AP"] > 0.9 and result.num_boxes == 4  # who has no joint has no box
    assert set(result.by_lambda) == set(rule.lambdas)
    titles = table_of(result, "net", Protocol("crowdpose", rule.lambdas))[0]
    assert titles.endswith("| AP (easy) | AP (medium) | AP (hard) |")


def test_crowdpose_suppresses_only_merged_modes_as_said() -> None:
    plain, pairs = Protocol("crowdpose"), Protocol("crowdpose", (0.0, 1.0))
    assert plain.nms_of(1) == "none" and plain.rules(1).oks_threshold is None
    assert pairs.nms_of(2) == "oks" and pairs.rules(2).oks_threshold == 0.9
    assert Protocol("coco").nms_of(1) == "oks" and Protocol("crowdpose", nms="oks").nms_of(1) == "oks"
    assert Protocol(nms="soft").rules(1).soft


def test_crowdpose_in_the_boxes_of_a_detector(shared: Path) -> None:
    validation = sample(shared, "crowdpose", CROWDPOSE)
    found = boxes_of(validation, "crowdpose", shared / "data/crowdpose/test_crowdpose_det_AP_40.json", 0.3)
    assert 0 < len(found) <= 6 and (found.person_rows == -1).all()
    network = estimator(
        Session("blind", "memory", lambda arrays: [np.zeros((len(arrays[0]), 14, 32, 24), np.float32)]),
        PLAIN,
        CROWDPOSE,
    )
    result = evaluate(network, validation, found, CROWDPOSE, 4, Protocol("crowdpose"))
    assert result.metrics["AP"] == 0
    assert {row["annotation_id"] for row in published_rows(result.people, found, validation, network)} == {-1}


def test_a_crowdpose_file_without_crowd_index_is_named(shared: Path, tmp_path: Path) -> None:
    content = json.loads((shared / "data/crowdpose/test_crowdpose.json").read_text())
    for image in content["images"]:
        del image["crowdIndex"]
    (tmp_path / "people.json").write_text(json.dumps(content))
    validation = EvaluationSet.load(tmp_path / "people.json", shared / "data/crowdpose", CROWDPOSE, 0)
    with pytest.raises(UserError, match=r"people.json: no crowdIndex"):
        evaluate_oracle(validation, PLAIN, "crowdpose", CROWDPOSE)


def test_ochuman(shared: Path) -> None:
    result = evaluate_oracle(sample(shared, "ochuman", COCO), PAIRS, "ochuman")
    assert result.by_lambda[1.0]["AP"] > 0.9 and result.num_images == 3 and result.num_boxes == 5


def test_maps_of_another_number_of_joints_are_refused(tiny_coco: Path) -> None:
    validation = load(tiny_coco)
    given = boxes_of(validation, "coco", None)
    oracle = Oracle(validation, given, [given.person_rows], PLAIN, COCO)
    network = estimator(oracle.session(), PAIRS, COCO)
    with pytest.raises(UserError, match="not a map for each of 34"):
        evaluate(network, validation, given, COCO, 4, Protocol(lambdas=PAIRS.lambdas))
