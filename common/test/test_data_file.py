# SPDX-License-Identifier: Apache-2.0
"""A data.yaml describes a data set whose parts have other names and places."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.cli import UserError
from common.coco import cache, images, reader, validate
from common.skeleton import load

import pytest

GOOD = "train: {images: photos, annotations: a/one.json}\nval: {images: more photos, annotations: a/two.json}\n"


@pytest.fixture
def place(tmp_path, tiny_coco, monkeypatch) -> Path:
    """The drawn data set under other names, and an empty cache."""
    monkeypatch.setattr(cache, "ROOT", tmp_path / "code")
    (tmp_path / "code").mkdir()
    root = tmp_path / "my data"
    (root / "a").mkdir(parents=True)
    for split, folder, name in (("train", "photos", "one.json"), ("val", "more photos", "two.json")):
        shutil.copytree(images.image_folder(tiny_coco, split), root / folder)
        shutil.copy(images.annotation_file(tiny_coco, split), root / "a" / name)
    (root / "data.yaml").write_text(GOOD)
    return root


def test_parts_are_found_wherever_they_are(place):
    folder = images.data_folder(place / "data.yaml")
    for split, name in (("train", "one.json"), ("val", "two.json")):
        assert images.annotation_file(folder, split).resolve() == place / "a" / name
        assert images.find(folder, f"{split}2017") == images.image_folder(folder, split)
        index = reader.load(images.annotation_file(folder, split))
        assert images.read_image(images.image_folder(folder, split), index.file_name(0)).ndim == 3
    assert images.data_folder(str(place / "data.yaml")) == folder, "made once"
    assert not [one for one in validate.check(folder) if one.is_error]
    with ThreadPoolExecutor(4) as pool:
        (place / "other.yaml").write_text(GOOD)
        assert len({str(one) for one in pool.map(images.data_folder, [place / "other.yaml"] * 8)}) == 1


def test_another_place_is_another_folder(place):
    first = images.data_folder(place / "data.yaml")
    shutil.copy(place / "a" / "one.json", place / "a" / "three.json")
    (place / "data.yaml").write_text(GOOD.replace("one", "three"))
    assert images.data_folder(place / "data.yaml") != first


def test_the_skeleton_of_the_data_set_is_used_where_no_other_is_asked_for(place):
    (place / "points.yaml").write_text("keypoints: [a, b]\nsigmas: 0.1\n")
    (place / "data.yaml").write_text(f"{GOOD}skeleton: points.yaml\n")
    folder = images.data_folder(place / "data.yaml")
    assert images.skeleton_name("coco", "coco", folder) == str(place / "points.yaml")
    assert images.skeleton_name("", "openpose", folder) == str(place / "points.yaml")
    assert images.skeleton_name("crowdpose", "coco", folder) == "crowdpose"
    coco = load("coco")
    (place / "points.yaml").write_text(json.dumps({"keypoints": coco.keypoints, "sigmas": 0.1}))
    assert images.skeleton_name("openpose", "openpose", folder) == "openpose", "it has the same keypoints, and a neck"
    assert images.skeleton_name("coco", "coco", place) == "coco", "none there"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "no keys: no data.yaml; it needs train: "),
        ("train: photos", "train is 'photos'; it needs train: {images"),
        ("train: {images: photos}", "train is {'images': 'photos'}; it"),
        ("train: {images: gone, annotations: a/one.json}", "train: 'gone' is not there; paths are relative"),
        ("train: {images: photos, annotations: photos}", "train: 'photos' is not there"),
        ("train: {images: 3, annotations: a/one.json}", "train: 3 is not there"),
        ("path: .\n" + GOOD, "path, train, val: no data.yaml"),
        ("kpt_shape: [5, 3]\ntrain: images", "a YOLO data.yaml; convert it first: python -m tools.convert"),
        (GOOD + "skeleton: coco", "skeleton: 'coco' is not there"),
        ("train: [", "no YAML"),
    ],
)
def test_odd_files_are_one_line(place, text, message):
    (place / "data.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        images.data_folder(place / "data.yaml")
    assert "data.yaml" in str(caught.value)


def test_a_missing_file_is_named(place):
    with pytest.raises(UserError, match=r"gone\.yaml"):
        images.data_folder(place / "gone.yaml")


def test_default_sigmas_are_said_once(place, capsys):
    (place / "own points.yaml").write_text("keypoints: [a, b]\n")
    for _ in range(2):
        assert load(place / "own points.yaml").sigmas == (0.05, 0.05)
    assert capsys.readouterr().err.count("no `sigmas`, so 0.05") == 1
