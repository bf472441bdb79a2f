# SPDX-License-Identifier: Apache-2.0
"""What is drawn is where it should be, and nothing else is touched."""

from pathlib import Path

from common import skeleton
from common.coco.evaluate import Detections, EvaluationSet
from common.media import drawing
from common.media.sheets import save_sheet
from common.skeleton import COCO

import cv2
import numpy as np
import pytest

GREY = np.full((120, 160, 3), 128, np.uint8)


def one_person(shift: float = 0.0) -> np.ndarray:
    """(1, 17, 3): joints on a grid, far from each other."""
    index = np.arange(COCO.num_keypoints)
    return np.stack([15 + 30 * (index % 5) + shift, 15 + 28 * (index // 5), np.full(17, 2)], axis=1)[None].astype(float)


def has_colour(image: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((image == colour).all(-1).any())


def test_joints_have_the_colour_of_their_side():
    people = one_person()
    image = drawing.draw_people(GREY, people, COCO)
    assert image.shape == (120, 160, 3) and image.dtype == np.uint8
    for name, (x, y, _) in zip(COCO.keypoints, people[0], strict=True):
        side = name.partition("_")[0] if "_" in name else "middle"
        assert tuple(image[round(y), round(x)]) == drawing.SIDE_COLOURS[side], name


def test_only_joints_above_the_threshold_and_limbs_between_them():
    people = np.zeros((1, 17, 3))
    ends = {"left_hip": (20, 60, 0.9), "left_knee": (120, 60, 0.3)}
    for name, values in ends.items():
        people[0, COCO.keypoints.index(name)] = values
    both = drawing.draw_people(GREY, people, COCO)
    assert tuple(both[60, 70]) == drawing.SIDE_COLOURS["left"], "the limb"
    one = drawing.draw_people(GREY, people, COCO, threshold=0.5)
    assert tuple(one[60, 20]) == drawing.SIDE_COLOURS["left"]
    assert (one[:, 40:] == GREY[:, 40:]).all()
    none = drawing.draw_people(GREY, people, COCO, threshold=0.9)
    assert (none == GREY).all(), "and (0, 0) of the absent joints is not drawn"


def test_a_skeleton_has_colours_of_its_own(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("keypoints: [a, left_b, left_c]\nlimbs: [[a, left_b]]\ncolours: [[left_b, '#0a141e']]\n")
    people = np.array([[(20, 60, 1), (120, 60, 1), (20, 100, 1)]])
    image = drawing.draw_people(GREY, people, skeleton.load(path))
    assert tuple(image[60, 120]) == tuple(image[60, 70]) == (30, 20, 10), "joint; limb that ends there"
    assert tuple(image[60, 20]) == drawing.SIDE_COLOURS["middle"]
    assert tuple(image[100, 20]) == drawing.SIDE_COLOURS["left"]


def test_labels_and_the_given_image_stays():
    before, plain = GREY.copy(), drawing.draw_people(GREY, one_person(), COCO)
    assert (drawing.draw_people(GREY, one_person(), COCO, ids=[None]) == plain).all()
    assert (drawing.draw_people(GREY, one_person(), COCO, ids=[7]) != plain).any()
    assert (before == GREY).all() and (drawing.draw_people(GREY, [], COCO, ids=[]) == GREY).all()


@pytest.mark.parametrize("x", [-1e6, 1e6, np.nan])
def test_points_far_outside_do_no_harm(x):
    people = one_person()
    people[0, 5, 0] = x
    image = drawing.draw_people(GREY, people, COCO, ids=[1])
    assert image.shape == GREY.shape and has_colour(image, drawing.SIDE_COLOURS["right"])


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="reshape"):
        drawing.draw_people(GREY, np.zeros((2, 14, 3)), COCO)


def test_contact_sheet_places_every_image():
    colours = [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (9, 99, 199)]]
    sizes = [[(50, 100), (100, 100)], [(20, 10), (40, 80)]]  # (h, w)
    rows = [
        [np.full((*size, 3), colour, np.uint8) for colour, size in zip(*row, strict=True)]
        for row in zip(colours, sizes, strict=True)
    ]
    sheet = drawing.contact_sheet(rows, ["first", "second"], height=60)
    widths = (120, 120)  # of 50x100 and of 40x80, 60 high
    assert sheet.shape == (drawing.TITLE_HEIGHT + 2 * 68, 8 + widths[0] + 8 + widths[1] + 8, 3)
    for row in range(2):
        for column in range(2):
            middle = (drawing.TITLE_HEIGHT + row * 68 + 30, 8 + column * 128 + 60)
            assert tuple(sheet[middle]) == colours[row][column]
    titles = sheet[: drawing.TITLE_HEIGHT]
    assert (titles[:, :128] < 128).any() and (titles[:, 136:] < 128).any()


def test_a_sheet_shows_what_is_above_the_threshold(tiny_coco: Path, tmp_path: Path) -> None:
    path = tiny_coco / "annotations" / "person_keypoints_val2017.json"
    validation = EvaluationSet.load(path, tiny_coco / "val2017", COCO, 0)
    row = int(validation.index.image_rows([0])[0])
    keypoints = np.array(validation.index.keypoints[:1])
    keypoints[..., 2] = 0.2
    unsure = Detections(validation.index.image_ids[[row]], keypoints, np.ones(1))
    for threshold in (0.3, 0.1):
        save_sheet(tmp_path / f"{threshold}.png", validation, unsure, COCO, 1, threshold)
    empty, drawn = (cv2.imread(str(tmp_path / name)) for name in ("0.3.png", "0.1.png"))
    assert empty.shape == drawn.shape and (empty != drawn).any()
