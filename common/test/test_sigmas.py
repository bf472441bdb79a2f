# SPDX-License-Identifier: Apache-2.0
"""Sigmas from repeated annotations: those with which the annotations were drawn."""

import json

from common.cli import UserError
from common.coco import validate

import numpy as np
import pytest

TRUE = np.array([0.02, 0.05, 0.1])
AREA = 10_000.0


def annotated(path, seed, people=300):
    """A file in which the same people are annotated, each keypoint off by its sigma (as a distance) times 100 px."""
    truth = np.random.default_rng(5).uniform(100, 900, (people, 3, 2))
    noise = np.random.default_rng(seed).normal(0, 1, (people, 3, 2)) * TRUE[:, None] * np.sqrt(AREA) / np.sqrt(2)
    images = [{"id": n + 1, "file_name": f"{n}.jpg", "width": 1000, "height": 1000} for n in range(people // 2)]
    annotations = []
    for number in np.random.default_rng(seed).permutation(people).tolist():
        keypoints = np.concatenate([truth[number] + noise[number], np.full((3, 1), 2)], axis=1)
        place = {"id": number + 1, "image_id": number // 2 + 1, "category_id": 1, "bbox": [0, 0, 100, 100]}
        annotations.append({**place, "area": AREA, "keypoints": keypoints.ravel().tolist()})
    categories = [{"id": 1, "name": "person", "keypoints": ["a", "b", "c"]}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def command(*paths) -> None:
    with pytest.raises(SystemExit, match="0"):
        validate.main([f"--estimate_sigmas={','.join(map(str, paths))}"])


@pytest.mark.parametrize("people", [300, 8])
def test_sigmas_are_those_of_the_annotators(tmp_path, capsys, people):
    command(annotated(tmp_path / "a.json", 1, people), annotated(tmp_path / "b.json", 2, people))
    line, count, *few = capsys.readouterr().out.splitlines()
    found = json.loads(line.removeprefix("sigmas: "))
    np.testing.assert_allclose(found, TRUE, rtol=0.1 if people > 8 else 0.7)
    assert f"annotated twice: {people}" in count or people > 8
    assert few == ([] if people > 8 else ["# too few to rely on: a (8), b (8), c (8)"])


def test_one_file_other_images_and_a_copy_are_one_line(tmp_path):
    one, other = annotated(tmp_path / "a.json", 1, people=4), tmp_path / "b.json"
    with pytest.raises(UserError, match="two annotation files"):
        command(one)
    other.write_text(one.read_text().replace(".jpg", ".png"))
    with pytest.raises(UserError, match=r"b\.json: no image of .*a\.json"):
        command(one, other)
    with pytest.raises(UserError, match="a is at identical places in both"):
        command(one, one)
