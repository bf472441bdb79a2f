# SPDX-License-Identifier: Apache-2.0
import json
import sys
from pathlib import Path

from common.cli import UserError
from common.coco.evaluate import EvaluationSet
from common.coco.reader import load
from common.skeleton import OPENPOSE
from OpenPose_infer import OpenPose_postprocess
from OpenPose_infer.test import ideal_dumps

import numpy as np
import pytest


@pytest.fixture
def ideal(tiny_coco, tmp_path):
    """Binary results that a test may spoil."""
    return ideal_dumps.write(tiny_coco, tmp_path, True)


def postprocess(monkeypatch, tmp_path: Path, ideal: ideal_dumps.Ideal, *flags: str) -> list[dict]:
    target = tmp_path / "new" / "result.json"
    files = (f"--labels={ideal.labels}", f"--pad_txt_path={ideal.pad_file}", f"--detections_save_path={target}")
    monkeypatch.setattr(sys, "argv", ["postprocess", *files, f"--benchmark_result_path={ideal.folder}", *flags])
    OpenPose_postprocess.main()
    return json.loads(target.read_text())


@pytest.mark.parametrize("binary", [True, False])
def test_people_are_those_decoded_in_memory(tiny_coco, monkeypatch, tmp_path, capsys, binary):
    ideal = ideal_dumps.write(tiny_coco, tmp_path, binary)
    people = postprocess(monkeypatch, tmp_path, ideal)
    assert people == ideal.detections.to_json() and len(people) > 3
    metrics = EvaluationSet.of(load(ideal.labels)).average_precision(ideal.detections, OPENPOSE.sigmas)
    assert metrics["AP"] > 0.5
    assert f"maxDets= 20 ] = {metrics['AP']:0.3f}" in capsys.readouterr().out


def test_half_a_pixel_can_be_left_out(ideal, monkeypatch, tmp_path):
    shifted = postprocess(monkeypatch, tmp_path, ideal)
    plain = postprocess(monkeypatch, tmp_path, ideal, "--half_pixel=false")
    one, other = (np.reshape([person["keypoints"] for person in people], (-1, 3)) for people in (shifted, plain))
    found = one[:, 2] > 0
    assert np.allclose(one[found, :2] - other[found, :2], 0.5)


def test_ids_come_from_the_labels_and_only_their_images_count(ideal, monkeypatch, tmp_path, capsys):
    content = json.loads(ideal.labels.read_text())
    for entry in (*content["images"], *content["annotations"]):
        entry["image_id" if "image_id" in entry else "id"] += 7
    dropped = content["images"].pop(0)
    content["annotations"] = [person for person in content["annotations"] if person["image_id"] != dropped["id"]]
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps(content))
    people = postprocess(monkeypatch, tmp_path, ideal, f"--labels={labels}")
    wanted = [{**person, "image_id": person["image_id"] + 7} for person in ideal.detections.to_json()]
    assert people == [person for person in wanted if person["image_id"] != dropped["id"]]
    assert "1 more images of" in capsys.readouterr().out


def test_suffix_and_dots_of_image_names_do_not_matter(ideal, monkeypatch, tmp_path):
    """The publication took every image for a .jpg."""
    name = json.loads(ideal.labels.read_text())["images"][0]["file_name"]
    for path in (ideal.labels, ideal.pad_file):
        (tmp_path / path.name).write_text(path.read_text().replace(name, "office.2.jpeg"))
    for number in (1, 2, 3, 4):
        (ideal.folder / f"{Path(name).stem}_{number}.bin").rename(ideal.folder / f"office.2_{number}.bin")
    flags = (f"--labels={tmp_path / ideal.labels.name}", f"--pad_txt_path={tmp_path / 'pad.txt'}")
    people = postprocess(monkeypatch, tmp_path, ideal, *flags)
    by_place = sorted(ideal.detections.to_json(), key=lambda person: person["image_id"])
    assert sorted(people, key=lambda person: person["image_id"]) == by_place


def test_labels_of_other_images_are_refused(ideal, monkeypatch, tmp_path):
    content = json.loads(ideal.labels.read_text())
    other = tmp_path / "other.json"
    other.write_text(ideal.labels.read_text().replace(".jpg", ".png"))
    with pytest.raises(UserError, match="labels of other images"):
        postprocess(monkeypatch, tmp_path, ideal, f"--labels={other}")
    content["images"][0]["width"] += 1
    other.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"{content['images'][0]['file_name']}: .* labels of other images"):
        postprocess(monkeypatch, tmp_path, ideal, f"--labels={other}")


def test_results_and_pad_file_of_other_images_are_refused(ideal, monkeypatch, tmp_path):
    whole = ideal.pad_file.read_text()
    first, rest = whole.split("\n", 1)
    name = first.split()[0]
    for text, message in (
        (rest, f"no line for {Path(name).stem}"),
        (whole + first.replace(".jpg", ".png"), f"{name} and {Path(name).stem}.png share"),
        (f"gone.jpg 478 640 0 0 73 74\n{whole}", "gone.jpg has no results in .*run benchmark.py again"),
    ):
        ideal.pad_file.write_text(text)
        with pytest.raises(UserError, match=message):
            postprocess(monkeypatch, tmp_path, ideal)
    with pytest.raises(UserError, match="--labels is needed"):
        postprocess(monkeypatch, tmp_path, ideal, "--labels=")
