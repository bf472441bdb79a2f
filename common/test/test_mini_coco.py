# SPDX-License-Identifier: Apache-2.0
"""The drawn data set is what a COCO data set is, holds every special case, and its joints are where it says."""

import contextlib
import io
from pathlib import Path

from common.cli import UserError
from common.coco import cache
from common.coco.mini import dataset, scenes
from common.skeleton import COCO

import cv2
import numpy as np
import pytest
from pycocotools import coco as coco_file

# pycocotools' compiled part has not learnt a word of numpy 2.4 yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SPLITS = dataset.SPLITS
ONE_ROUND = len(scenes.SCENES)


def annotation_file(folder: Path, split: str) -> Path:
    return folder / "annotations" / f"person_keypoints_{split}.json"


def load(folder: Path, split: str) -> coco_file.COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return coco_file.COCO(annotation_file(folder, split))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    return dataset.write(tmp_path_factory.mktemp("drawn"), ONE_ROUND, ONE_ROUND)


@pytest.fixture(scope="module", params=SPLITS)
def split(request, drawn) -> tuple[Path, coco_file.COCO]:
    return drawn / request.param, load(drawn, request.param)


def people_of(data: coco_file.COCO) -> list[dict]:
    return [a for a in data.dataset["annotations"] if not a["iscrowd"]]


def joints(annotation: dict) -> np.ndarray:
    return np.array(annotation["keypoints"]).reshape(-1, 3)


def test_files_are_as_in_coco(split):
    folder, data = split
    assert set(data.dataset) == {"images", "annotations", "categories"}
    assert len(data.imgs) == ONE_ROUND
    for image in data.imgs.values():
        assert image["file_name"] == f"{image['id']:012d}.jpg"
        assert cv2.imread(str(folder / image["file_name"])).shape == (image["height"], image["width"], 3)
    (person,) = data.dataset["categories"]
    assert (person["id"], person["name"], tuple(person["keypoints"])) == (1, "person", COCO.keypoints)
    named = [(person["keypoints"][a - 1], person["keypoints"][b - 1]) for a, b in person["skeleton"]]
    assert tuple(named) == COCO.limbs
    ids = [annotation["id"] for annotation in data.dataset["annotations"]]
    assert len(set(ids)) == len(ids)
    assert all(a["category_id"] == 1 and a["image_id"] in data.imgs for a in data.dataset["annotations"])


def test_every_special_case_is_in_both_splits(split):
    _, data = split
    people = people_of(data)
    visibility = np.concatenate([joints(a)[:, 2] for a in people if a["num_keypoints"]])
    assert {0, 1, 2} == set(visibility)
    assert [a for a in data.dataset["annotations"] if a["iscrowd"]]
    assert [a for a in people if a["num_keypoints"] == 0], "a person too small for joints"
    assert [image for image in data.imgs if not data.getAnnIds(image)], "an image without people"
    assert len([image for image in data.imgs if len(data.getAnnIds(image)) == 1]) >= 3
    assert {a["area"] > 32**2 for a in people} == {True, False}, "small and medium people"
    partly_outside = [a for a in people if a["num_keypoints"] and (joints(a)[:, 2] == 0).any()]
    assert partly_outside
    for annotation in partly_outside:
        image, (x, y, w, h) = data.imgs[annotation["image_id"]], annotation["bbox"]
        assert x == 0 or y == 0 or x + w == image["width"] or y + h == image["height"]


def test_joints_lie_in_their_person(split):
    _, data = split
    for annotation in people_of(data):
        points, image = joints(annotation), data.imgs[annotation["image_id"]]
        assert annotation["num_keypoints"] == (points[:, 2] > 0).sum()
        assert not points[points[:, 2] == 0].any()
        labelled = points[points[:, 2] > 0]
        assert (labelled[:, :2] >= 0).all() and (labelled[:, :2] < (image["width"], image["height"])).all()
        silhouette = cv2.dilate(data.annToMask(annotation), np.ones((3, 3), np.uint8))
        for x, y, flag in labelled:
            assert flag == 1 or silhouette[y, x], (annotation["id"], x, y)


def test_seen_joints_are_on_their_blobs(split):
    """Knees and elbows are white, ankles and wrists dark: a joint that is pixels off is not."""
    folder, data = split
    checked = []
    for annotation in people_of(data):
        image = cv2.imread(str(folder / data.imgs[annotation["image_id"]]["file_name"]))
        for name, (x, y, flag) in zip(COCO.keypoints, joints(annotation), strict=True):
            joint = name.partition("_")[2]
            if flag == 2 and annotation["area"] > 2 * 32**2 and joint in ("elbow", "knee", "wrist", "ankle"):
                fits = image[y, x].min() > 190 if joint in ("elbow", "knee") else image[y, x].max() < 90
                checked.append(fits)
    assert len(checked) > 100 and np.mean(checked) > 0.95  # the others are under a limb of the same person


def test_a_seed_draws_the_same_again(tmp_path):
    def contents(name: str, seed: int) -> dict[str, bytes]:
        folder = dataset.write(tmp_path / name, 3, 2, seed)
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")}

    first = contents("first", 1)
    assert len(first) == 3 + 2 + 2
    assert contents("again", 1) == first
    other = contents("other", 2)
    assert all(other[name] != content for name, content in first.items())


def test_the_cache_moves_where_it_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "ROOT", tmp_path)
    first = cache.cache_folder("a")
    assert first.is_relative_to(tmp_path) and cache.made_once(first, lambda folder: (folder / "b").touch()) == first
    monkeypatch.setattr(cache, "ROOT", tmp_path / "absent")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.cache_folder("a").is_relative_to(tmp_path / "home")


def test_the_command(tmp_path, capsys):
    dataset.main([str(tmp_path / "new"), "--num_train", "2", "--num_val", "1", "--seed", "5"])
    assert len(list((tmp_path / "new" / "train2017").iterdir())) == 2
    assert "2 + 1 images" in capsys.readouterr().out
    with pytest.raises(UserError, match="--num_val"):
        dataset.main([str(tmp_path), "--num_val", "-1"])
