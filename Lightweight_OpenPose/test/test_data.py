# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import common.coco.images
from common.skeleton import COCO, OPENPOSE
from Lightweight_OpenPose import data, labels
from Lightweight_OpenPose.config import Config
from Lightweight_OpenPose.data import Draw, TrainSamples
from Lightweight_OpenPose.test import golden

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

CONFIG = Config()
SIZE_IN = (CONFIG.net_input_size, CONFIG.net_input_size)
CASES = [*(f"targets_{number}" for number in range(6)), *(f"augment_{number}" for number in range(4))]


def samples(folder: Path) -> TrainSamples:
    prepared = labels.build(common.coco.images.annotation_file(folder, "train"))
    images = common.coco.images.image_folder(folder, "train")
    return TrainSamples(prepared, images, OPENPOSE, CONFIG)


@pytest.fixture(scope="session")
def real(shared: Path) -> TrainSamples:
    return samples(shared / "data" / "coco-mini")


@pytest.mark.parametrize("name", CASES)
def test_augmented_samples_are_the_originals(shared: Path, real: TrainSamples, name: str) -> None:
    """Spec, precision on A4.2: key points to 1e-6; pixels of one warp near those of two, aligned; the mask likewise."""
    case, coco = np.load(golden.folder(shared) / f"{name}.npz"), real.labels.index
    boxes = coco.boxes[real.labels.main]
    centred = np.isclose(boxes[:, :2] + boxes[:, 2:] / 2, case["objpos"], atol=1e-6).all(axis=1)
    (index,) = (i for i in np.flatnonzero(centred) if coco.file_name(real.labels.images[i]) == str(case["img_path"]))
    person, row, rands = real.labels.main[index], int(real.labels.images[index]), case["rands"]
    image = common.coco.images.read_image(real.folder, coco.file_name(row))
    shift = int((rands[3] - 0.5) * 80), int((rands[4] - 0.5) * 80)
    drawn = Draw(rands[1] * 0.6 + 0.5, (rands[2] - 0.5) * 80, shift, bool(rands[5] <= 0.5))
    warp = data.compose(image.shape[:2], boxes[index], CONFIG, drawn)
    people = np.append(person, real.labels.others(index))
    points = data.to_points(coco.keypoints[people], image.shape[:2], OPENPOSE)
    points = data.transform_points(points, warp, drawn.flip, OPENPOSE)
    used = case["keypoints"][..., 2] <= 1
    assert ((points[..., 2] > 0) == used).all()
    assert np.abs(points[used][:, :2] - case["keypoints"][used][:, :2]).max() < 1e-6
    ours, theirs = data.warp_image(image, warp.pixels, SIZE_IN, data.GREY), case["image"]
    assert _difference(ours, theirs) <= 4
    moved = [_difference(np.roll(ours, shift, axis=axis), theirs) for axis in (0, 1) for shift in (-1, 1)]
    assert _difference(ours, theirs) < min(moved)
    mask = data.warp_mask(data.crowd_mask(coco, row), warp, CONFIG.net_input_size)
    assert (mask != case["mask8"]).sum() <= 6


def _difference(one, other) -> float:
    return float(np.abs(one.astype(np.int32) - other).mean())


@settings(max_examples=20, deadline=None)
@given(st.floats(0.5, 1.1), st.floats(-40, 40), st.integers(-39, 39), st.integers(-39, 39), st.booleans())
def test_a_painted_pixel_stays_on_its_point(scale: float, angle: float, x: int, y: int, flip: bool) -> None:
    """The brightest pixel of the crop and the transformed point agree to a pixel, whatever the draw."""
    image = np.full((300, 400, 3), data.GREY, np.uint8)
    column, row = 180, 140
    image[row - 1 : row + 2, column - 1 : column + 2] = 255
    drawn = Draw(scale, angle, (x, y), flip)
    warp = data.compose((300, 400), np.array([90.0, 50.0, 200.0, 200.0]), CONFIG, drawn)
    crop = data.warp_image(image, warp.pixels, SIZE_IN, data.GREY)[..., 0].astype(np.float64) - data.GREY
    found = np.array([(crop.sum(axis) * np.arange(len(crop))).sum() / crop.sum() for axis in (0, 1)])
    point = np.array([[[column, row, 2.0]] * OPENPOSE.num_points])
    moved = data.transform_points(point, warp, flip, OPENPOSE)[0, 0, :2]
    assert np.abs(found - moved).max() < 1.0


def test_draws_have_the_originals_distributions() -> None:
    draws = [data.sample_augmentation(CONFIG, np.random.default_rng((0, number))) for number in range(4000)]
    values = np.array([(one.scale, one.angle_deg, *one.shift_in, one.flip) for one in draws])
    low, high = np.array([0.5, -40, -39, -39, 0]), np.array([1.1, 40, 39, 39, 1])
    assert (values >= low).all() and (values <= high).all()
    near = 0.02 * (high - low)
    assert (values.min(axis=0) < low + near).all() and (values.max(axis=0) > high - near).all()
    assert (np.abs(values.mean(axis=0) - (low + high) / 2) < 0.03 * (high - low)).all()
    # truncation makes 0 twice as frequent as the others
    assert (values[:, 2] == 0).mean() == pytest.approx(2 / 80, abs=0.01)


def test_points_outside_and_at_the_origin_are_absent_and_the_neck_needs_both_shoulders() -> None:
    keypoints = np.full((3, COCO.num_keypoints, 3), 2.0)
    keypoints[..., :2] = np.random.default_rng(0).uniform(10, 90, keypoints[..., :2].shape)
    left, right = COCO.keypoints.index("left_shoulder"), COCO.keypoints.index("right_shoulder")
    keypoints[0, left] = 20, 30, 1
    keypoints[0, right] = 40, 50, 2
    keypoints[1, left, 2] = 0
    keypoints[2, right, :2] = 120, 50
    keypoints[2, 0] = 0, 0, 2
    points = data.to_points(keypoints, (100, 100), OPENPOSE)
    neck = OPENPOSE.points.index("neck")
    assert points[0, neck].tolist() == [30, 40, 2]
    assert points[1, neck, 2] == 0 and points[2, neck, 2] == 0
    assert points[2, 0, 2] == 0 and (points[2, OPENPOSE.point_of_keypoint[right], 2]) == 0


def test_a_sample_depends_on_seed_epoch_and_index_alone(tiny_coco: Path) -> None:
    one, other = samples(tiny_coco), samples(tiny_coco)
    other[0, 0]
    first, again, later = one[2, 1], other[2, 1], other[3, 1]
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["image"], later["image"])


def test_a_crowd_is_masked_out_and_nothing_else(tiny_coco: Path) -> None:
    train = samples(tiny_coco)
    index = train.labels.index
    with_crowd = set(index.image_rows(np.flatnonzero(index.is_crowd)).tolist())
    assert with_crowd
    for number in range(len(train)):
        mask = train[0, number]["valid_mask"]
        assert mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 1}
        assert mask.all() or int(train.labels.images[number]) in with_crowd


def test_batches_hold_all_people_and_pixels_as_they_were(tiny_coco: Path) -> None:
    train = samples(tiny_coco)
    some = [train[0, index] for index in range(5)]
    batch = data.collate(some)
    assert batch["image"].shape == (5, 3, 368, 368) and batch["points"].shape[2:] == (OPENPOSE.num_points, 3)
    for number, sample in enumerate(some):
        assert np.array_equal(batch["image"][number].permute(1, 2, 0).numpy(), sample["image"])
        assert np.array_equal(batch["points"][number][: len(sample["points"])].numpy(), sample["points"])
        assert batch["points"][number][len(sample["points"]) :].abs().sum() == 0
    normal = data.normalise(batch["image"])
    assert normal.dtype.is_floating_point and normal[0, 0, 0, 0] == (int(some[0]["image"][0, 0, 0]) - 128) / 256
