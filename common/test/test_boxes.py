# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path
from typing import Any

from common.cli import UserError
from common.coco.evaluate import EvaluationSet
from common.coco.reader import parse
from common.skeleton import COCO
from common.topdown.boxes import annotated, detected
from common.topdown.crops import DETECTED, labelled_people

import numpy as np
import pytest

WIDTH, HEIGHT = 640, 480
KEYPOINTS = [10.0, 20.0, 2.0] * COCO.num_keypoints


def person(image: int = 1, box: Any = (10, 20, 31, 41), **others: Any) -> dict[str, Any]:
    return {"image_id": image, "bbox": list(box), "area": 9.0, "keypoints": KEYPOINTS, **others}


def validation(people: list[dict[str, Any]], images: tuple[int, ...] = (7, 1, 5), rows: Any = None) -> EvaluationSet:
    """Images by their ids in the file's order."""
    frames = [{"id": image, "file_name": f"{image}.jpg", "height": HEIGHT, "width": WIDTH} for image in images]
    numbered = [{"id": number, **one} for number, one in enumerate(people)]
    index = parse({"images": frames, "annotations": numbered}, COCO.num_keypoints)[0]
    return EvaluationSet(Path("x.json"), Path(), index, np.arange(len(images)) if rows is None else np.array(rows))


def written(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "found.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def box(image: int = 1, bbox: Any = (10, 20, 30, 40), score: Any = 0.5, **others: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": 1, "bbox": bbox, "score": score, **others}


def test_who_counts_differs_between_the_originals() -> None:
    nothing_seen = [10.0, 20.0, 0.0] * COCO.num_keypoints
    people = [
        person(),
        person(box=(-10, 20, 31, 41)),  # begins outside: cut, or moved
        person(box=(10, 20, 1, 41)),  # a line
        person(box=(10, 20, 1, 1)),  # a pixel
        person(area=0.0),  # that of the box counts
        person(keypoints=nothing_seen),
        person(keypoints=[0.0] * len(KEYPOINTS)),
        person(num_keypoints=0),  # counted, whatever the file says
        person(iscrowd=1),
    ]
    index = validation(people).index
    assert labelled_people(index).person_rows.tolist() == [0, 1, 4, 7]
    assert labelled_people(index, lenient=True).person_rows.tolist() == [0, 1, 2, 4, 5, 7]
    everybody = labelled_people(index).boxes_img.tolist()
    assert everybody == [[10, 20, 30, 40], [0, 20, 20, 40], [10, 20, 30, 40], [10, 20, 30, 40]]
    assert labelled_people(index, lenient=True).boxes_img.tolist()[1] == [0, 20, 30, 40]


def test_boxes_stand_image_after_image_as_they_are_evaluated() -> None:
    """Images 7, 1, 5 in the file; evaluated are 5 and 7, in this order."""
    people = [person(5), person(7), person(1), person(5, (50, 60, 11, 21)), person(7)]
    boxes = annotated(validation(people, rows=[2, 0]))
    assert boxes.image_rows.tolist() == [2, 2, 0, 0] and boxes.scores.tolist() == [1] * 4
    found = validation(people, rows=[2, 0]).index
    assert found.image_ids[boxes.image_rows].tolist() == [5, 5, 7, 7]
    assert found.file_positions[boxes.person_rows].tolist() == [0, 3, 1, 4]
    assert boxes.boxes_img[1].tolist() == [50, 60, 10, 20]
    assert [(image, rows.tolist()) for image, rows in boxes.by_image()] == [(2, [0, 1]), (0, [2, 3])]
    assert boxes.select(boxes.image_rows == 0).person_rows.tolist() == boxes.person_rows[2:].tolist()


def test_nobody_to_look_for() -> None:
    for people, rows in (([], None), ([person(iscrowd=1)], None), ([person(1)], [0])):
        with pytest.raises(UserError, match=r"^x\.json: no people with keypoints and a box in the images to evaluate"):
            annotated(validation(people, rows=rows))


def test_detections(tmp_path: Path) -> None:
    entries = [box(5, score=0.1), box(1, score=0.9), box(5, (1, 2, 3, 4), score=0.3), box(7), box(5, category_id=3)]
    entries.append(box(1, (-5, 470, 9, 90), score=1))
    boxes = detected(written(tmp_path, entries), validation([], rows=[1, 2]), min_score=0.2)
    assert boxes.image_rows.tolist() == [1, 1, 2]
    assert boxes.boxes_img.tolist() == [[10, 20, 30, 40], [-5, 470, 9, 90], [1, 2, 3, 4]]  # as they are
    assert boxes.scores.tolist() == [0.9, 1.0, 0.3] and (boxes.person_rows == DETECTED).all() and not boxes.notes


def test_unusable_boxes_are_counted_and_named(tmp_path: Path) -> None:
    nan, inf = float("nan"), float("inf")
    places = [(1, 2, 0, 40), (1, 2, 30, -4), (nan, 2, 3, 4), (1, -inf, 3, inf), (1e300, 2, 3, 4), (WIDTH, 2, 3, 4)]
    bad = [*(box(5, place) for place in (*places, (1, -50, 3, 50))), box(5, score=nan)]
    boxes = detected(written(tmp_path, [box(99), *bad, box(5), box(98)]), validation([]))
    assert len(boxes) == 1 and len(boxes.notes) == 2
    assert boxes.notes[0].endswith("found.json: 2 boxes of images that are not annotated are left out")
    assert "8 boxes are left out, not finite, of no size or outside" in boxes.notes[1]
    assert boxes.notes[1].endswith("the first: image id 5, [1.0, 2.0, 0.0, 40.0]")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "cut short or damaged at line 1"),
        ({"annotations": []}, "no list of detections; a list of"),
        ([box(), {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}], "entry 1: no 'score'"),
        ([{"category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}], "entry 0: no 'image_id'"),
        ([box(bbox=[1, 2, 3])], "entry 0: bbox has 3 numbers"),
        ([box(bbox=[1, 2, 3, "4"])], "entry 0: "),
        ([box(bbox=5)], "entry 0: "),
        ([box(bbox=(1, 2, 3, 4), score="high")], "entry 0: "),
        ([box(image="a.jpg")], "entry 0: "),  # type: ignore[arg-type]
        (["box"], "entry 0: "),
        ([box(98), box(99)], r"detections of other images: none of its image ids \(the first is 98\) is in x.json"),
        ([], "no box of a person"),
        ([box(5, score=0.1)], r"no box of a person \(category_id 1\) with a score of at least 0.2"),
        ([box(5, (1, 2, 0, 0))], "no box of a person .*; .*1 boxes are left out"),
        ([box(7)], "no box of a person"),  # an image that is not evaluated
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, content: Any, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(UserError, match=message) as caught:
        detected(path, validation([], rows=[1, 2]), min_score=0.2)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere.json: no such file"):
        detected(tmp_path / "nowhere.json", validation([]))
