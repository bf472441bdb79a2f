# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import common.coco.images
import common.coco.reader
from common.coco.images import warp_image
from common.skeleton import COCO, OPENPOSE
from OpenPose_MindSpore_port import data, gen_ignore_mask, ignore_masks
from OpenPose_MindSpore_port.config import Config
from OpenPose_MindSpore_port.data import Draw, TrainSamples
from OpenPose_MindSpore_port.test import golden

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

CONFIG = Config()
CENTRED = (0.5, 0.5)
CELLS = 46
SIZE_IN = (CONFIG.insize, CONFIG.insize)


def samples(folder: Path, masks: Path) -> TrainSamples:
    index = ignore_masks.load_learned(common.coco.images.annotation_file(folder, "train"), CONFIG)
    images = common.coco.images.image_folder(folder, "train")
    return TrainSamples(index, images, masks, OPENPOSE, CONFIG)


def augmenting() -> TrainSamples:
    """Without images: `augmented` alone can be called."""
    train = TrainSamples.__new__(TrainSamples)
    train.config, train.skeleton = CONFIG, OPENPOSE
    return train


@pytest.fixture(scope="module")
def real(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainSamples:
    folder, masks = shared / "data" / "coco-mini", tmp_path_factory.mktemp("masks")
    gen_ignore_mask.write(common.coco.images.annotation_file(folder, "train"), masks, CONFIG)
    return samples(folder, masks)


@pytest.mark.parametrize("image_id", golden.IMAGE_IDS)
def test_people_mask_and_input_are_the_originals(shared: Path, real: TrainSamples, image_id: int) -> None:
    """Who is learned, their 18 points, the squashed image as the network sees it, and what of each cell counts."""
    case = golden.case(shared, "targets.npz", image_id)
    index = int(np.flatnonzero(real.index.image_ids == image_id)[0])
    people = real.index.people(index)
    assert real.index.annotation_ids[people].tolist() == case["ann_ids"].tolist()
    points = data.to_points(real.index.keypoints[people], OPENPOSE)
    assert np.array_equal(points.astype(int), case["poses_18"])
    image = common.coco.images.read_image(real.folder, real.index.file_name(index))
    size = (CONFIG.insize, CONFIG.insize)
    squashed = torch.from_numpy(cv2.resize(image, size))[None].permute(0, 3, 1, 2)
    normal = data.normalise(squashed)[0].permute(1, 2, 0).numpy()
    assert [normal.mean(), normal.std()] == pytest.approx(case["input_mean_std"].tolist(), abs=1e-4)
    small = cv2.resize(normal, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    assert np.abs(small - case["input_46"]).max() < 2e-2
    mask = ignore_masks.read(real.masks, image_id, image.shape[:2])
    assert np.array_equal(np.zeros(image.shape[:2]) if mask is None else mask > 0, case["ignore_mask_full"])
    valid = data.valid_cells(cv2.resize(case["ignore_mask_full"], size), np.eye(2, 3), CONFIG.insize)
    assert valid.dtype == np.float32 and np.abs(valid - case["mask"]).max() <= 1e-6


def painted(x: int, y: int) -> np.ndarray:
    """A grey picture with a white spot round (x, y)."""
    image = np.full((300, 400, 3), data.GREY, np.uint8)
    image[y - 2 : y + 3, x - 2 : x + 3] = 255
    return image


def people_at(*corners: tuple[float, float, float, float]) -> np.ndarray:
    """People whose points lie on the corners of a box: left, top, right, bottom."""
    points = np.zeros((len(corners), OPENPOSE.num_points, 3))
    for person, (left, top, right, bottom) in zip(points, corners, strict=True):
        person[:2] = (left, top, 2), (right, bottom, 1)
    return points


draws = st.builds(
    Draw,
    st.floats(0, 1),
    st.floats(-90, 90),
    st.just(0),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.none(),
    st.booleans(),
)


@settings(max_examples=30, deadline=None)
@given(draws)
def test_a_painted_spot_stays_on_its_point(drawn: Draw) -> None:
    """To a tenth of a pixel, whatever the draw: points keep their fractions."""
    points = people_at((180, 120, 181, 121), (100, 50, 250, 260))
    matrix = data.compose(points, CONFIG, drawn)
    crop = warp_image(painted(180, 120), matrix, SIZE_IN, data.GREY)[..., 0] - float(data.GREY)
    found = [(crop.sum(axis) * np.arange(len(crop))).sum() / crop.sum() for axis in (0, 1)]
    assert np.abs(found - data.transform_points(points, matrix)[0, 0, :2]).max() < 0.1


@settings(max_examples=30, deadline=None)
@given(draws)
def test_the_crop_lies_round_the_chosen_person(drawn: Draw) -> None:
    points = people_at((180, 120, 240, 180), (10, 10, 40, 90))
    matrix = data.compose(points, CONFIG, drawn)
    moved = data.transform_points(points, matrix)[0, :2, :2]
    away = (CONFIG.insize - 1) / 2 - moved.mean(axis=0)
    wanted = (np.array(drawn.shift) - 0.5) * 2 * CONFIG.center_perterb_max * (-1 if drawn.flip else 1, 1)
    assert away == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(
    ("sides", "range_of_scales"),
    [((100,), (0.5, 2.0)), ((40,), (1.0, 2.0)), ((800,), (0.5, 1.0)), ((60, 300), (0.747, 1.203))],
)
def test_scales_keep_people_between_the_smallest_and_the_largest_size(sides, range_of_scales) -> None:
    points = people_at(*((5.0, 5.0, 4.0 + side, 4.0 + side) for side in sides))
    found = [data.scale_of(points, CONFIG, share) for share in (0, 1)]
    assert found == pytest.approx(range_of_scales, abs=0.01)
    matrix = data.compose(points, CONFIG, Draw(1, 33.0, 0, CENTRED, None, False))
    assert np.sqrt(abs(np.linalg.det(matrix[:, :2]))) == pytest.approx(found[1])


@pytest.mark.parametrize("number", range(12))
def test_a_recorded_draw_gives_the_originals_crop(shared: Path, number: int) -> None:
    """But for what the original loses: it cuts joints to whole pixels after each of its steps."""
    case = golden.case(shared, "augment.npz", number)
    path = golden.folder(shared) / "annotations.json"
    masks = dict(ignore_masks.masks(path, common.coco.reader.load(path), CONFIG))
    image_id = int(case["image_id"])
    image = common.coco.images.read_image(shared / "data" / "coco-mini" / "train2017", f"{image_id:012d}.jpg")
    colour = tuple(int(value) for value in case["hsv_off"]) if case["color"] else None
    shift = tuple(float(value) for value in case["r_xy"])
    drawn = Draw(
        float(case["u_scale"]), float(case["degree"]), int(case["bbox_index"]), shift, colour, bool(case["flip"])
    )
    points = case["poses_in"].astype(np.float64)
    sample = augmenting().augmented(image, masks.get(image_id), points, drawn)
    labelled = case["poses_out"][..., 2] > 0
    assert np.abs(sample["points"] - case["poses_out"])[labelled][:, :2].max() <= 4
    small = cv2.resize(sample["image"], (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - case["img_out_46"]).mean() <= 8


def test_draws_have_the_originals_distributions() -> None:
    found = [data.sample_augmentation(CONFIG, 3, np.random.default_rng((0, number))) for number in range(4000)]
    for values in ([one.scale for one in found], [one.shift[0] for one in found], [one.shift[1] for one in found]):
        assert 0 <= min(values) < 0.01 and 0.99 < max(values) < 1 and np.mean(values) == pytest.approx(0.5, abs=0.02)
    angles = [one.angle_deg for one in found]
    assert np.mean(angles) == pytest.approx(0, abs=1) and np.std(angles) == pytest.approx(40 / 3, rel=0.05)
    assert np.bincount([one.person for one in found], minlength=3) / 4000 == pytest.approx([1 / 3] * 3, abs=0.03)
    assert np.mean([one.flip for one in found]) == pytest.approx(0.5, abs=0.03)
    colours = np.array([one.colour for one in found if one.colour is not None])
    assert len(colours) / 4000 == pytest.approx(0.5, abs=0.03)
    assert colours.min(axis=0).tolist() == [-10, -40, -30] and colours.max(axis=0).tolist() == [10, 40, 30]


def test_hues_turn_round_the_circle() -> None:
    """A red a little less red is purple on the one side and orange on the other."""
    red = np.full((4, 4, 3), (0, 0, 200), np.uint8)
    towards_purple = data.change_colours(red, (-10, 0, 0))[0, 0]
    assert towards_purple[0] > 50 and towards_purple[1] == 0
    assert np.array_equal(data.change_colours(red, (0, 0, 0)), red)
    assert data.change_colours(red, (0, 0, 30)).max() == 230


def test_the_neck_is_the_middle_of_two_shoulders() -> None:
    keypoints = np.full((2, COCO.num_keypoints, 3), 2.0)
    left, right = COCO.keypoints.index("left_shoulder"), COCO.keypoints.index("right_shoulder")
    keypoints[:, left], keypoints[:, right] = (21, 30, 1), (40, 50, 2)
    keypoints[1, left, 2] = 0
    points = data.to_points(keypoints, OPENPOSE)
    neck = OPENPOSE.points.index("neck")
    assert points[0, neck].tolist() == [30.5, 40, 2] and points[1, neck].tolist() == [0, 0, 0]


def test_a_mask_follows_its_people_and_grows() -> None:
    """A masked square under the warp: inside nothing counts, far away everything does, outside the image, too."""
    mask = np.zeros((300, 400), np.uint8)
    mask[100:200, 100:200] = ignore_masks.MASKED
    points, image, drawn = (
        people_at((100, 100, 199, 199)),
        np.zeros((300, 400, 3), np.uint8),
        Draw(0, 0, 0, CENTRED, None, False),
    )
    found = augmenting().augmented(image, mask, points, drawn)
    valid = found["valid_mask"]  # half the size: the square is 50 pixels wide, round the middle
    low, high = found["points"][0, 0, :2], found["points"][0, 1, :2]
    assert (valid[20:26, 20:26] == 0).all() and (valid[:17] == 1).all() and (valid[:, 29:] == 1).all()
    assert np.abs((low + high) / 2 - 183.5).max() < 1.6 and np.abs(high - low - 49.5).max() <= 1
    assert (augmenting().augmented(image, None, points, drawn)["valid_mask"] == 1).all()


def test_a_sample_depends_on_seed_epoch_and_index_alone(tiny_coco: Path, tmp_path: Path) -> None:
    one, other = samples(tiny_coco, tmp_path), samples(tiny_coco, tmp_path)
    other[0, 0]
    first, again, later = one[2, 1], other[2, 1], other[3, 1]
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["image"], later["image"])
    assert (first["points"] != np.trunc(first["points"])).any()  # joints keep their fractions
