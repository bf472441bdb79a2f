# SPDX-License-Identifier: Apache-2.0
import itertools
import json
from pathlib import Path

from common.media.detectors import Boxes
from common.media.drawing import LAMBDA_COLOURS as COLOURS
from common.media.source import Frame
from common.people import People
from common.skeleton import COCO
from common.topdown.crops import PersonBoxes
from MIPNet import demo
from MIPNet.demo import Sweep
from MIPNet.eval import Evaluator
from MIPNet.predict import PoseEstimator
from MIPNet.test.oracle import PAIRS, config_of, oracle
from MIPNet.test.programs import run, small_checkpoint

import cv2
import numpy as np
import pytest

CELL_IMG = 6  # original pixels of a map cell, or less


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with lambda that knows its own settings."""
    return small_checkpoint(tmp_path_factory.mktemp("weights"), "--lambda")[1]


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "people.jsonl").read_text().splitlines()]


def test_pictures_a_sweep_and_people(checkpoint: Path, tiny_coco: Path, tmp_path: Path, monkeypatch) -> None:
    out, picture = tmp_path / "out", min((tiny_coco / "val2017").iterdir())
    flags = ("--boxes=20,20,90,120;30,10,100,140", "--sweep=3", f"--output_dir={out}", "--device=cpu")
    camera = tmp_path / "IMG_1.JPG"
    camera.write_bytes(picture.read_bytes())
    monkeypatch.chdir(tmp_path)
    images = ("TEST.FLIP_TEST", "false", "--images", picture, picture, camera.name)
    run(demo, f"--checkpoint_path={checkpoint}", *flags, *images)
    stem = picture.stem
    sweeps = {f"0_{stem}_sweep.png", f"1_{stem}_sweep.png", "2_IMG_1_sweep.png"}
    drawn = {picture.name, f"{stem}_2.jpg", camera.name}
    assert {path.name for path in out.iterdir()} == {"people.jsonl"} | drawn | sweeps
    first, second, third = lines(out)
    assert first["people"] == second["people"] == third["people"] and len(first["people"]) >= 2
    person = first["people"][0]
    assert set(person["keypoints"]) <= set(COCO.keypoints) and person["lambda"] in (0, 1)
    assert person["box"] in ([20, 20, 90, 120], [30, 10, 100, 140])


def test_a_folder_with_the_boxes_of_a_file(checkpoint: Path, tiny_coco: Path, tmp_path: Path, capsys) -> None:
    names = sorted(path.name for path in (tiny_coco / "val2017").iterdir())
    entries = [{"image_id": name, "bbox": [5, 5, 60, 90], "score": 0.8} for name in names[:2]]
    entries.append({"image_id": names[1], "bbox": [5, 5, 60, 90], "score": 0.1})
    (tmp_path / "boxes.json").write_text(json.dumps(entries))
    place = (f"--source={tiny_coco / 'val2017'}", f"--output_dir={tmp_path / 'out'}", "--device=cpu")
    flags = (f"--detections={tmp_path / 'boxes.json'}", "--min_score=0.5", "--lambdas=1", "--flip_test=false")
    run(demo, f"--checkpoint_path={checkpoint}", *place, *flags)
    assert [len(line["people"]) for line in lines(tmp_path / "out")] == [1, 1, 0, 0, 0, 0]
    assert "6 images, 2 people" in capsys.readouterr().out


def overlapping(boxes: PersonBoxes) -> np.ndarray:
    """Rows of two boxes of an image; the centre of the first is in the second."""
    centres = boxes.boxes_img[:, :2] + boxes.boxes_img[:, 2:] / 2
    for _, rows in boxes.by_image():
        for first, second in itertools.permutations(rows, 2):
            inside = (centres[first] - boxes.boxes_img[second, :2]) / boxes.boxes_img[second, 2:]
            if inside.min() > 0 and inside.max() < 1:
                return np.array([first, second])
    raise AssertionError("no two boxes overlap")


def test_both_people_of_a_box_in_their_colours(tiny_coco: Path, tmp_path: Path) -> None:
    """A network that finds the person of a box with lambda 1 and another one with lambda 0."""
    config = config_of(tiny_coco, *PAIRS)
    evaluator = Evaluator(config)
    pair = overlapping(evaluator.boxes)
    box, rows = evaluator.boxes.select(pair[1:]), evaluator.boxes.person_rows[pair]
    session = oracle(config, evaluator.validation, box, [rows[:1], rows[1:]])
    image, keypoints = evaluator.validation.read(int(box.image_rows[0])), evaluator.validation.index.keypoints[rows]
    estimator = PoseEstimator.of_session(session, config)
    people = estimator(image, box.boxes_img)
    assert people.lambdas == (1.0, 0.0)
    for mode, row in ((1, 0), (0, 1)):
        sure = people.keypoints[row, :, 2] > 0.99
        away = people.keypoints[row, sure, :2] - keypoints[mode, sure, :2]
        assert sure.any() and np.abs(away).max() < CELL_IMG
    drawn = people.draw(image, demo.Config().threshold)
    Sweep(tmp_path, estimator, lambda _: [Boxes(box.boxes_img, box.scores, [None])], 0.2).write(
        Frame("a.jpg", 3, 0.0, image), People(COCO, np.zeros(0), np.zeros(0))
    )
    sweep = cv2.imread(str(tmp_path / "3_a_sweep.png"))
    for colour in COLOURS:
        assert (drawn == colour).all(axis=2).sum() > 20
        assert (np.abs(sweep.astype(int) - colour).max(axis=2) < 40).any()
