# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import common.coco.evaluate
import common.coco.images
from common.media.detectors import Boxes
from common.test import top_down_golden as golden
from common.test.programs import launched
from common.test.top_down_oracle import answering
from common.topdown import crops, pipeline
from common.train.log import Log
from MIPNet import eval as program
from MIPNet import weights
from MIPNet.eval import Evaluator, while_training
from MIPNet.model import build
from MIPNet.predict import PoseEstimator, normalise_crops
from MIPNet.test.oracle import PAIRS, config_of, evaluate_oracle
from MIPNet.test.programs import run, small_checkpoint

import numpy as np
import pytest
import torch

GOLDEN_SEED = 7
COORDINATES_IMG = 2e-3  # original pixels; the golden ones are float32 of up to 640
DARK_IMG = 0.01  # the smoothing sums in another order; the logarithm of noise magnifies that
CEILING = 0.9  # AP of ideal maps of 32 x 24 cells
DECODED = 4  # people in the golden maps of w48
CPU = torch.device("cpu")


def of_sample(shared: Path, name: str, *more: object) -> tuple[object, ...]:
    """Folder and words for the sample of CrowdPose or OCHuman."""
    place = ("DATASET.TEST_ANNOTATION_FILE", f"test_{name}.json", "DATASET.TEST_IMAGE_DIR", ".")
    return (shared / "data" / name, *place, "DATASET.DATASET", name, *more)


def golden_pictures(people: list[dict[str, Any]], shared: Path) -> Iterator[pipeline.ImageBoxes]:
    """Each person in the box that the original has looked in."""
    for row, person in enumerate(people):
        image = np.ascontiguousarray(golden.image(shared, person)[:, :, ::-1])
        size = person["scale"].astype(np.float64) / crops.PADDING
        box = np.concatenate([person["center"] - size / 2, size])
        yield pipeline.ImageBoxes(lambda image=image: image, box[None], np.array([row]))


@pytest.mark.parametrize("tag", ["w48_384x288", "w32_256x192"])
@pytest.mark.parametrize("case", ["plain/post1", "plain/post0", "flip/post1", "edge/post1", "plain/dark", "flip/dark"])
def test_golden_keypoints_through_the_whole_pipeline(shared: Path, tag: str, case: str) -> None:
    count = 1 if case.startswith("edge") else DECODED if tag.startswith("w48") else golden.PEOPLE
    people, inputs = golden.people(shared, tag)[:count], golden.decode_inputs(shared)
    answers = [inputs.edge_case(*golden.map_size(tag))]
    if count > 1:
        answers = list(inputs.make(np.stack([person["target"] for person in people]), GOLDEN_SEED))
    refined = ("TEST.POST_PROCESS", "post0" not in case, "TEST.REFINEMENT", "dark" if "dark" in case else "quarter")
    sizes = zip(("image", "heatmap"), (golden.SIZES_IN[tag], golden.map_size(tag)), strict=True)
    flags = [f"--{name}_size={height},{width}" for name, (height, width) in sizes]
    config = config_of(shared, *flags, *refined, "TEST.FLIP_TEST", case.startswith("flip"))
    network = PoseEstimator.of_session(answering(*answers), config).network
    _, found = pipeline.estimate(golden_pictures(people, shared), network, batch_size=golden.PEOPLE)
    expected = golden.arrays(shared, "decode_mipnet")[f"{tag}/{case}/coords"]
    np.testing.assert_allclose(found[..., :2], expected, atol=DARK_IMG if "dark" in case else COORDINATES_IMG)


@pytest.mark.parametrize("color_rgb", [True, False])
def test_the_network_sees_the_channels_in_its_order(color_rgb: bool) -> None:
    blue = np.zeros((1, 4, 4, 3), np.uint8)
    blue[..., 0] = 255
    assert normalise_crops(blue, color_rgb)[0, :, 0, 0].argmax() == (2 if color_rgb else 0)


def test_golden_evaluation(shared: Path) -> None:
    """The predictions of the golden case, in our boxes, with our scores and areas: all numbers of the original."""
    inputs = np.load(shared / "golden/topdown/eval_mipnet_inputs.npz")
    expected = json.loads((shared / "golden/topdown/eval_mipnet.json").read_text())
    folder = shared / "data/coco-mini"
    annotations = common.coco.images.annotation_file(folder, "val")
    names = ("DATASET.TEST_ANNOTATION_FILE", f"annotations/{annotations.name}")
    config = config_of(folder, "--image_size=384,288", "--heatmap_size=96,72", *PAIRS, *names)
    evaluator, estimator = Evaluator(config), PoseEstimator.of_session(answering(), config)
    images, boxes = evaluator.validation, evaluator.boxes
    order = {person: row for row, person in enumerate(inputs["annotation_id"].tolist())}
    places = [order[person] for person in images.index.annotation_ids[boxes.person_rows].tolist()]
    assert sorted(places) == list(range(len(order)))
    keypoints = np.stack([inputs["pred_lambda0"][places], inputs["pred_lambda1"][places]], axis=1)
    found = keypoints, boxes.boxes_img, inputs["box_score"][places], images.index.image_ids[boxes.image_rows]
    for name, modes in {"lambda_merged": None, "lambda0": [0], "lambda1": [1]}.items():
        people = estimator.merge(*found, modes)
        metrics = images.average_precision(people, estimator.skeleton.sigmas)
        np.testing.assert_allclose(list(metrics.values()), list(expected[name].values()), atol=1e-12)
    people = estimator.merge(*found)
    assert (2 * len(boxes), len(people.boxes)) == (expected["n_in"], expected["n_kept_merged"])
    rows = {(row["annotation_id"], row["score"]): row for row in evaluator.published(people, boxes, estimator)}
    for row in expected["kept_first10"]:
        mine = rows[row["annotation_id"], row["score"]]
        assert all(mine[key] == value for key, value in row.items())


@pytest.mark.parametrize("flip_test", ["false", "true"])
def test_a_network_that_knows_the_answers_finds_all_people(tiny_coco: Path, flip_test: str) -> None:
    plain = evaluate_oracle(config_of(tiny_coco, "TEST.FLIP_TEST", flip_test))
    assert plain.total["AP"] > CEILING and list(plain.metrics) == [""]
    assert {"read", "crop", "network", "decode", "evaluation", "total"} == set(plain.seconds)
    assert program.published_table(plain.metrics, "net")[2].startswith("| net | ")
    result = evaluate_oracle(config_of(tiny_coco, *PAIRS, "TEST.FLIP_TEST", flip_test))
    assert result.metrics["l1"]["AP"] > CEILING and result.total["AP"] > CEILING
    assert len(result.people["l1"].boxes) == result.num_boxes
    assert result.num_boxes <= len(result.detections) < 2 * result.num_boxes  # who is found by both is found once
    lines = program.published_table(result.metrics, "net")
    assert [line.split(" ")[1] for line in lines[2:]] == ["l0,1:net", "l0:net", "l1:net"]
    assert lines[0].startswith("| Arch | AP | AP .5 | AP .75 | AP (M) |")
    assert lines[2].split()[3] == f"{result.total['AP']:.3f}"  # where the launchers look for it


def test_two_ranks_find_what_one_finds(tiny_coco: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_coco, tmp_path / "coco")
    done = launched("MIPNet.test.oracle", tmp_path / "logs", str(folder), ranks=2)
    assert "Traceback" not in done.stderr, done.stderr
    alone = evaluate_oracle(config_of(folder, *PAIRS))
    metrics, people = json.loads((folder / "oracle.json").read_text())
    assert metrics == alone.metrics and people == json.loads(json.dumps(alone.detections.to_json()))


@pytest.mark.parametrize("more", [(), PAIRS], ids=["plain", "lambda"])
def test_crowdpose_has_its_own_joints_and_numbers(shared: Path, more: tuple[str, ...]) -> None:
    result = evaluate_oracle(config_of(*of_sample(shared, "crowdpose", *more)))
    assert tuple(result.total) == common.coco.evaluate.CROWDPOSE_METRICS
    assert result.total["AP"] > 0.9 and result.num_boxes == 4  # who has no joint has no box
    assert program.published_table(result.metrics, "net")[0].endswith("| AP (easy) | AP (medium) | AP (hard) |")


@pytest.mark.parametrize(
    ("more", "stay"),
    [
        ((), 1),
        (("DATASET.DATASET", "crowdpose"), 2),
        (("DATASET.DATASET", "crowdpose", *PAIRS), 1),
        (("DATASET.DATASET", "crowdpose", "TEST.NMS", "oks"), 1),
        (("TEST.NMS", "none"), 2),
    ],
)
def test_images_and_evaluations_suppress_by_one_rule(tmp_path: Path, more: tuple[str, ...], stay: int) -> None:
    """The person of one box is found in another box, too."""
    estimator = PoseEstimator.of_session(answering(), config_of(tmp_path, *more))
    keypoints = np.ones((2, estimator.num_modes, estimator.skeleton.num_keypoints, 3))
    boxes = Boxes(np.array([[0.0, 0, 90, 90], [5, 5, 90, 90]]), np.array([0.9, 0.8]), [None, None])
    assert len(estimator.merged(keypoints, boxes)) == stay


def test_who_both_modes_found_is_found_once_and_the_other_person_stays(tmp_path: Path) -> None:
    keypoints = np.full((2, 2, 17, 3), 0.8)  # boxes, modes
    keypoints[..., :2] = [[[[0]], [[0.1]]], [[[250]], [[500]]]]
    boxes = np.array([[0.0, 0, 90, 120]] * 2), np.ones(2), np.array([5, 5])
    found, every = (
        PoseEstimator.of_session(answering(), config_of(tmp_path, *PAIRS, *rules)).merge(keypoints, *boxes)
        for rules in ((), ("TEST.NMS", "none"))
    )
    assert (found.modes.tolist(), found.boxes.tolist()) == ([1, 1, 0], [1, 0, 1])
    np.testing.assert_allclose(found.scores, [0.8, 0.8, 0.4])
    assert every.boxes.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("more", [(), ("--lambda",)], ids=["plain", "lambda"])
def test_the_program_leaves_people_numbers_and_its_protocol(more, tiny_coco, tmp_path, capsys) -> None:
    config, checkpoint = small_checkpoint(tmp_path, f"--output_dir={tmp_path}", "--experiment=", *more)
    place = (f"--data_path={tiny_coco}", f"--output_dir={tmp_path}", "--device=cpu")
    run(program, *place, f"--checkpoint_path={checkpoint}", "--save_images=1", "--report", "TEST.FLIP_TEST", "false")
    said = capsys.readouterr().out
    assert "protocol: boxes given, data_set coco" in said and "| Arch | AP |" in said
    assert f"{config.yaml.MODEL.NAME} | " in said
    assert "input_size (64, 64)" in said  # the checkpoint's, not the file's
    folder = config.folder / "eval"
    expected = {"detections.json", "metrics.jsonl", "pictures.png", "report.html", "report.json"}
    assert {path.name for path in folder.iterdir()} == expected | (
        {"detections_l0.json", "detections_l1.json"} if more else set()
    )
    (record,) = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert record["protocol"]["flip_test"] is False and record["protocol"]["boxes"] == "given"
    assert set(record["by_lambda"]) == ({"l0", "l1"} if more else set())
    first = json.loads((folder / "detections.json").read_text())[0]
    assert {"image_id", "keypoints", "score", "center", "scale", "annotation_id", "box_score"} < set(first)
    assert (tmp_path / "test/output/0/run.json").is_file()


@pytest.mark.parametrize("name", ["crowdpose", "ochuman"])
def test_the_program_on_the_samples(name, shared, tmp_path, capsys) -> None:
    """CrowdPose in the boxes of a detector."""
    _, checkpoint = small_checkpoint(tmp_path, f"--cfg=experiments/{name}/hrnet/w32_256x192_adam_lr1e-3_lambda.yaml")
    folder, *place = of_sample(shared, name)
    detected = name == "crowdpose"
    boxes = ("--detections=test_crowdpose_det_AP_40.json", "--nms=none", "--refinement=dark") if detected else ()
    flags = (f"--data_path={folder}", f"--checkpoint_path={checkpoint}", f"--output_dir={tmp_path}", *boxes)
    run(program, *flags, *place[:4])
    said = capsys.readouterr().out
    file, rules = (folder / "test_crowdpose_det_AP_40.json", "none") if detected else ("given", "oks")
    assert f"protocol: boxes {file}, data_set {name}" in said and f"nms {rules}, flip_test True, refinement " in said
    assert "| l0,1:pose_hrnet_se_lambda |" in said and ("AP (easy)" in said) == detected
    (people,) = tmp_path.glob("output/*/*/*/eval/detections.json")
    assert all((person["annotation_id"] == -1) == detected for person in json.loads(people.read_text()))


@pytest.mark.parametrize("more", [(), ("--lambda",)], ids=["plain", "lambda"])
def test_evaluation_while_training(more: tuple[str, ...], tiny_coco: Path, tmp_path: Path) -> None:
    config, _ = small_checkpoint(tmp_path, f"--data_path={tiny_coco}", *more)
    network = build(config.yaml.MODEL, 17)
    weights.initialise(network)
    with Log(tmp_path / "metrics.jsonl", tmp_path) as log:
        evaluate = while_training(config, CPU, None, log, tmp_path)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        metrics = evaluate(network)
    assert tuple(metrics) == common.coco.evaluate.COCO_METRICS
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert (tmp_path / "pictures/predictions.png").is_file()
