# SPDX-License-Identifier: Apache-2.0
"""The scripts of the published instructions: same names, same flags, same choice of images."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import common.coco.mini.dataset
from common.cli import UserError
from common.coco import images
from Lightweight_OpenPose import labels
from Lightweight_OpenPose.scripts import make_val_subset, prepare_train_labels

import numpy as np
import pytest

PACKAGE = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def annotations(tmp_path_factory) -> Path:
    return images.annotation_file(common.coco.mini.dataset.write(tmp_path_factory.mktemp("drawn"), 9, 0), "train")


@pytest.fixture(scope="module")
def prepared(annotations) -> labels.TrainLabels:
    return labels.build(annotations)


def test_prepare_script(annotations, prepared, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    prepare_train_labels.main(["--labels", str(annotations)])
    written = labels.read("prepared_train_annotation.pkl")
    assert (written.main == prepared.main).all() and written.source == prepared.source
    said = f"{len(prepared)} people to train on, in {len(np.unique(prepared.images))} images"
    assert said in capsys.readouterr().out
    prepare_train_labels.main([f"--labels={annotations}", "--output-name", "o.pkl", "--net-input-size=256"])
    assert labels.read("o.pkl").net_input_size == 256


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--labels is required"),
        (["--labels", "none.json"], "none.json: No such file"),
        (["--labels", "none.json", "--net-input-size", "0"], "--net_input_size=0"),
        (["--labels", "none.json", "--skeleton", "dog"], "--skeleton=dog: no such file"),
    ],
)
def test_prepare_script_names_wrong_flags(words, message):
    with pytest.raises(UserError, match=message):
        prepare_train_labels.main(words)


@pytest.mark.parametrize(
    "command", [["scripts/prepare_train_labels.py"], ["-m", "Lightweight_OpenPose.scripts.prepare_train_labels"]]
)
def test_script_runs_as_a_file_and_as_a_module(annotations, tmp_path, command):
    target = tmp_path / "labels.pkl"
    words = [sys.executable, *command, "--labels", str(annotations), "--output-name", str(target)]
    subprocess.run(words, check=True, capture_output=True, cwd=PACKAGE)
    assert len(labels.read(target))


def dataset(num_images: int) -> dict:
    return {
        "info": {"year": 2017},
        "licenses": [1],
        "categories": [{"id": 1}],
        "images": [{"id": 3 * number} for number in range(num_images)],
        "annotations": [{"id": number, "image_id": 3 * (number % num_images)} for number in range(2 * num_images)],
    }


def test_val_subset_is_the_published_one():
    content = dataset(5000)
    before = copy.deepcopy(content)
    drawn = make_val_subset.subset(content, 250, 0)
    positions = [image["id"] // 3 for image in drawn["images"]]
    assert positions[:10] == [2795, 4151, 597, 2932, 3289, 1328, 4771, 1985, 3550, 1500]
    assert (len(positions), sum(positions)) == (250, 620407)
    ids = {image["id"] for image in drawn["images"]}
    assert drawn["annotations"] == [person for person in before["annotations"] if person["image_id"] in ids]
    assert {key: drawn[key] for key in ("info", "licenses", "categories")} == {
        key: before[key] for key in ("info", "licenses", "categories")
    }
    assert content == before


def test_val_subset_script(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "val.json"
    source.write_text(json.dumps(dataset(30)))
    make_val_subset.main(["--labels", str(source), "--num-images", "7"])
    text = (tmp_path / "val_subset.json").read_text()
    drawn = json.loads(text)
    assert text == json.dumps(drawn, indent=4)
    assert (len(drawn["images"]), len(drawn["annotations"])) == (7, 14)
    make_val_subset.main(["--labels", str(source), "--output-name", "all.json"])
    assert "30 images, all that there are, not 250" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "all.json").read_text())["images"]) == 30
    for words in ([], ["--labels", str(source), "--num-images", "0"], ["--labels", "none.json"]):
        with pytest.raises(UserError):
            make_val_subset.main(words)
    source.write_text("[]")
    with pytest.raises(UserError, match=r"val\.json: not a COCO annotation file"):
        make_val_subset.main(["--labels", str(source)])
