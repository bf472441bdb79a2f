# SPDX-License-Identifier: Apache-2.0
import json
import os
from pathlib import Path

from common.cli import UserError
from common.people import People, bounding_boxes
from common.skeleton import COCO, OPENPOSE
from common.test.programs import snippet
from common.test.walking_people import SCHEMA, check_schema, run_demo, scene, video_of

import cv2
import numpy as np
import pytest


def two(skeleton=COCO, **values) -> People:
    keypoints = np.zeros((2, skeleton.num_points, 3))
    keypoints[0, :3] = [[10, 20, 0.9], [30, 20, 0.8], [30, 60, 0.7]]
    keypoints[1, 5] = [50, 50, 0.5]
    return People(skeleton, keypoints, np.array([0.9, 0.4]), **values)


def test_boxes_are_the_detectors_else_those_of_the_keypoints() -> None:
    assert two().boxes.tolist() == [[10, 20, 21, 41], [50, 50, 1, 1]]
    given = np.array([[1.0, 2, 3, 4], [5, 6, 7, 8]])
    assert two(detected_boxes=given).boxes is given
    assert bounding_boxes(np.zeros((1, 4, 3))).tolist() == [[0, 0, 0, 0]]


def test_a_selection_keeps_everything_of_a_person() -> None:
    people = two(ids=(7, 8), lambdas=(0.0, 1.0), detected_boxes=np.arange(8.0).reshape(2, 4))
    kept = people.select(people.scores < 0.5)
    assert len(kept) == 1 and kept.ids == (8,) and kept.lambdas == (1.0,) and kept.boxes.tolist() == [[4, 5, 6, 7]]
    assert people.select([1, 0]).ids == (8, 7) and len(people.select([])) == 0


def test_json_and_coco_name_what_was_found() -> None:
    entries = two(OPENPOSE, lambdas=(0.0, 1.0)).to_json()
    line = {"version": 2, "frame": 0, "time_s": 0, "source": "a", "width": 1, "height": 1, "people": entries}
    check_schema(json.loads(json.dumps(line)), json.loads(SCHEMA.read_text()))
    assert list(entries[0]["keypoints"]) == list(OPENPOSE.points[:3]) and entries[1]["lambda"] == 1
    (first, _) = two(OPENPOSE).to_coco(139)
    assert first["image_id"] == 139 and len(first["keypoints"]) == 3 * COCO.num_keypoints and first["score"] == 0.9
    assert first["keypoints"][:3] == [10, 20, 0.9]


def test_broken_weights_are_named() -> None:
    with pytest.raises(UserError, match="NaN or infinity"):
        People(COCO, np.full((1, COCO.num_points, 3), np.nan), np.ones(1))


def test_people_are_drawn_on_a_copy() -> None:
    image = np.zeros((80, 80, 3), np.uint8)
    drawn = two().draw(image, boxes=True)
    assert not image.any() and drawn[20, 10].any() and not two().draw(image, threshold=0.95).any()


def test_names_that_are_not_utf8_are_read_and_written(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    image = os.fsencode(folder) + b"/caf\xe9.png"
    Path(os.fsdecode(image)).write_bytes(cv2.imencode(".png", scene(0))[1].tobytes())
    (line,) = run_demo(tmp_path, folder)
    assert line["source"].endswith("caf\\xe9.png") and len(line["people"]) == 3
    assert b"caf\xe9.png" in os.listdir(os.fsencode(tmp_path / "out"))
    video = os.fsdecode(os.fsencode(tmp_path) + b"/video\xe9.webm")
    os.rename(video_of(tmp_path / "video.webm", 3), video)
    with pytest.raises(UserError, match="rename the video"):
        run_demo(tmp_path, Path(video))


@pytest.mark.parametrize("model", ["AlphaPose", "Lightweight_OpenPose", "MIPNet", "OpenPose_MindSpore_port"])
def test_every_directory_has_an_estimator(model: str) -> None:
    done = snippet(f"from {model} import PoseEstimator; PoseEstimator('absent.pth')")
    assert done.returncode == 1 and "absent.pth" in done.stderr.splitlines()[-1]
