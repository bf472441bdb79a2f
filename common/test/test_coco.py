# SPDX-License-Identifier: Apache-2.0
"""The index is the annotation file, masks are those of COCO's own tool, and what cannot be read says so."""

import itertools
import json
import random
from pathlib import Path

from common.cli import UserError
from common.coco import annotations, images, reader
from common.coco.annotations import CocoIndex
from common.coco.mini import dataset
from Lightweight_OpenPose.data import crowd_mask

import numpy as np
import pytest
from pycocotools import mask as masks

# pycocotools' compiled part has not learnt a word of numpy 2.4 yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    return dataset.write(tmp_path_factory.mktemp("drawn"), 9, 9)


@pytest.fixture
def content(drawn) -> dict:
    return json.loads(images.annotation_file(drawn, "train").read_text())


def load(folder: Path, content: dict, **options) -> CocoIndex:
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return reader.load(path, **options)


def person(**changes) -> dict:
    return {"id": 7, "image_id": 1, "keypoints": [5, 6, 2] * 3, "bbox": [1, 2, 30, 40], **changes}


def one_person(**changes) -> dict:
    image = {"id": 1, "file_name": "a.jpg", "height": 60, "width": 80}
    return {"images": [image], "annotations": [person(**changes)]}


# --- where the data lie ---


def test_without_a_word_the_environment_names_the_data_set_then_its_usual_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(images, "ROOT", tmp_path / "repository")
    monkeypatch.delenv("COCO_HOME", raising=False)
    monkeypatch.delenv("DATA_PATH", raising=False)
    with pytest.raises(UserError, match="--data_path is needed.*COCO_HOME or DATA_PATH.*./data/coco"):
        images.data_folder("")
    assert images.data_folder("", "dataset", tmp_path) == tmp_path
    (tmp_path / "repository" / "data" / "coco").mkdir(parents=True)
    assert images.data_folder("") == tmp_path / "repository" / "data" / "coco"
    monkeypatch.setenv("DATA_PATH", str(tmp_path))
    assert images.data_folder("", "./data/coco/") == tmp_path
    assert images.data_folder("", "/own/place") == Path("/own/place")  # of a configuration of the user
    assert images.data_folder("data/coco") == Path("data/coco")  # a flag overrides all
    monkeypatch.setenv("COCO_HOME", "/nowhere")
    with pytest.raises(UserError, match="/nowhere: no such folder, which COCO_HOME"):
        images.data_folder("")


def test_mini_is_the_drawn_data_set(monkeypatch, drawn):
    monkeypatch.setattr(dataset, "cache_folder", lambda name: drawn)
    assert images.data_folder("mini") == drawn


# --- the index ---


def test_index_is_the_annotation_file_whatever_its_order(tmp_path, content):
    random.Random(0).shuffle(content["annotations"])
    index = load(tmp_path, content)
    assert index.num_images == len(content["images"])
    for row, image in enumerate(content["images"]):
        assert index.file_name(row) == image["file_name"]
        assert index.image_ids[row] == image["id"]
        assert index.image_sizes[row].tolist() == [image["height"], image["width"]]
        theirs = [entry for entry in content["annotations"] if entry["image_id"] == image["id"]]
        people = index.people(row)
        assert index.annotation_ids[people].tolist() == [entry["id"] for entry in theirs]
        assert index.boxes[people].tolist() == [entry["bbox"] for entry in theirs]
        assert index.areas[people].tolist() == [entry["area"] for entry in theirs]
        assert index.num_keypoints[people].tolist() == [entry["num_keypoints"] for entry in theirs]
        assert index.is_crowd[people].tolist() == [bool(entry["iscrowd"]) for entry in theirs]
        assert [points.ravel().tolist() for points in index.keypoints[people]] == [
            entry["keypoints"] for entry in theirs
        ]
        places = index.file_positions[people].tolist()
        assert [content["annotations"][place] for place in places] == theirs
    owners = {entry["id"]: entry["image_id"] for entry in content["annotations"]}
    people = np.arange(len(index.boxes))
    assert index.image_ids[index.image_rows(people)].tolist() == [owners[id_] for id_ in index.annotation_ids.tolist()]
    assert index.keypoint_names.tolist() == content["categories"][0]["keypoints"]


def test_selected_images_keep_their_people_and_crowds(drawn):
    index = reader.load(images.annotation_file(drawn, "train"))
    crowded = [row for row in range(9) if crowd_mask(index, row) is not None]
    assert crowded
    order = [*crowded, 0, 4]
    keep = index.is_crowd | (index.num_keypoints > 0)
    chosen = index.select(order, keep)
    assert chosen.image_ids.tolist() == index.image_ids[order].tolist()
    for row, before in enumerate(order):
        people = np.flatnonzero(keep & (index.image_rows(np.arange(len(keep))) == before))
        assert chosen.annotation_ids[chosen.people(row)].tolist() == index.annotation_ids[people].tolist()
        assert (chosen.keypoints[chosen.people(row)] == index.keypoints[people]).all()
    for row, before in enumerate(crowded):
        assert (crowd_mask(chosen, row) == crowd_mask(index, before)).all()
    nobody = index.select([0], np.zeros_like(keep))
    assert nobody.num_images == 1 and nobody.people(0) == slice(0, 0) and crowd_mask(nobody, 0) is None


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.json: No such file"):
        reader.load(tmp_path / "none.json")
    text = json.dumps(one_person())
    (tmp_path / "short.json").write_text(text[: len(text) // 2])
    with pytest.raises(UserError, match=r"short\.json: cut short .* line 1, character"):
        reader.load(tmp_path / "short.json")
    twice = one_person()
    twice["images"] *= 2
    with pytest.raises(UserError, match="image 1: there is another image of this id"):
        load(tmp_path, twice)
    with pytest.raises(UserError, match="9 keypoint numbers, not 3 x 17"):
        load(tmp_path, one_person(), num_keypoints=17)
    for key in ("images", "annotations"):
        content = one_person()
        del content[key]
        with pytest.raises(UserError, match=f"no list '{key}'"):
            load(tmp_path, content)
    names = {**one_person(), "categories": [{"id": 1, "keypoints": ["a", "b"]}]}
    with pytest.raises(UserError, match="9 keypoint numbers, not 3 x 2"):
        load(tmp_path, names)


def test_a_wrong_data_path_says_what_is_expected(tmp_path, drawn):
    assert images.image_folder(drawn, "val").name == "val2017"
    (tmp_path / "images" / "val2017").mkdir(parents=True)  # the other usual place
    assert images.image_folder(tmp_path, "val") == tmp_path / "images" / "val2017"
    with pytest.raises(UserError, match=r"nowhere: no such .*person_keypoints_val2017\.json.*--data_path=mini"):
        images.annotation_file(tmp_path / "nowhere" / "coco", "val")
    with pytest.raises(UserError, match=r"annotations: no such file or folder"):
        images.annotation_file(tmp_path, "train")
    with pytest.raises(UserError, match=r"train2017: no such file or folder.*--data_path=mini"):
        images.image_folder(tmp_path, "train")


# --- crowds ---

HEIGHT, WIDTH = 30, 41
REGION = np.zeros((HEIGHT, WIDTH), np.uint8)
REGION[4:20, 3:30], REGION[9:12, 8:19] = 1, 0
COMPRESSED = masks.encode(np.asfortranarray(REGION))["counts"].decode()
RUNS = [len(list(run)) for _, run in itertools.groupby([0, *REGION.ravel(order="F")])]


@pytest.mark.parametrize("counts", [COMPRESSED, [RUNS[0] - 1, *RUNS[1:]]])
def test_crowd_mask_is_that_of_cocos_tool(tmp_path, counts):
    content = one_person(iscrowd=1, segmentation={"size": [HEIGHT, WIDTH], "counts": counts})
    content["images"][0].update(height=HEIGHT, width=WIDTH)
    mask = crowd_mask(load(tmp_path, content), 0)
    assert mask is not None and mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, 1 - REGION)


def test_several_crowds_are_all_left_out_those_without_run_lengths_as_boxes(tmp_path):
    content = one_person(iscrowd=1, bbox=[10, 5, 20, 1e6])
    content["annotations"].append(person(id=8, iscrowd=1, bbox=[60, 40, 10, 5]))
    content["annotations"].append(person(id=9, iscrowd=0, segmentation=[[0, 0, 80, 0, 80, 60]]))
    content["images"].append({"id": 2, "file_name": "b.jpg", "height": 60, "width": 80})
    index = load(tmp_path, content)
    expected = np.ones((60, 80), np.uint8)
    expected[5:, 10:30] = expected[40:45, 60:70] = 0
    assert np.array_equal(crowd_mask(index, 0), expected) and crowd_mask(index, 1) is None


def test_a_region_of_a_huge_image_asks_for_no_memory():
    with pytest.raises(ValueError, match="image of"):
        annotations.compressed_region(None, (1, 2, 3, 4), 10**6, 10**6)
