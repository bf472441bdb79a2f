# SPDX-License-Identifier: Apache-2.0
"""Boxes of people from files of all forms, known by picture or by the place in a video."""

import json
from pathlib import Path

from common.cli import UserError
from common.media.detection_file import DetectionFile
from common.media.source import Frame, Source

import numpy as np
import pytest

IMAGE = np.zeros((100, 200, 3), np.uint8)


def frame(name: str = "a.jpg", index: int = 0) -> Frame:
    return Frame(name, index, 0.0, IMAGE)


def entry(image, box=(10, 10, 20, 40), score=0.9, **more) -> dict:
    return {"image_id": image, "bbox": list(box), "score": score, **more}


def detection_file(tmp_path: Path, content, min_score: float = 0.0) -> DetectionFile:
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(content))
    return DetectionFile(path, min_score)


def test_published_file_knows_images_by_path_and_by_name(tmp_path):
    content = [entry("in/a.jpg", idx=7), entry("in/b.jpg", score=0.1), entry("x/c.jpg"), entry("y/c.jpg", (1, 1, 2, 2))]
    boxes = detection_file(tmp_path, content, 0.2)
    by_path, by_name, low, unclear, path = boxes(
        [frame("in/a.jpg"), frame("/other/a.jpg"), frame("b.jpg"), frame("c.jpg"), frame("y/c.jpg")]
    )
    assert by_path.ids == by_name.ids == [7] and by_path.boxes_img.tolist() == [[10, 10, 20, 40]]
    assert len(low.scores) == len(unclear.scores) == 0
    assert path.boxes_img.tolist() == [[1, 1, 2, 2]]
    assert boxes.images() == tuple(Path(name) for name in ("in/a.jpg", "in/b.jpg", "x/c.jpg", "y/c.jpg"))


def test_results_of_coco_are_known_by_their_number(tmp_path):
    content = [entry(139, category_id=1), entry(139, category_id=3), entry(16_777_217, category_id=1)]
    boxes = detection_file(tmp_path, content)
    names = ("000000000139.jpg", "COCO_val2014_000016777217.jpg", "000016777216.jpg", "img139.jpg", "139_b.jpg")
    assert [len(found.scores) for found in boxes([frame(name) for name in names])] == [1, 1, 0, 1, 0]
    with pytest.raises(UserError, match="no names of images"):
        boxes.images()


def test_lines_of_lightweight_openpose(tmp_path):
    def line(source: str, place: int, left: float) -> str:
        person = {"id": place, "score": 20.5, "box": [left, 5, 10, 20], "keypoints": {"nose": [1, 2, 0.5]}}
        shape = {"version": 1, "frame": place, "time_s": 0.0, "source": source, "width": 200, "height": 100}
        return json.dumps({**shape, "people": [person]}) + "\n"

    path = tmp_path / "people.jsonl"
    path.write_text(line("videos/walk.mp4", 0, 10) + line("videos/walk.mp4", 1, 11) + line("a.jpg", 2, 12))
    boxes = DetectionFile(path)
    found = boxes([frame("walk.mp4", 1), frame("a.jpg", 0), frame("walk.mp4", 2)])
    assert [one.boxes_img[:, 0].tolist() for one in found] == [[11], [12], []]
    assert found[0].ids == [1] and found[0].scores.tolist() == [20.5]
    boxes.check(Source(capture=Path("walk.mp4")))
    with pytest.raises(UserError, match="other images"):
        boxes.check(Source(capture=Path("run.mp4")))


def test_a_file_of_other_images_is_refused(tmp_path):
    boxes = detection_file(tmp_path, [entry("a.jpg")])
    boxes.check(Source((Path("b.jpg"), Path("a.jpg"))))
    with pytest.raises(UserError, match=r"boxes.json: of other images: it has a.jpg, not b.jpg"):
        boxes.check(Source((Path("b.jpg"),)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "no list of detections"),
        ("[1]", "entry 0"),
        ('[{"image_id": 1.5, "bbox": [1, 2, 3, 4], "score": 1}]', "entry 0: image_id is 1.5"),
        ('[{"image_id": "a.jpg", "score": 1}]', "entry 0: no 'bbox'"),
        ('[{"image_id": "a.jpg", "bbox": [1, 2, 3], "score": 1}]', "entry 0: bbox has 3 numbers"),
        ('[{"image_id": "a.jpg", "bbox": [1, 2, 3, "x"], "score": 1}]', "entry 0: bbox is .*no list of numbers"),
        ('[{"image_id": "a.jpg", "bbox": [1, 2', "cut short"),
    ],
)
def test_broken_files_are_named(tmp_path, text, message):
    (tmp_path / "boxes.json").write_text(text)
    with pytest.raises(UserError, match=f"boxes.json.*{message}"):
        DetectionFile(tmp_path / "boxes.json")


def test_broken_lines_are_named(tmp_path):
    path = tmp_path / "people.jsonl"
    for content, message in (("{}", "line 1: no 'source'"), ("{", "line 1"), ("[]", "line 1")):
        path.write_text(content)
        with pytest.raises(UserError, match=message):
            DetectionFile(path)
    with pytest.raises(UserError, match="No such file"):
        DetectionFile(tmp_path / "none.jsonl")


def test_files_of_users(shared):
    """Which of the collected files are read, and what is said of the others."""
    folder = shared / "cases" / "detections"
    frame = Frame("plain.jpg", 0, 0.0, np.zeros((400, 300, 3), np.uint8))
    for name in ("det_bom", "det_catstr", "det_null", "det_odd", "det_stem"):
        (boxes,) = DetectionFile(folder / f"{name}.json")([frame])
        assert len(boxes.scores) == 1, name
    for name, message in (("det_coco", "no list of detections"), ("det_noscore", "entry 0: no 'score'")):
        with pytest.raises(UserError, match=rf"{name}\.json: {message}"):
            DetectionFile(folder / f"{name}.json")
    with pytest.raises(UserError, match=r"det_empty\.json: has no names of images"):
        DetectionFile(folder / "det_empty.json").images()
