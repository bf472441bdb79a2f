# SPDX-License-Identifier: Apache-2.0
"""Images through affine maps."""

from common.warping import GREY, rows_needed, warp_image

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

RANDOM = np.random.default_rng(0)
IMAGE = cv2.GaussianBlur(RANDOM.integers(0, 256, (90, 120, 3), np.uint8), (5, 5), 0)
TURNS, SHIFTS = st.floats(-2, 2), st.floats(-100, 100)
MATRICES = (
    st.tuples(TURNS, TURNS, SHIFTS, TURNS, TURNS, SHIFTS)
    .filter(lambda cells: abs(cells[0] * cells[4] - cells[1] * cells[3]) > 0.01)
    .map(lambda cells: np.reshape(cells, (2, 3)))
)


@settings(max_examples=60, deadline=None)
@given(MATRICES)
def test_three_channels_are_sampled_as_opencv_does(matrix: np.ndarray) -> None:
    wanted = cv2.warpAffine(IMAGE, matrix, (48, 64), flags=cv2.INTER_LINEAR, borderValue=(GREY,) * 3)
    assert np.array_equal(warp_image(IMAGE, matrix, (64, 48), GREY), wanted)


@settings(max_examples=200, deadline=None)
@given(MATRICES)
def test_rows_below_those_needed_change_nothing(matrix: np.ndarray) -> None:
    rows = min(max(rows_needed(matrix, (64, 48)), 1), len(IMAGE))
    assert np.array_equal(warp_image(IMAGE[:rows], matrix, (64, 48), GREY), warp_image(IMAGE, matrix, (64, 48), GREY))


def test_a_crop_needs_the_rows_down_to_its_lowest_point() -> None:
    moved = np.array([[1.0, 0, 0], [0, 1, -20]])  # the crop's first row is the image's twentieth
    assert 30 <= rows_needed(moved, (10, 48)) <= 33
    upside_down = np.array([[-1.0, 0, 47], [0, -1, 29]])
    assert 30 <= rows_needed(upside_down, (10, 48)) <= 33
    assert rows_needed(np.array([[1.0, 0, 0], [0, 1, 50]]), (10, 48)) == 0
    assert rows_needed(np.full((2, 3), np.nan), (10, 48)) == 0


@pytest.mark.parametrize("border", [0, GREY])
def test_outside_the_image_is_the_border(border: int) -> None:
    away = np.array([[1.0, 0, 500], [0, 1, 0]])
    assert (warp_image(IMAGE, away, (10, 20), border) == border).all()


def test_channels_change_places_where_asked() -> None:
    same = np.eye(2, 3)
    assert np.array_equal(warp_image(IMAGE, same, (90, 120)), IMAGE)
    assert np.array_equal(warp_image(IMAGE, same, (90, 120), rgb=True), IMAGE[..., ::-1])


def test_an_image_that_may_not_be_written_to_is_taken() -> None:
    kept = IMAGE.copy()
    kept.flags.writeable = False
    assert np.array_equal(warp_image(kept, np.eye(2, 3), (90, 120)), IMAGE)
