# SPDX-License-Identifier: Apache-2.0
"""Training labels are those of the original program, to the last sample."""

import gzip
import json
from pathlib import Path

import common.coco.images
from common.cli import UserError
from Lightweight_OpenPose import labels

import numpy as np
import pytest


def person_of(prepared: labels.TrainLabels, row: int) -> dict:
    """As the original has a person: `v` 2 absent, 0 hidden, 1 visible."""
    index = prepared.index
    left, top, width, height = index.boxes[row].tolist()
    return {
        "objpos": [left + width / 2, top + height / 2],
        "bbox": [left, top, width, height],
        "segment_area": float(index.areas[row]),
        "scale_provided": height / 368,
        "num_keypoints": int(index.num_keypoints[row]),
        "keypoints": [[x, y, (2, 0, 1)[int(v)]] for x, y, v in index.keypoints[row].tolist()],
    }


@pytest.mark.parametrize(("split", "samples", "images"), [("train", 68, 25), ("val", 56, 29)])
def test_people_are_the_originals(shared, split, samples, images):
    prepared = labels.build(common.coco.images.annotation_file(shared / "data" / "coco-mini", split))
    assert (len(prepared), len(np.unique(prepared.images))) == (samples, images)
    if split == "val":
        return
    with gzip.open(shared / "golden" / "lightweight_openpose" / "prepared_labels.json.gz") as file:
        golden = json.load(file)
    for image_id in {item["image_id"] for item in golden}:
        expected = [item for item in golden if item["image_id"] == image_id]
        places = np.flatnonzero(prepared.index.image_ids[prepared.images] == image_id).tolist()
        for place, item in zip(places, expected, strict=True):
            assert {**item, **person_of(prepared, prepared.main[place])} == item
            others = [person_of(prepared, row) for row in prepared.others(place)]
            assert others == item["processed_other_annotations"]
            index, image = prepared.index, int(prepared.images[place])
            assert (index.file_name(image), *index.image_sizes[image]) == (
                item["img_paths"],
                item["img_height"],
                item["img_width"],
            )
            assert bool(index.crowds(image)) == bool(item["segmentations"])


def person(id_: int, x: float, **changes) -> dict:
    points = [x, 50, 2] * 17
    box = {"bbox": [x - 20, 10, 40, 100], "area": 2000, "num_keypoints": 17, "iscrowd": 0}
    return {"id": id_, "image_id": 1, "keypoints": points, "category_id": 1, **box, **changes}


def build(folder: Path, *people: dict, **options) -> labels.TrainLabels:
    path = folder / "few.json"
    images = [{"id": 1, "file_name": "a.jpg", "height": 200, "width": 300}]
    path.write_text(json.dumps({"images": images, "annotations": people}))
    return labels.build(path, **options)


def main_ids(prepared: labels.TrainLabels) -> list[int]:
    return prepared.index.annotation_ids[prepared.main].tolist()


def test_limits_are_exact(tmp_path):
    few = [50, 50, 2] * 4 + [0, 0, 0] * 13
    enough = [50, 50, 2] * 5 + [0, 0, 0] * 12
    prepared = build(
        tmp_path,
        person(1, 50, keypoints=few, num_keypoints=4),
        person(2, 50, keypoints=enough, num_keypoints=5, area=32 * 32),
        person(3, 50 + 0.3 * 40 - 0.01),  # nearer than 0.3 of the width of person 2
        person(4, 50 + 0.3 * 40),
        person(5, 150, area=32 * 32 - 0.01),
        person(6, 155),  # near to person 5, who is no sample
        person(7, 250, iscrowd=1, segmentation=[[200, 0, 300, 0, 300, 100]]),
        person(8, 250, keypoints=[0] * 51, num_keypoints=0),
    )
    assert main_ids(prepared) == [2, 4, 6]
    assert prepared.index.annotation_ids[prepared.others(0)].tolist() == [1, 3, 4, 5, 6]


def test_fewer_keypoints_need_as_large_a_share(tmp_path):
    assert [labels.min_keypoints(number) for number in (1, 3, 4, 7, 14, 17, 18, 133)] == [1, 1, 2, 3, 5, 5, 5, 5]
    three = {"keypoints": [50, 50, 2] * 3, "num_keypoints": 3}
    assert main_ids(build(tmp_path, person(1, 50, **three), num_keypoints=3)) == [1]
    with pytest.raises(UserError, match="9 keypoint numbers, not 3 x 17"):
        build(tmp_path, person(1, 50, **three), num_keypoints=17)
    with pytest.raises(UserError, match=r"few\.json: no person with 5 keypoints"):
        build(tmp_path, person(1, 50, area=5))
