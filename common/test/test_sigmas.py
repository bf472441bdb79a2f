# SPDX-License-Identifier: Apache-2.0
"""Sigmas from repeated annotations: those with which the annotations were drawn."""

import json

from common.cli import UserError
from common.coco import sigmas, validate

import numpy as np
import pytest

TRUE = np.array([0.02, 0.05, 0.1])
AREA = 10_000.0


def annotated(path, rng, people=300, order=None):
    """A file in which the same people are annotated, each keypoint off by its sigma (as a distance) times 100 px."""
    truth = np.random.default_rng(5).uniform(100, 900, (people, 3, 2))
    noise = rng.normal(0, 1, (people, 3, 2)) * TRUE[:, None] * np.sqrt(AREA) / np.sqrt(2)
    images = [{"id": n + 1, "file_name": f"{n}.jpg", "width": 1000, "height": 1000} for n in range(people // 2)]
    annotations = []
    for number in order if order is not None else range(people):
        keypoints = np.concatenate([truth[number] + noise[number], np.full((3, 1), 2)], axis=1)
        place = {
            "id": number + 1,
            "image_id": number // 2 + 1,
            "category_id": 1,
            "area": AREA,
            "bbox": [0, 0, 100, 100],
        }
        annotations.append({**place, "keypoints": keypoints.ravel().tolist()})
    categories = [{"id": 1, "name": "person", "keypoints": ["a", "b", "c"]}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


@pytest.mark.parametrize("files", [2, 3])
def test_sigmas_are_those_of_the_annotators(tmp_path, files):
    rng = np.random.default_rng(0)
    paths = [
        annotated(tmp_path / f"{number}.json", rng, order=None if number % 2 else range(299, -1, -1))
        for number in range(files)
    ]
    found = sigmas.estimate(paths)
    np.testing.assert_allclose(found.sigmas, TRUE, rtol=0.1)
    assert found.counts.min() > 250 and found.names == ("a", "b", "c")


def test_the_command_prints_a_line_for_the_skeleton(tmp_path, capsys):
    rng = np.random.default_rng(1)
    paths = [annotated(tmp_path / name, rng, people=8) for name in ("a.json", "b.json")]
    with pytest.raises(SystemExit, match="0"):
        validate.main([f"--estimate_sigmas={','.join(map(str, paths))}"])
    out = capsys.readouterr().out
    assert out.startswith("sigmas: [0.0") and "too few to rely on: a (8)" in out


def test_one_file_and_other_images_are_one_line(tmp_path):
    rng = np.random.default_rng(1)
    one = annotated(tmp_path / "a.json", rng, people=4)
    with pytest.raises(UserError, match="two annotation files"):
        sigmas.estimate([one])
    other = tmp_path / "b.json"
    other.write_text(one.read_text().replace(".jpg", ".png"))
    with pytest.raises(UserError, match=r"b\.json: no image of .*a\.json"):
        sigmas.estimate([one, other])


def test_a_copy_in_place_of_a_second_annotation_is_one_line(tmp_path):
    one = annotated(tmp_path / "a.json", np.random.default_rng(1), people=4)
    with pytest.raises(UserError, match="a lies at the very same places in all"):
        sigmas.estimate([one, one])
