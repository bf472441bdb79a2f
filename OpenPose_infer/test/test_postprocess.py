# SPDX-License-Identifier: Apache-2.0
import json
import sys
from pathlib import Path

from common.cli import UserError
from common.coco.evaluate import average_precision
from common.skeleton import OPENPOSE
from OpenPose_infer import OpenPose_postprocess
from OpenPose_infer.test import ideal_dumps

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=["text", "binary"])
def ideal(request, tiny_coco, tmp_path_factory):
    return ideal_dumps.write(tiny_coco, tmp_path_factory.mktemp(request.param), request.param == "binary")


@pytest.fixture
def copied(tiny_coco, tmp_path):
    """Binary results that a test may spoil."""
    return ideal_dumps.write(tiny_coco, tmp_path, True)


def postprocess(monkeypatch, tmp_path: Path, ideal: ideal_dumps.Ideal, *flags: str) -> list[dict]:
    target = tmp_path / "new" / "result.json"
    words = [*ideal.flags(f"--detections_save_path={target}"), f"--benchmark_result_path={ideal.folder}", *flags]
    monkeypatch.setattr(sys, "argv", ["OpenPose_postprocess", *words])
    OpenPose_postprocess.main()
    return json.loads(target.read_text())


def test_people_are_those_decoded_in_memory_for_any_number_of_threads(ideal, monkeypatch, tmp_path, capsys):
    one = postprocess(monkeypatch, tmp_path, ideal, "--num_workers=1")
    said = capsys.readouterr().out
    three = postprocess(monkeypatch, tmp_path, ideal, "--num_workers=3")
    assert one == three == ideal.detections.to_json()
    assert len(one) > 3
    metrics = average_precision(ideal.labels, ideal.detections, OPENPOSE.sigmas)
    assert metrics["AP"] > 0.5
    assert f"maxDets= 20 ] = {metrics['AP']:0.3f}" in said
    assert "ms an image: read " in said


def test_half_a_pixel_can_be_left_out(copied, monkeypatch, tmp_path):
    shifted = postprocess(monkeypatch, tmp_path, copied)
    plain = postprocess(monkeypatch, tmp_path, copied, "--half_pixel=false")
    one, other = (np.reshape([person["keypoints"] for person in people], (-1, 3)) for people in (shifted, plain))
    found = one[:, 2] > 0
    assert np.allclose(one[found, :2] - other[found, :2], 0.5)


def test_ids_come_from_the_labels_and_only_their_images_count(copied, monkeypatch, tmp_path, capsys):
    content = json.loads(copied.labels.read_text())
    for entry in (*content["images"], *content["annotations"]):
        entry["image_id" if "image_id" in entry else "id"] += 7
    dropped = content["images"].pop(0)
    content["annotations"] = [person for person in content["annotations"] if person["image_id"] != dropped["id"]]
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps(content))
    people = postprocess(monkeypatch, tmp_path, copied, f"--labels={labels}")
    wanted = [{**person, "image_id": person["image_id"] + 7} for person in copied.detections.to_json()]
    assert people == [person for person in wanted if person["image_id"] != dropped["id"]]
    assert "1 more images of" in capsys.readouterr().out


def test_suffix_and_dots_of_image_names_do_not_matter(copied, monkeypatch, tmp_path):
    """The publication cut names at the first dot and took every image for a .jpg."""
    names = json.loads(copied.labels.read_text())["images"]
    first, second = names[0]["file_name"], names[1]["file_name"]
    for path in (copied.labels, copied.pad_file):
        text = path.read_text().replace(first, "holiday.1.png").replace(second, "office.2.jpeg")
        (tmp_path / path.name).write_text(text)
    for stem, other in ((Path(first).stem, "holiday"), (Path(second).stem, "office.2")):
        for number in (1, 2, 3, 4):
            (copied.folder / f"{stem}_{number}.bin").rename(copied.folder / f"{other}_{number}.bin")
    flags = (f"--labels={tmp_path / copied.labels.name}", f"--pad_txt_path={tmp_path / 'pad.txt'}")
    people = postprocess(monkeypatch, tmp_path, copied, *flags)
    by_place = sorted(copied.detections.to_json(), key=lambda person: person["image_id"])
    assert sorted(people, key=lambda person: person["image_id"]) == by_place


def test_images_that_share_a_result_are_refused(copied, monkeypatch, tmp_path):
    stem = copied.pad_file.read_text().split(".")[0]
    line = copied.pad_file.read_text().splitlines()[0]
    with copied.pad_file.open("a") as file:
        file.write(line.replace(".jpg", ".png") + "\n")
    with pytest.raises(UserError, match=f"{stem}.jpg and {stem}.png share"):
        postprocess(monkeypatch, tmp_path, copied)


def test_labels_of_other_images_are_refused(copied, monkeypatch, tmp_path):
    content = json.loads(copied.labels.read_text())
    other = tmp_path / "other.json"
    other.write_text(copied.labels.read_text().replace(".jpg", ".png"))
    with pytest.raises(UserError, match="labels of other images"):
        postprocess(monkeypatch, tmp_path, copied, f"--labels={other}")
    content["images"][0]["width"] += 1
    other.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"{content['images'][0]['file_name']}: .* labels of other images"):
        postprocess(monkeypatch, tmp_path, copied, f"--labels={other}")


def test_pad_file_without_an_image_is_refused(copied, monkeypatch, tmp_path):
    lines = copied.pad_file.read_text().splitlines(keepends=True)
    copied.pad_file.write_text("".join(lines[1:]))
    with pytest.raises(UserError, match=f"no line for {Path(lines[0].split()[0]).stem}"):
        postprocess(monkeypatch, tmp_path, copied)
