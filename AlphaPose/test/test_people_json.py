# SPDX-License-Identifier: Apache-2.0
"""The result files are the original's, byte for byte, and whole after every image."""

import json
import resource
from pathlib import Path

from AlphaPose.people_json import RESULT_FILE, ResultFile, untracked_ids
from common.cli import UserError
from common.media.source import Frame
from common.people import People
from common.skeleton import COCO, CROWDPOSE, Skeleton

import numpy as np
import pytest

GOLDEN_IMAGES = {"000000000139.jpg": "two_duplicates_one_far", "frame_7.jpg": "low_scores_dropped"}
GOLDEN_FORMS = {
    "default": ("default", False),
    "default_eval": ("coco", True),
    "cmu": ("cmu", False),
    "open": ("open", False),
}


def some_people(count: int = 2, skeleton: Skeleton = COCO) -> People:
    rng = np.random.default_rng(count)
    keypoints = rng.uniform(0, 100, (count, skeleton.num_keypoints, 3))
    return People(skeleton, keypoints, rng.random(count), rng.uniform(0, 9, (count, 4)), tuple(range(count)))


def frame(name: str | Path) -> Frame:
    return Frame(str(name), 0, 0.0, np.zeros((1, 1, 3), np.uint8))


def result(folder: Path):
    return json.loads((folder / RESULT_FILE).read_text())


@pytest.mark.parametrize("name", GOLDEN_FORMS)
def test_files_are_the_originals(shared: Path, tmp_path: Path, name: str) -> None:
    golden = shared / "golden" / "topdown"
    cases = {case["name"]: case["pose_nms_area0"] for case in json.loads((golden / "nms_cases.json").read_text())}
    with ResultFile(tmp_path, *GOLDEN_FORMS[name]) as writer:
        for image, case in GOLDEN_IMAGES.items():
            keypoints = np.dstack([cases[case]["poses"], cases[case]["kp_scores"]])
            scores, boxes = np.array(cases[case]["proposal_scores"]), np.array(cases[case]["boxes"])
            boxes[:, 2:] -= boxes[:, :2]
            people = People(COCO, keypoints, scores, boxes, tuple(untracked_ids(cases[case]["merged_ids"])))
            writer.write(frame(Path("some/folder") / image), people)
    folder = golden / "json_formats" / name
    expected = {path.relative_to(folder) for path in folder.rglob("*.json")}
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()} == expected
    for path in expected:
        assert (tmp_path / path).read_bytes() == (folder / path).read_bytes()


@pytest.mark.parametrize("form", ["default", "coco", "cmu", "open"])
def test_the_file_is_whole_after_every_image(tmp_path: Path, form: str) -> None:
    with ResultFile(tmp_path, form) as writer:
        assert len(result(tmp_path)) == 0
        for number in range(4):
            writer.write(frame(f"{number}.jpg"), some_people())
            assert len(result(tmp_path)) == (number + 1) * (2 if form in ("default", "coco") else 1)
        writer.write(frame("nobody.jpg"), some_people(0))
        before = result(tmp_path)
    assert result(tmp_path) == before


def test_a_full_disk_leaves_the_images_before(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ResultFile(tmp_path) as writer:
        writer.write(frame("0.jpg"), some_people(3))
        before = result(tmp_path)
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / RESULT_FILE).stat().st_size + 100, limits[1]))
        try:
            with pytest.raises(OSError, match="too large"):
                writer.write(frame("1.jpg"), some_people(3))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert result(tmp_path) == before


def test_images_of_one_name(tmp_path: Path) -> None:
    """Names that differ only at their ends have files of their own; equal names need the list."""
    images = ["a.b.jpg", "a.c.jpg", "x/a.jpg", "a.png"]
    with ResultFile(tmp_path, "open") as writer:
        for number, image in enumerate(images):
            writer.write(frame(image), some_people(number + 1))
        with pytest.raises(UserError, match="second image a.jpg.*--format=coco"):
            writer.write(frame("y/a.jpg"), some_people())
    together = result(tmp_path)
    assert list(together) == ["a.b.jpg", "a.c.jpg", "a.jpg", "a.png"]
    alone = [json.loads((tmp_path / "sep-json" / f"{name}.json").read_text()) for name in ("a.b", "a.c", "a", "a.png")]
    assert alone == list(together.values())
    with ResultFile(tmp_path, "coco") as writer:
        writer.write(frame("x/a.jpg"), some_people())
        writer.write(frame("y/a.jpg"), some_people())
    assert len(result(tmp_path)) == 4


def test_images_by_number(tmp_path: Path) -> None:
    with ResultFile(tmp_path, "default", numbered_images=True) as writer:
        for name in ("COCO_val2014_000000000139.jpg", "12345678901.jpg"):
            writer.write(frame(name), some_people(1))
        with pytest.raises(UserError, match="cat.jpg: --eval"):
            writer.write(frame("cat.jpg"), some_people(1))
    assert [entry["image_id"] for entry in result(tmp_path)] == [139, 12345678901]
    with ResultFile(tmp_path, "cmu", numbered_images=True) as writer:
        writer.write(frame("frame_7.jpg"), some_people(1))
    assert list(result(tmp_path)) == ["7"]
    assert (tmp_path / "sep-json" / "7.json").is_file()


def test_forms_with_the_points_of_openpose_are_for_coco(tmp_path: Path) -> None:
    with ResultFile(tmp_path, "cmu") as writer, pytest.raises(UserError, match="17 keypoints of COCO, not 14"):
        writer.write(frame("a.jpg"), some_people(1, CROWDPOSE))
