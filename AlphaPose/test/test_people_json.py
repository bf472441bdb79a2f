# SPDX-License-Identifier: Apache-2.0
"""The result files are the original's, byte for byte, and whole whatever happens."""

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

from AlphaPose.people_json import FORMS, RESULT_FILE, ResultFile, untracked_ids
from common.cli import UserError
from common.media.source import Frame
from common.people import People
from common.skeleton import COCO, Skeleton

import numpy as np
import pytest

GOLDEN_IMAGES = {"000000000139.jpg": "two_duplicates_one_far", "frame_7.jpg": "low_scores_dropped"}
GOLDEN_FORMS = {
    "default": ("default", False),
    "default_eval": ("coco", True),
    "cmu": ("cmu", False),
    "open": ("open", False),
}


def some_people(count: int = 2, seed: int = 0, num_keypoints: int = COCO.num_keypoints) -> People:
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(0, 100, (count, num_keypoints, 3)).astype(np.float32)
    skeleton = (
        COCO
        if num_keypoints == COCO.num_keypoints
        else Skeleton("own", tuple(map(str, range(num_keypoints))), (0.05,) * num_keypoints, ())
    )
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
    wanted = {
        path.relative_to(golden / "json_formats" / name) for path in (golden / "json_formats" / name).rglob("*.json")
    }
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()} == wanted
    for path in wanted:
        assert (tmp_path / path).read_bytes() == (golden / "json_formats" / name / path).read_bytes()


@pytest.mark.parametrize("form", FORMS)
def test_the_file_is_whole_after_every_image(tmp_path: Path, form: str) -> None:
    with ResultFile(tmp_path, form) as writer:
        assert len(result(tmp_path)) == 0
        for number in range(4):
            writer.write(frame(f"{number}.jpg"), some_people(2, number))
            assert len(result(tmp_path)) == (number + 1) * (2 if form in ("default", "coco") else 1)
        writer.write(frame("nobody.jpg"), some_people(0))
        before = result(tmp_path)
    assert result(tmp_path) == before
    writer.close()


# a shell that starts programs in the background makes them, and theirs, deaf to an interrupt
INTERRUPTED = """
import signal, sys
from AlphaPose.test.test_people_json import ResultFile, frame, some_people
signal.signal(signal.SIGINT, signal.default_int_handler)
with ResultFile(sys.argv[1], "cmu") as writer:
    for number in range(10**9):
        writer.write(frame(f"{number}.jpg"), some_people(5))
        if number == 20:
            print("running", flush=True)
"""


def test_an_interrupt_leaves_a_whole_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        finally:
            process.kill()
    assert process.returncode != 0
    images = result(tmp_path)
    assert len(images) > 20
    assert all(len(image["bodies"]) == 5 for image in images.values())


def test_a_full_disk_is_told_and_leaves_the_images_before(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ResultFile(tmp_path) as writer:
        writer.write(frame("0.jpg"), some_people(3))
        before = result(tmp_path)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / RESULT_FILE).stat().st_size + 100, limits[1]))
            with pytest.raises(UserError, match="cannot write .*free space"):
                writer.write(frame("1.jpg"), some_people(3))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert result(tmp_path) == before


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"cannot write {tmp_path}/file"):
        ResultFile(tmp_path / "file")


@pytest.mark.parametrize("form", ["cmu", "open"])
def test_names_that_differ_only_at_their_ends_keep_their_own_files(tmp_path: Path, form: str) -> None:
    images = ["a.b.jpg", "a.c.jpg", "a.jpg", "a.png", "a.png.tif"]
    with ResultFile(tmp_path, form) as writer:
        for number, image in enumerate(images):
            writer.write(frame(image), some_people(1, number))
    together = result(tmp_path)
    assert list(together) == images
    files = ["a.b", "a.c", "a", "a.png", "a.png.tif"]
    assert {path.name for path in (tmp_path / "sep-json").iterdir()} == {f"{name}.json" for name in files}
    for image, name in zip(images, files, strict=True):
        assert json.loads((tmp_path / "sep-json" / f"{name}.json").read_text()) == together[image]


def test_two_images_of_one_name_need_a_list(tmp_path: Path) -> None:
    with ResultFile(tmp_path, "open") as writer:
        writer.write(frame("x/a.jpg"), some_people())
        with pytest.raises(UserError, match="second image a.jpg.*--format=coco"):
            writer.write(frame("y/a.jpg"), some_people())
    assert list(result(tmp_path)) == ["a.jpg"]
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


def test_forms_and_skeletons_that_do_not_fit_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--format=xml.*cmu"):
        ResultFile(tmp_path, "xml")
    with ResultFile(tmp_path, "cmu") as writer, pytest.raises(UserError, match="17 keypoints of COCO, not 14"):
        writer.write(frame("a.jpg"), some_people(1, num_keypoints=14))
    with ResultFile(tmp_path) as writer:
        writer.write(frame("a.jpg"), some_people(1, num_keypoints=14))
    assert len(result(tmp_path)[0]["keypoints"]) == 3 * 14
