# SPDX-License-Identifier: Apache-2.0
"""What a network found becomes pre-annotations for a tool."""

import json

from common.cli import UserError
from tools.convert import cvat
from tools.test import exports
from tools.test.test_convert import run

import pytest


def line(frame: int, source: str) -> str:
    keypoints = {"nose": [10.0, 9.0, 0.9], "neck": [10.0, 12.0, 0.8], "left_eye": [12.0, 8.0, 0.2]}
    person = {"id": None, "score": 0.7, "box": [1, 1, 20, 20], "keypoints": keypoints}
    return json.dumps(
        {"version": 2, "frame": frame, "time_s": 0, "source": source, "width": 64, "height": 48, "people": [person]}
    )


def test_predictions_become_pre_annotations(tmp_path):
    source = exports._write(tmp_path / "people.jsonl", f"{line(0, 'x/c.png')}\n{line(0, 'x/d.png')}\n")
    target = run(source, tmp_path / "cvat", "--min_score=0.5", kind="predictions", to="cvat")
    back = cvat.read(target)
    assert [image.name for image in back.images] == ["x/c.png", "x/d.png"]
    (one,) = back.images[0].instances
    assert back.categories["person"].keypoints[0] == "nose" and len(one.keypoints) == 17
    assert one.keypoints[0].tolist() == [10, 9, 2] and not one.keypoints[1:].any()
    tasks = json.loads((run(source, tmp_path / "ls", kind="predictions", to="labelstudio") / "tasks.json").read_text())
    source.write_text('{"frame": 0, "source": "x/c.png", "width": 64, "height": 48, "people": []}')
    with pytest.raises(UserError, match="no people in its 1 images"):
        run(source, tmp_path / "none", kind="predictions", to="cvat")
    labels = [one["value"].get("keypointlabels") for one in tasks[0]["predictions"][0]["result"]]
    assert labels == [None, ["nose"], ["left_eye"]] and tasks[0]["predictions"][0]["score"] == 0.7


def test_pre_annotations_of_ones_own_skeleton_have_its_label(tmp_path):
    exports._write(tmp_path / "s.yaml", "name: creature\nkeypoints: [left_eye, nose]\n")
    source = exports._write(tmp_path / "people.jsonl", f"{line(0, 'x/c.png')}\n")
    target = run(source, tmp_path / "out", f"--skeleton={tmp_path / 's.yaml'}", kind="predictions", to="cvat")
    (one,) = cvat.read(target).images[0].instances
    assert one.category == "creature" and one.keypoints.tolist() == [[12, 8, 2], [10, 9, 2]]


def test_coco_results_become_pre_annotations(tmp_path):
    annotations = exports.coco(exports.draw(tmp_path))
    results = [{"image_id": 2, "category_id": 1, "keypoints": [5, 6, 0.9] * 5, "score": 0.5}]
    source = exports._write(tmp_path / "detections.json", json.dumps(results))
    with pytest.raises(UserError, match="--annotations"):
        run(source, tmp_path / "out", kind="predictions", to="cvat")
    target = run(source, tmp_path / "out", f"--annotations={annotations}", kind="predictions", to="cvat")
    assert [len(image.instances) for image in cvat.read(target).images] == [0, 1, 0]
