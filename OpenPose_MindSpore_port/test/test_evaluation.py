# SPDX-License-Identifier: Apache-2.0
import ast
import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import common.coco.images
import common.coco.reader
from common.cli import UserError
from common.coco.evaluate import COCO_METRICS, EvaluationSet, average_precision
from common.runtime.session import Session
from common.skeleton import OPENPOSE
from common.test.programs import launched
from common.train.log import Log
from OpenPose_MindSpore_port import evaluation
from OpenPose_MindSpore_port.decode import ORIGINAL_RULES
from OpenPose_MindSpore_port.evaluation import (
    NOBODY_FOUND,
    draw_images,
    evaluate,
    evaluate_while_training,
    result_line,
    result_lines,
    validation_of,
    with_people,
)
from OpenPose_MindSpore_port.inference import Estimator, InputRule, to_input
from OpenPose_MindSpore_port.model import STRIDE, OpenPose
from OpenPose_MindSpore_port.test import golden, oracle
from OpenPose_MindSpore_port.test.narrow import narrow  # noqa: F401  a fixture
from OpenPose_MindSpore_port.test.oracle import RULE, Oracle, validation_in

import cv2
import numpy as np
import pytest
import torch


def blind(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    batch, _, height, width = inputs[0].shape
    counts = (OPENPOSE.num_fields, OPENPOSE.num_heatmaps)
    return [np.zeros((batch, count, height // STRIDE, width // STRIDE), np.float32) for count in counts]


def test_golden_average_precision(shared: Path) -> None:
    """The maps of the original's run through our whole evaluation: its people and its ten numbers."""
    folder = golden.folder(shared)
    images = shared / "data" / "coco-mini" / "train2017"
    index = common.coco.reader.load(folder / "annotations.json", OPENPOSE.num_keypoints)
    validation = EvaluationSet(folder / "annotations.json", images, index, np.arange(index.num_images))
    cases, known = np.load(folder / "decode.npz"), {}
    for number in range(index.num_images):
        maps = [cases[f"real{number}/{kind}"] for kind in ("pafs", "heatmaps")]
        row = int(np.flatnonzero(index.image_ids == cases[f"real{number}/image_id"])[0])
        image = validation.read(row)
        known[to_input(image, InputRule().frame(image.shape[:2])).tobytes()] = maps

    def recorded(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        found = [known[image.tobytes()] for image in inputs[0]]
        return [np.stack([maps[kind] for maps in found]) for kind in (0, 1)]

    result = evaluate(Estimator(Session("recorded", "memory", recorded), OPENPOSE, ORIGINAL_RULES), validation,
                      InputRule(), batch_size=2)  # fmt: skip
    wanted = json.loads((folder / "ap.json").read_text())
    line = result_line(result.metrics)
    assert line.startswith("result:  {")
    printed = ast.literal_eval(line.removeprefix("result:  "))
    assert list(printed) == list(wanted) == list(evaluation.PUBLISHED_NAMES)
    assert printed == pytest.approx(wanted, abs=1e-6)
    theirs = json.loads((folder / "detections.json").read_text())
    assert len(result.detections) == len(theirs)

    def key(person: dict) -> tuple:
        return person["image_id"], round(person["score"], 6)

    for mine, person in zip(sorted(result.detections.to_json(), key=key), sorted(theirs, key=key), strict=True):
        assert key(mine) == pytest.approx(key(person), abs=1e-5) and mine["keypoints"] == person["keypoints"]


def test_two_ranks_find_what_one_finds(tiny_coco: Path, tmp_path: Path) -> None:
    """A network that knows the answers: every image counts once, on any number of ranks."""
    folder = shutil.copytree(tiny_coco, tmp_path / "coco")
    oracle.main(folder)
    done = launched("OpenPose_MindSpore_port.test.oracle", tmp_path / "logs", str(folder), ranks=2)
    assert "Traceback" not in done.stderr, done.stderr
    one, two = (json.loads((folder / f"oracle_{ranks}.json").read_text()) for ranks in (1, 2))
    assert one == two
    assert one["images"] == 6 and one["metrics"]["AP"] > 0.6


def test_nobody_found_is_an_ap_of_zero(tiny_coco: Path) -> None:
    validation = validation_in(tiny_coco)
    result = evaluate(Estimator(Session("blind", "memory", blind), OPENPOSE), validation, InputRule(64), 2)
    assert (result.metrics["AP"], len(result.detections), result.num_images) == (0, 0, 6)
    assert result_lines(result) == ["Predict poses size is zero.", result_line(result.metrics)]
    assert "'AP': 0.0, 'Ap .5': 0.0," in result_lines(result)[1]


def test_the_published_line_has_plain_numbers() -> None:
    metrics = {name: np.float64(place / 10) for place, name in enumerate(COCO_METRICS)}
    assert result_line(metrics) == (
        "result:  {'AP': 0.0, 'Ap .5': 0.1, 'AP .75': 0.2, 'AP (M)': 0.3, 'AP (L)': 0.4, 'AR': 0.5, 'AR .5': 0.6, "
        "'AR .75': 0.7, 'AR (M)': 0.8, 'AR (L)': 0.9}"
    )


def test_images_without_people_count_unless_asked(tiny_coco: Path, tmp_path: Path) -> None:
    """A person seen in an empty image costs precision by COCO's protocol, nothing by the original's."""
    folder = shutil.copytree(tiny_coco, tmp_path / "coco")
    file = folder / "annotations" / "person_keypoints_val2017.json"
    content = json.loads(file.read_text())
    emptied = content["annotations"][0]["image_id"]
    content["annotations"] = [person for person in content["annotations"] if person["image_id"] != emptied]
    before = validation_in(folder)
    seer, populated = Oracle(before), len(with_people(before).rows)
    file.write_text(json.dumps(content))
    everything = validation_in(folder)
    chosen = with_people(everything)
    assert (len(everything.rows), len(chosen.rows)) == (6, populated - 1)
    assert emptied not in everything.index.image_ids[chosen.rows]
    found = [evaluate(Estimator(seer.session(), OPENPOSE), part, RULE, 2) for part in (everything, chosen)]
    assert found[0].metrics["AP"] < found[1].metrics["AP"]
    assert len(found[0].detections) > len(found[1].detections)
    against_all = average_precision(file, found[1].detections, OPENPOSE.sigmas)
    assert found[1].metrics == pytest.approx(against_all)  # the original counts all ids of the file (spec A7)


def test_an_image_that_cannot_be_read_stops_or_is_counted(tiny_coco: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_coco, tmp_path / "coco")
    images = sorted((folder / "val2017").iterdir())
    for image in images[:2]:
        image.write_bytes(b"no image")
    estimator = Estimator(Session("blind", "memory", blind), OPENPOSE)
    with pytest.raises(common.coco.images.ImageError, match=".jpg: cut short, damaged or no image"):
        evaluate(estimator, validation_in(folder), InputRule(64), 1)
    result = evaluate(estimator, validation_in(folder), InputRule(64), 1, skip_bad=True)
    assert len(result.skipped) == 2 and result.num_images == 6
    assert draw_images(validation_in(folder), result.detections, OPENPOSE, tmp_path / "drawn", -1) == 4


def test_people_are_drawn_into_their_images(tiny_coco: Path, tmp_path: Path) -> None:
    validation = validation_in(tiny_coco)
    result = evaluate(Estimator(Oracle(validation).session(), OPENPOSE), validation, RULE, 2)
    assert draw_images(validation, result.detections, OPENPOSE, tmp_path, 2) == 2
    rows = validation.rows[:2].tolist()
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(str(validation.index.image_ids[r]) for r in rows)
    drawn = cv2.imread(str(tmp_path / f"{validation.index.image_ids[rows[0]]}.png"))
    assert drawn.shape == validation.read(rows[0]).shape and (drawn != validation.read(rows[0])).any()


def test_while_training(tiny_coco: Path, tmp_path: Path) -> None:
    """The weights as they are, and nothing changes in them."""
    torch.manual_seed(0)
    model = OpenPose(OPENPOSE.num_heatmaps, OPENPOSE.num_fields)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    validation = validation_in(tiny_coco)
    images = dataclasses.replace(validation, rows=validation.rows[:3])
    with Log(tmp_path / "metrics.jsonl", tmp_path) as log:
        metrics = evaluate_while_training(
            model, images, InputRule(32), ORIGINAL_RULES, OPENPOSE, torch.device("cpu"), None, log, tmp_path / "drawn"
        )
    assert set(metrics) == set(COCO_METRICS) and metrics["AP"] == 0
    said = (tmp_path / "train_0.log").read_text().splitlines()
    assert said[0] == NOBODY_FOUND and said[1].startswith("result:  {'AP': 0.0") and "elapsed time" in said[2]
    assert (tmp_path / "drawn" / "predictions.png").is_file()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_where_images_and_annotations_may_be(tiny_coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside data_dir, as published; or paths of their own."""
    name = "person_keypoints_val2017.json"
    inside = validation_of(str(tiny_coco), "val2017", name, OPENPOSE, 0)
    own = validation_of("nowhere", str(tiny_coco / "val2017"), str(tiny_coco / "annotations" / name), OPENPOSE, 2)
    assert inside.folder == own.folder and inside.annotations == own.annotations
    assert (len(inside.rows), len(own.rows)) == (6, 2)
    monkeypatch.chdir(tmp_path)
    for words, message in (
        (("val2018", name), r"--imgpath_val=val2018: .*coco/val2018 .*not there; --data_path is needed"),
        (("val2017", "x.json"), r"--ann=x.json: .*annotations/x.json and x.json not there"),
    ):
        with pytest.raises(UserError, match=message.replace("coco", tiny_coco.name)):
            validation_of(str(tiny_coco), *words, OPENPOSE, 0)
