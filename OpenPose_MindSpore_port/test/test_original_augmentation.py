# SPDX-License-Identifier: Apache-2.0
"""The original's own augmentation: every recorded draw gives the recorded joints, mask and pixels."""

from pathlib import Path

import common.coco.images
import common.coco.reader
from common.skeleton import OPENPOSE
from OpenPose_MindSpore_port import ignore_masks
from OpenPose_MindSpore_port.augmentation import Augmentation, Draw, scale_of
from OpenPose_MindSpore_port.labels import LabelRules
from OpenPose_MindSpore_port.test import golden_cases, original_augmentation

import cv2
import numpy as np
import pytest

AUGMENTATION = Augmentation()
CASES = range(12)
MAP_SIZE = (46, 46)


@pytest.fixture(scope="module")
def masks(shared: Path) -> dict[int, np.ndarray]:
    path = golden_cases.folder(shared) / "annotations.json"
    return dict(ignore_masks.masks(path, common.coco.reader.load(path), LabelRules()))


def read(shared: Path, number: int, masks: dict[int, np.ndarray]):
    """The recorded arrays of a case, its image and its mask, 1 where masked."""
    case = golden_cases.case(shared, "augment.npz", number)
    image_id = int(case["image_id"])
    image = common.coco.images.read_image(shared / "data" / "coco-mini" / "train2017", f"{image_id:012d}.jpg")
    mask = masks.get(image_id, np.zeros(image.shape[:2], np.uint8))
    return case, image, (mask > 0).astype(np.uint8)


def drawn_of(case) -> Draw:
    colour = tuple(int(value) for value in case["hsv_off"]) if case["color"] else None
    shift = tuple(float(value) for value in case["r_xy"])
    return Draw(
        float(case["u_scale"]), float(case["degree"]), int(case["bbox_index"]), shift, colour, bool(case["flip"])
    )  # fmt: skip


@pytest.mark.parametrize("number", CASES)
def test_a_recorded_draw_gives_the_originals_crop(shared: Path, masks, number: int) -> None:
    case, image, mask = read(shared, number, masks)
    crop, masked, points = original_augmentation.augment(
        image, mask, case["poses_in"], AUGMENTATION, drawn_of(case), OPENPOSE
    )
    assert np.abs(points - case["poses_out"]).max() <= 1
    assert (masked != np.unpackbits(case["mask_out"]).reshape(masked.shape)).mean() < 1e-3
    small = cv2.resize(crop, MAP_SIZE, interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - case["img_out_46"]).max() <= 3


@pytest.mark.parametrize("number", CASES)
def test_each_step_cuts_the_joints_to_whole_pixels_as_the_original(shared: Path, masks, number: int) -> None:
    case, image, mask = read(shared, number, masks)
    drawn = drawn_of(case)
    scale = scale_of(case["poses_in"].astype(np.float64), AUGMENTATION, drawn.scale)
    sample = original_augmentation.resize(image, mask, case["poses_in"].astype(np.int64), scale)
    assert sample[0].shape[:2] == tuple(case["resized_hw"])
    assert np.array_equal(sample[2], case["poses_resized"])
    sample = original_augmentation.rotate(*sample, drawn.angle_deg)
    assert sample[0].shape[:2] == tuple(case["rotated_hw"])
    assert np.array_equal(sample[2], case["poses_rotated"])
    assert np.array_equal(original_augmentation.crop(*sample, AUGMENTATION, drawn)[2], case["poses_cropped"])


def test_a_crop_far_outside_the_image_is_grey() -> None:
    image, mask = np.zeros((50, 60, 3), np.uint8), np.ones((50, 60), np.uint8)
    for x, y in ((-900, 20), (900, 20), (20, -900), (20, 900)):
        points = np.array([[[x, y, 2], [x + 4, y, 2]]])
        drawn = Draw(0, 0, 0, (0.5, 0.5), None, False)
        crop, masked, moved = original_augmentation.crop(image, mask, points, AUGMENTATION, drawn)
        assert (crop == original_augmentation.CROPPED_BORDER).all() and not masked.any()
        assert np.abs(moved[0, 0, :2] - (181, 183)).max() <= 1
