# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D103  a test says in its name what it checks
"""The page of a COCO result file, by the command."""

import json

from common.cli import UserError
from common.coco import images
from tools import error_report

import pytest


def test_a_result_file_becomes_a_page(tiny_coco, tmp_path, capsys) -> None:
    content = json.loads(images.annotation_file(tiny_coco, "val").read_text())
    results = [
        {"image_id": one["image_id"], "category_id": 1, "keypoints": one["keypoints"], "score": 0.9}
        for one in content["annotations"]
        if one["num_keypoints"] and not one["iscrowd"]
    ]
    results[0]["keypoints"][0] += 200  # the nose, far away
    (tmp_path / "found.json").write_text(json.dumps(results))
    words = [f"--data_path={tiny_coco}", f"--detections={tmp_path / 'found.json'}", f"--output_dir={tmp_path / 'out'}"]
    error_report.main(words)
    numbers = json.loads((tmp_path / "out" / "report.json").read_text())
    assert numbers["errors"]["nose"]["miss"] == 1 and numbers["people"] == len(results)
    assert capsys.readouterr().out.strip().endswith("report.html")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "no list of detections"),
        ("[1]", "entry 0: 1 is no JSON object"),
        ('[{"image_id": 1, "score": 1}]', "entry 0: no 'keypoints'"),
        ('[{"image_id": 1, "score": 1, "keypoints": [1, 2]}]', "2 keypoint numbers, not 3 x 17"),
        (f'[{{"image_id": 1, "score": NaN, "keypoints": {[0] * 51}}}]', "NaN or infinity"),
    ],
)
def test_odd_result_files_are_one_line(tmp_path, text, message) -> None:
    (tmp_path / "found.json").write_text(text)
    with pytest.raises(UserError, match=message):
        error_report.load_detections(tmp_path / "found.json", 17)
