# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Any

from common.cli import UserError
from common.coco import reader
from common.coco.images import warp_image
from common.skeleton import COCO
from common.test import top_down_golden as golden
from common.topdown import crops
from common.topdown.crops import Augmentation, Crop

import numpy as np
import pytest

SIZE_IN = (256, 192)
IMAGE_SIZE = (480, 640)
ULP_IMG = 6e-5  # of a float32 coordinate below 1024
MATRIX_IN = 3e-4  # pixels by which the originals' matrices are off, as they round to float32
MEANS = {"alphapose": np.array([0.406, 0.457, 0.480]), "mipnet": np.array([0.485, 0.456, 0.406])}
SCALES = {"alphapose": np.ones(3), "mipnet": np.array([0.229, 0.224, 0.225])}


def mean_and_std(pixels: Any, tag: str) -> Any:
    project = "alphapose" if tag == "alphapose" else "mipnet"
    normalised = (pixels / 255 - MEANS[project]) / SCALES[project]
    return np.stack([normalised.mean(axis=(0, 1)), normalised.std(axis=(0, 1), ddof=1)])


@pytest.mark.parametrize("tag", golden.TAGS)
def test_golden_crop_of_a_box(shared: Path, tag: str) -> None:
    """Matrix and joints but for the original's float32, pixels to a grey value; mean and deviation of the input."""
    size_in = golden.SIZES_IN[tag]
    for person in golden.people(shared, tag):
        image, crop = golden.image(shared, person), Crop(person["center"], person["scale"])
        matrix = crops.image_to_crop(crop, size_in)
        np.testing.assert_allclose(matrix, person["trans"], rtol=1e-6, atol=MATRIX_IN)
        pixels = warp_image(image, matrix, size_in)
        difference = np.abs(pixels.astype(int) - person.get("crop_rgb_u8", pixels))
        assert pixels.dtype == np.uint8 and difference.max() <= 1 and (difference > 0).mean() < 1e-3
        np.testing.assert_allclose(mean_and_std(pixels, tag), person["input_mean_std"], atol=1e-5)
        if "joints" in person:
            joints, _ = crops.joints_to_crop(person["joints_in"], person["vis"], matrix, False, COCO)
            seen = person["vis"] > 0
            np.testing.assert_allclose(joints[seen], person["joints"][seen], atol=MATRIX_IN)
        if "trans_inv_heatmap" in person:
            back = crops.crop_to_image(crop.centre_img, crop.size_img, golden.map_size(tag))
            np.testing.assert_allclose(back, person["trans_inv_heatmap"], rtol=1e-6, atol=MATRIX_IN)


@pytest.mark.parametrize("tag", golden.TAGS)
def test_golden_augmented_crop(shared: Path, tag: str) -> None:
    """One composed warp against the original's mirrored image that is warped after: a grey value at most."""
    for person in golden.people(shared, tag):
        image, size_in = golden.image(shared, person), golden.SIZES_IN[tag]
        crop = golden.augmented_crop(person, image.shape[1])
        matrix = crops.image_to_crop(crop, size_in)
        pixels = warp_image(image, matrix, size_in)
        np.testing.assert_allclose(mean_and_std(pixels, tag), person["aug_input_mean_std"], atol=2e-5)
        if "aug_trans" in person:
            mirror = np.array([[-1.0, 0, image.shape[1] - 1], [0, 1, 0], [0, 0, 1]]) if crop.flip else np.eye(3)
            np.testing.assert_allclose(matrix, person["aug_trans"] @ mirror, rtol=1e-6, atol=1e-4)
            joints, visible = crops.joints_to_crop(person["joints_in"], person["vis"], matrix, crop.flip, COCO)
            assert (visible == person["aug_vis"]).all()
            np.testing.assert_allclose(joints[visible > 0], person["aug_joints"][visible > 0], atol=1e-3)


@pytest.mark.parametrize("tag", golden.TAGS)
def test_golden_boxes(shared: Path, tag: str) -> None:
    """From the annotation to centre and size of the crop, with each project's way of sanitising."""
    index = reader.load(shared / "data/coco-mini/annotations/person_keypoints_val2017.json")
    train = reader.load(shared / "data/coco-mini/annotations/person_keypoints_train2017.json")
    for person in golden.people(shared, tag):
        source = index if person["annotation_id"] in index.annotation_ids else train
        row = np.flatnonzero(source.annotation_ids == person["annotation_id"])
        boxes = crops.boxes_inside(source.boxes[row], source.image_sizes[source.image_rows(row)], tag != "alphapose")
        centre, size = crops.fit_boxes(boxes, golden.SIZES_IN[tag])
        np.testing.assert_allclose(centre[0], person["center"], atol=ULP_IMG)
        np.testing.assert_allclose(size[0], person["scale"], rtol=3e-7)


@pytest.mark.parametrize("flip", [False, True])
def test_rotation_is_counter_clockwise(flip: bool) -> None:
    """What is right of the centre, in the picture as it is shown, comes up."""
    centre, size = np.array([100.0, 80.0]), np.array([48.0, 64.0])
    matrix = crops.image_to_crop(Crop(centre, size, 90.0, flip), SIZE_IN)
    right = centre + np.array([-10.0 if flip else 10.0, 0.0])
    np.testing.assert_allclose(crops.transform(right[None], matrix)[0], [96.0, 128.0 - 40.0], atol=1e-3)


def test_a_joint_lands_on_its_pixel() -> None:
    """A lit pixel and a joint on it go to the same place, mirrored and turned."""
    image = np.zeros((*IMAGE_SIZE, 3), np.uint8)
    image[211, 305] = 255
    for flip in (False, True):
        crop = Crop(np.array([300.0, 200.0]), np.array([36.0, 48.0]), 33.0, flip)
        matrix = crops.image_to_crop(crop, SIZE_IN)
        rows, columns = np.nonzero(warp_image(image, matrix, SIZE_IN)[:, :, 0] > 200)
        joint = crops.transform([[305.0, 211.0]], matrix)[0]
        np.testing.assert_allclose([columns.mean(), rows.mean()], joint, atol=0.5)


def test_boxes_at_the_border() -> None:
    """Width and height 640 x 480; columns: inside, over the left, over the right, one pixel, beyond."""
    boxes = [[10, 20, 31, 41], [-10, 20, 31, 41], [630, 20, 31, 41], [5, 5, 1, 1], [700, 20, 31, 41]]
    cut, moved = crops.boxes_inside(boxes, IMAGE_SIZE), crops.boxes_inside(boxes, IMAGE_SIZE, moved=True)
    assert cut[:4].tolist() == [[10, 20, 30, 40], [0, 20, 20, 40], [630, 20, 9, 40], [5, 5, 0, 0]]
    assert moved[:4].tolist() == [[10, 20, 30, 40], [0, 20, 30, 40], [630, 20, 9, 40], [5, 5, 0, 0]]
    assert (cut[4, 2], moved[4, 2]) < (0, 0)


@pytest.mark.parametrize("box", [[5, 5, 0, 0], [5, 5, -3, 10], [np.nan, 5, 3, 10], [5, 5, np.inf, 10]])
def test_a_box_without_extent_is_named(box: list[float]) -> None:
    with pytest.raises(UserError, match=r"no crop of the box \[.*must be finite and have an extent"):
        crops.fit_boxes([[1, 1, 5, 5], box], SIZE_IN)


def test_half_a_body() -> None:
    upper = np.arange(COCO.num_keypoints) < COCO.keypoints.index("left_hip")
    joints = np.where(upper[:, None], [10.0, 10.0], [10.0, 100.0]) + np.arange(COCO.num_keypoints)[:, None]
    everyone = np.ones(COCO.num_keypoints)
    few_below = everyone * (upper | (np.arange(COCO.num_keypoints) < 13))
    for visible, prefer_upper, half in ((everyone, True, upper), (everyone, False, ~upper), (few_below, False, upper)):
        found = crops.half_body(joints, visible, COCO, prefer_upper, SIZE_IN)
        assert found is not None
        np.testing.assert_allclose(found[0], joints[half].mean(axis=0), rtol=1e-6)
        width, height = np.ptp(joints[half], axis=0)
        expected = crops.HALF_BODY_PADDING * max(height, width * SIZE_IN[0] / SIZE_IN[1])
        np.testing.assert_allclose(found[1], [expected * SIZE_IN[1] / SIZE_IN[0], expected], rtol=1e-6)
    assert crops.half_body(joints, 0 * everyone, COCO, True, SIZE_IN) is None
    assert crops.half_body(0 * joints, everyone, COCO, True, SIZE_IN) is None


def test_augmentations_are_distributed_as_published() -> None:
    """Limits and shares of the publication; 4000 draws: three standard deviations of a share are below 0.024."""
    joints = np.random.default_rng(2).uniform(0, 90, (COCO.num_keypoints, 2))
    upright, random = Crop(*crops.fit_boxes([10, 20, 30, 90], SIZE_IN)), np.random.default_rng(3)

    def draw(augmentation: Augmentation, seen: int) -> Crop:
        visible = np.arange(COCO.num_keypoints) < seen
        return augmentation.vary(upright, joints, visible, COCO, SIZE_IN, random)

    draws = [draw(Augmentation(half_body=0), COCO.num_keypoints) for _ in range(4000)]
    scales, turns = (
        np.array([one.size_img[0] / upright.size_img[0] for one in draws]),
        np.array([one.rotation_deg for one in draws]),
    )
    assert (scales.min(), scales.max()) == pytest.approx((0.65, 1.35)) and np.abs(turns).max() == 90.0
    assert np.mean((scales > 0.651) & (scales < 1.349)) == pytest.approx(0.683, abs=0.024)
    assert np.mean(turns != 0) == pytest.approx(0.6, abs=0.024)
    assert np.mean(np.abs(turns) > 45) == pytest.approx(0.6 * 0.317, abs=0.024)
    assert np.mean([one.flip for one in draws]) == pytest.approx(0.5, abs=0.024)
    assert all((one.centre_img == upright.centre_img).all() for one in draws)
    halves = [draw(Augmentation(0, 0, 0.3, False), 9).centre_img for _ in range(4000)]
    assert np.mean([(one != upright.centre_img).any() for one in halves]) == pytest.approx(0.3, abs=0.024)
    still = [draw(Augmentation(0, 0, *rest), 8) for rest in ((1, False), (0, False, 0))]
    assert all((one.centre_img == upright.centre_img).all() and not one.flip for one in still)
    assert all((one.size_img == upright.size_img).all() and one.rotation_deg == 0 for one in still)
