# SPDX-License-Identifier: Apache-2.0
"""Images through affine maps."""

from common.coco.images import GREY, warp_image

import cv2
import numpy as np
import pytest

RANDOM = np.random.default_rng(0)
IMAGE = cv2.GaussianBlur(RANDOM.integers(0, 256, (90, 120, 3), np.uint8), (5, 5), 0)


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
