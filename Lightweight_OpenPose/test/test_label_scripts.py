# SPDX-License-Identifier: Apache-2.0
"""The scripts of the published instructions: same names, same flags, same choice of images."""

import copy
import json
import subprocess
import sys
from pathlib import Path

from common.cli import UserError
from common.coco import images
from Lightweight_OpenPose import labels
from Lightweight_OpenPose.scripts import make_val_subset, prepare_train_labels

import pytest

PACKAGE = Path(__file__).parents[1]


def test_prepare_script_as_a_file(tiny_coco, tmp_path):
    annotations = images.annotation_file(tiny_coco, "train")
    words = [sys.executable, str(PACKAGE / "scripts" / "prepare_train_labels.py"), "--labels", str(annotations)]
    done = subprocess.run([*words, "--net-input-size=256"], check=True, capture_output=True, text=True, cwd=tmp_path)
    prepared = labels.build(tmp_path / "prepared_train_annotation.pkl")
    assert (prepared.main == labels.build(annotations).main).all()
    assert f"{len(prepared)} people to train on, in {len(set(prepared.images.tolist()))} images" in done.stdout


@pytest.mark.parametrize("script", [prepare_train_labels, make_val_subset])
def test_labels_that_are_missing(script):
    for words, message in (([], "--labels is required"), (["--labels", "none.json"], "none.json: No such file")):
        with pytest.raises(UserError, match=message):
            script.main(words)


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
    drawn = make_val_subset.subset(content, 250)
    positions = [image["id"] // 3 for image in drawn["images"]]
    assert positions[:10] == [2795, 4151, 597, 2932, 3289, 1328, 4771, 1985, 3550, 1500]
    assert (len(positions), sum(positions)) == (250, 620407)
    ids = {image["id"] for image in drawn["images"]}
    people = [person for person in before["annotations"] if person["image_id"] in ids]
    assert drawn == {**before, "images": drawn["images"], "annotations": people}
    assert content == before


def test_val_subset_script(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("val.json").write_text(json.dumps(dataset(30)))
    make_val_subset.main(["--labels", "val.json", "--num-images", "7"])
    text = Path("val_subset.json").read_text()
    drawn = json.loads(text)
    assert text == json.dumps(drawn, indent=4)
    assert (len(drawn["images"]), len(drawn["annotations"])) == (7, 14)
    make_val_subset.main(["--labels", "val.json", "--output-name", "all.json"])
    assert "30 images, all that there are, not 250" in capsys.readouterr().out
    Path("val.json").write_text("[]")
    with pytest.raises(UserError, match=r"val\.json: not a COCO annotation file"):
        make_val_subset.main(["--labels", "val.json"])
