# SPDX-License-Identifier: Apache-2.0
import json
import shutil
import subprocess
import sys
from pathlib import Path

import common.coco.images
from common.cli import UserError
from OpenPose_MindSpore_port import gen_ignore_mask, ignore_masks
from OpenPose_MindSpore_port.config import Config, LabelRules
from OpenPose_MindSpore_port.test import golden

import cv2
import numpy as np
import pytest

MODEL = Path(__file__).parents[1]
RULES = LabelRules()
SIZE = (60, 80)  # height, width of the drawn cases


def square(left: int, top: int, side: int) -> list[list[int]]:
    """A polygon that covers pixels left .. left + side - 1."""
    right, bottom = left + side, top + side
    return [[left, top, right, top, right, bottom, left, bottom]]


def person(number: int, region: list[list[int]], joints: int, area: float, crowd: bool = False) -> dict:
    keypoints = [value for joint in range(17) for value in ((9, 9, 2) if joint < joints else (0, 0, 0))]
    box = [region[0][0], region[0][1], region[0][2] - region[0][0], region[0][5] - region[0][1]]
    facts = {"id": number, "image_id": 7, "category_id": 1, "area": area, "iscrowd": int(crowd)}
    return {**facts, "segmentation": region, "bbox": box, "num_keypoints": joints, "keypoints": keypoints}


def annotations(folder: Path, *people: dict) -> Path:
    path = folder / "people.json"
    image = {"id": 7, "file_name": "7.jpg", "height": SIZE[0], "width": SIZE[1]}
    path.write_text(json.dumps({"images": [image], "annotations": list(people), "categories": []}))
    return path


def written(folder: Path, *people: dict) -> np.ndarray | None:
    """The mask that a file of these people gives, read from its PNG."""
    gen_ignore_mask.write(annotations(folder, *people), folder / "masks", RULES)
    return ignore_masks.read(folder / "masks", 7, SIZE)


def area_of(*squares: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    for left, top, side in squares:
        mask[top : top + side, left : left + side] = ignore_masks.MASKED
    return mask


def test_annotations_of_other_categories_are_passed_over(tmp_path: Path) -> None:
    ball = {"id": 1, "image_id": 7, "category_id": 2, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}
    few = person(2, square(10, 20, 8), joints=1, area=64)
    assert np.array_equal(written(tmp_path, ball, few, ball), area_of((10, 20, 8)))


@pytest.mark.parametrize("image_id", golden.IMAGE_IDS)
def test_masks_are_the_originals(shared: Path, tmp_path_factory: pytest.TempPathFactory, image_id: int) -> None:
    folder = tmp_path_factory.mktemp("masks")
    gen_ignore_mask.write(golden.folder(shared) / "annotations.json", folder, RULES)
    case = golden.case(shared, "ignore_masks.npz", image_id)
    size = tuple(case["hw"].tolist())
    mask = ignore_masks.read(folder, image_id, size)
    assert (mask is not None) == case["exists"]
    wanted = np.unpackbits(case["mask_packed"], count=size[0] * size[1]).reshape(size)
    assert np.array_equal(np.zeros(size) if mask is None else mask == ignore_masks.MASKED, wanted)


def test_who_is_learned_is_not_masked_and_leaves_no_file(tmp_path: Path) -> None:
    small, few = person(1, square(10, 10, 8), 5, 1024), person(2, square(30, 10, 40), 4, 1600)
    assert np.array_equal(written(tmp_path, small, few), area_of((10, 10, 8), (30, 10, 40)))
    good = person(1, square(10, 10, 40), 5, 1025)
    assert written(tmp_path, good) is None, "the file of other people is still there"


def test_a_crowd_is_masked_but_where_people_before_it_are(tmp_path: Path) -> None:
    good, few = person(1, square(10, 10, 20), 9, 1600), person(2, square(40, 10, 20), 2, 1600)
    crowd = person(3, square(0, 0, 60), 0, 3600, crowd=True)
    wanted = area_of((0, 0, 60))
    wanted[10:30, 10:30] = 0
    assert np.array_equal(written(tmp_path, good, few, crowd), wanted)
    assert np.array_equal(written(tmp_path, crowd, good, few), area_of((0, 0, 60)))  # the file's order counts


def test_somebody_who_is_not_learned_is_masked_also_in_front_of_others(tmp_path: Path) -> None:
    good, few = person(1, square(10, 10, 30), 9, 1600), person(2, square(20, 20, 30), 2, 1600)
    assert np.array_equal(written(tmp_path, good, few), area_of((20, 20, 30)))


@pytest.mark.parametrize("region", [[[1, 2]], [["a"] * 6], {"counts": [1], "size": [1, 2]}])
def test_a_wrong_silhouette_is_named(tmp_path: Path, region: object) -> None:
    wrong = {**person(12, square(5, 6, 10), 2, 100), "segmentation": region}
    with pytest.raises(UserError, match=r"people\.json.*annotation 12"):
        gen_ignore_mask.write(annotations(tmp_path, wrong), tmp_path / "masks", RULES)
    assert not (tmp_path / "masks").exists()


def test_a_damaged_mask_or_one_of_another_size_is_named_with_its_cure(tmp_path: Path) -> None:
    path = ignore_masks.mask_path(tmp_path, 7)
    assert path.name == "000000000007.png" and ignore_masks.read(tmp_path, 7, SIZE) is None
    cv2.imwrite(str(path), np.zeros((SIZE[1], SIZE[0]), np.uint8))
    with pytest.raises(UserError, match=rf"{path}: 60 x 80 pixels, the image has 80 x 60; .*gen_ignore_mask"):
        ignore_masks.read(tmp_path, 7, SIZE)
    for content in (b"", b"no image", path.read_bytes()[:20]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"{path}: .*gen_ignore_mask"):
            ignore_masks.read(tmp_path, 7, SIZE)


def test_an_empty_folder_of_masks_is_filled(tmp_path: Path) -> None:
    path = annotations(tmp_path, person(1, square(10, 10, 40), 17, 1600.0), person(2, square(60, 10, 9), 1, 81.0))
    (tmp_path / "ignore_mask_train").mkdir()
    config = Config(data_dir=str(tmp_path), output_dir=str(tmp_path / "out"))
    folder = ignore_masks.mask_folder(config, path)
    assert folder == tmp_path / "ignore_mask_train" and [mask.name for mask in folder.iterdir()] == ["000000000007.png"]
    ignore_masks.write(annotations(tmp_path, person(1, square(10, 10, 40), 17, 1600.0)), folder, RULES)
    before = folder.stat().st_ino  # without people to mask it is not written again, by all ranks at once
    assert ignore_masks.mask_folder(config, path).stat().st_ino == before


def test_the_published_command_writes_masks_beside_the_images(tiny_coco: Path, tmp_path: Path) -> None:
    dataset = Path(shutil.copytree(tiny_coco, tmp_path / "dataset"))
    annotation = {split: str(common.coco.images.annotation_file(dataset, split)) for split in ("train", "val")}
    flags = ["--train_ann", annotation["train"], "--val_ann", annotation["val"]]
    flags += ["--train_dir", "train2017", "--val_dir", "val2017"]
    command = [sys.executable, "gen_ignore_mask.py", *flags, "--data_dir", str(dataset)]
    done = subprocess.run(command, cwd=MODEL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for split in ("train", "val"):
        folder = dataset / f"ignore_mask_{split}"
        assert f"{folder}: {len(list(folder.glob('*.png')))} masks" in done.stdout
    assert any(dataset.glob("ignore_mask_train/*.png"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--train_ann=nothing.json"], "nothing.json: no such file.*--train_ann"),
        (["--train_dir=nowhere"], "nowhere: no such file or folder.*--train_dir"),
        (["--train_ann=", "--val_ann="], "both empty"),
    ],
)
def test_bad_flags_are_one_line(tiny_coco: Path, flags: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        gen_ignore_mask.main([f"--data_dir={tiny_coco}", *flags])
