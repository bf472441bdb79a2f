# SPDX-License-Identifier: Apache-2.0
"""Annotation files as tools export them: training, evaluation and the check agree on what they say, or on one line."""

import copy
import json
import re
from pathlib import Path

from common.cli import UserError
from common.coco import evaluate, images, rules, validate
from common.coco.annotations import CocoIndex
from common.coco.evaluate import Detections, EvaluationSet
from common.coco.mini import dataset
from common.coco.reader import load, parse
from common.skeleton import COCO

import numpy as np
import pytest

BIG = 2**54 + 1  # no float is this number


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> dict:
    folder = dataset.write(tmp_path_factory.mktemp("drawn"), 0, 9)
    return json.loads(images.annotation_file(folder, "val").read_text())


def everybody(changes: dict):
    """Changes every annotation; a value may be a function of the old one."""

    def change(content: dict) -> None:
        for person in content["annotations"]:
            person.update({key: value(person) if callable(value) else value for key, value in changes.items()})

    return change


def without(key: str):
    return lambda content: [person.pop(key) for person in content["annotations"]]


def other_things(extra: dict, category: int = 2):
    """People become a `category`; each image gets a thing of category 1."""

    def change(content: dict) -> None:
        everybody({"category_id": category})(content)
        content["categories"][0]["id"] = category
        content["categories"].insert(0, {"id": 1, "name": "ball"})
        content["annotations"] += [
            {
                "id": 7000 + image["id"],
                "image_id": image["id"],
                "category_id": 1,
                "bbox": [5, 5, 9, 9],
                "area": 81,
                **extra,
            }
            for image in content["images"]
        ]

    return change


def large_ids(content: dict) -> None:
    for image in content["images"]:
        image["id"] += BIG
    everybody({"image_id": lambda person: person["image_id"] + BIG})(content)


def written_as_text(content: dict) -> None:
    everybody({"category_id": "1", "image_id": lambda person: str(person["image_id"])})(content)
    content["categories"][0]["id"] = "1"


READ = {
    "as it is": lambda content: None,
    "no area": without("area"),
    "null area": everybody({"area": None}),
    "null iscrowd": everybody({"iscrowd": lambda person: person["iscrowd"] or None}),
    "null num_keypoints": everybody({"num_keypoints": None}),
    "numbers as text": written_as_text,
    "large ids": large_ids,
    "a ball": other_things({}),
    "a ball with keypoints": other_things({"keypoints": [0] * 51, "num_keypoints": 0}),
    "no categories": lambda content: content.pop("categories"),
    "no category_id": without("category_id"),
    "a category of another number": everybody({"category_id": 9}),
}


def perfect(index: CocoIndex) -> Detections:
    rows = np.flatnonzero((index.num_keypoints > 0) & ~index.is_crowd)
    return Detections(index.image_ids[index.image_rows(rows)], index.keypoints[rows].astype(float), np.ones(len(rows)))


def data_set(folder: Path, content: dict) -> Path:
    (folder / "annotations").mkdir()
    (folder / "annotations" / "person_keypoints_val2017.json").write_text(json.dumps(content))
    return folder


def errors_of(folder: Path) -> list[str]:
    found = validate.check(folder, images=False)
    return [str(finding) for finding in found if finding.is_error and finding.kind != "images"]


@pytest.mark.parametrize("name", READ)
def test_odd_files_are_read_alike_by_all(tmp_path, content, name):
    odd = copy.deepcopy(content)
    READ[name](odd)
    folder = data_set(tmp_path, odd)
    index = load(images.annotation_file(folder, "val"), COCO.num_keypoints)
    usual = parse(content)[0]
    for field in ("keypoints", "num_keypoints", "is_crowd", "boxes"):
        np.testing.assert_array_equal(getattr(index, field), getattr(usual, field))
    metrics = evaluate.EvaluationSet.of(index).average_precision(perfect(index), COCO.sigmas)
    assert (metrics["AP"], metrics["AR"]) == (1, 1)
    assert errors_of(folder) == []


REFUSED = {
    "normalised boxes": (everybody({"bbox": lambda one: [side / 500 for side in one["bbox"]]}), "between 0 and 1"),
    "no images": (lambda content: content.update(images=[], annotations=[]), "'images' is empty"),
    "a number as annotation": (lambda content: content["annotations"].append(3), "no JSON object"),
    "a half id": (everybody({"id": 3.5}), "3.5, no whole number"),
    "an id of 70 bits": (everybody({"id": 2**70}), "64 bits|no whole number"),
    "iscrowd in words": (everybody({"iscrowd": "no"}), "iscrowd is 'no'"),
    "area in words": (everybody({"area": "large"}), "area is 'large'"),
    "null keypoints": (everybody({"keypoints": None}), "keypoints is None"),
    "text in keypoints": (everybody({"keypoints": ["a"] * 51}), "keypoints is"),
    "an endless box": (everybody({"bbox": [1, 2, float("inf"), 4]}), "NaN or infinity"),
    "no box": (without("bbox"), "no 'bbox'"),
    "runs too short": (
        everybody({"iscrowd": 1, "segmentation": {"counts": [5], "size": [60, 80]}}),
        "is of size|run lengths",
    ),
    "no runs": (everybody({"iscrowd": 1, "segmentation": {"counts": "~~~~", "size": [60, 80]}}), "segmentation of the"),
    "a number of 4,000 digits": (everybody({"bbox": [1, 2, 3, 10**4000]}), "box|bbox"),
    "a name of a megabyte": (lambda content: content["images"][0].update(file_name="a" * 10**6), "file_name is"),
    "no height": (lambda content: content["images"][0].pop("height"), "no 'height'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_training_refuses_the_check_names(tmp_path, content, name):
    change, message = REFUSED[name]
    odd = copy.deepcopy(content)
    change(odd)
    folder = data_set(tmp_path, odd)
    with pytest.raises(UserError, match=message) as caught:
        load(images.annotation_file(folder, "val"), COCO.num_keypoints)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    errors = errors_of(folder)
    assert errors and re.search(message, " ".join(errors)), errors[:3]
    assert max(map(len, errors)) < 900


def test_of_several_categories_with_keypoints_people_are_the_one_that_fits_or_is_called_so(tmp_path, content, capsys):
    odd = copy.deepcopy(content)
    other_things({"keypoints": [3, 4, 2] * 17})(odd)
    odd["categories"][0]["keypoints"] = list(COCO.keypoints)
    path = data_set(tmp_path, odd) / "annotations" / "person_keypoints_val2017.json"
    assert len(load(path).boxes) == len(content["annotations"])
    assert "people are the category '2' ('person'); left out: '1' ('ball')" in capsys.readouterr().err
    odd["categories"][1]["name"] = "worker"
    path.write_text(json.dumps(odd))
    with pytest.raises(UserError, match=r"which category are the people\? Several have .*'1' \('ball'\), '2' "):
        load(path)
    for thing in odd["annotations"][len(content["annotations"]) :]:
        thing["keypoints"] = [3, 4, 2] * 4
    odd["categories"][0]["keypoints"] = list("abcd")
    path.write_text(json.dumps(odd))
    assert len(load(path, 17).boxes) == len(content["annotations"])
    assert len(load(path, 4).boxes) == len(content["images"])


@pytest.mark.parametrize("area", [0, 1])
def test_areas_that_are_none_are_named_before_training(tmp_path, content, area, capsys):
    odd = copy.deepcopy(content)
    everybody({"area": area})(odd)
    folder = data_set(tmp_path, odd)
    for _ in range(2):
        load(images.annotation_file(folder, "val"))
    assert capsys.readouterr().err.count("that of the box counts") == 1  # said once
    index = load(images.annotation_file(folder, "val"))
    assert (index.areas == index.boxes[:, 2:].prod(axis=1)).all(), "so that AP means something"


def test_an_evaluation_that_would_come_to_nothing_is_refused_before_training(tmp_path, content):
    folder = dataset.write(tmp_path / "data", 0, 9)
    path, pictures = images.annotation_file(folder, "val"), images.image_folder(folder, "val")
    EvaluationSet.load(path, pictures, COCO, 0).check()
    with pytest.raises(UserError, match="no crowdIndex"):
        EvaluationSet.load(path, pictures, COCO, 0).check("crowdpose")
    next(pictures.iterdir()).unlink()
    with pytest.raises(UserError, match="1 of 9 annotated images are not there, the first is '0000"):
        EvaluationSet.load(path, pictures, COCO, 0).check()
    unlabelled = copy.deepcopy(content)
    everybody({"keypoints": lambda one: [0 if place % 3 == 2 else v for place, v in enumerate(one["keypoints"])]})(
        unlabelled
    )
    path.write_text(json.dumps(unlabelled))
    for refused in (EvaluationSet.load(path, pictures, COCO, 0).check, lambda: _precision_of_nobody(path)):
        with pytest.raises(UserError, match=r"val2017\.json: none of the .* people .* counts, AP would be -1"):
            refused()
    path.write_text(json.dumps({**content, "annotations": []}))
    assert _precision_of_nobody(path)["AP"] == -1  # COCO's convention


def _precision_of_nobody(path: Path) -> dict[str, float]:
    return evaluate.EvaluationSet.of(load(path), None, path).average_precision(evaluate.no_detections(17), COCO.sigmas)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "a list, where an object with lists"),
        ('{"images": [' + "9" * 6000 + "]}", "not a JSON text"),
        ('{"images": ' + "[" * 100_000, "not a JSON text"),
        ('{"images": null, "annotations": 3}', "no list 'images'"),
    ],
)
def test_what_is_no_coco_file_is_one_line(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=message):
        load(tmp_path / "a.json")


def test_cases_of_users(tmp_path, shared):
    """Which of the collected files are read, and what is said of the others, by the check as well."""
    refused = {"normalised": "between 0 and 1", "top_list": "a list", "no_images_val": "'images' is empty"}
    for case in sorted((shared / "cases" / "annotations").iterdir()):
        path = case / "person_keypoints_val2017.json"
        errors = [finding for finding in rules.check(path)[1] if finding.is_error]
        assert all(refused[case.name] in one.what for one in errors[:1]) and bool(errors) == (case.name in refused)
        if case.name in refused:
            with pytest.raises(UserError, match=refused[case.name]):
                load(path, COCO.num_keypoints)
            continue
        index = load(path, COCO.num_keypoints)
        metrics = evaluate.EvaluationSet.of(index).average_precision(perfect(index), COCO.sigmas)
        assert metrics["AP"] == 1 and len(index.boxes) == 17, case.name
