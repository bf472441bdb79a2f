# SPDX-License-Identifier: Apache-2.0
"""An image through an affine map, sampled once."""

import math
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
BLACK, GREY = 0, 128
FOUR = 4  # channels
ROWS_SAMPLED = 3  # from the lowest point: a row to count from 1, one to interpolate with, one for rounding


def with_fourth_channel(image: Pixels) -> Pixels:
    """(h, w, 3 or 4) uint8 BGR -> (h, w, 4): as `warp_image` takes it without work; once for an image of many crops."""
    return image if image.shape[2] == FOUR else cast(Pixels, cv2.cvtColor(image, cv2.COLOR_BGR2BGRA))


def inverse(matrix: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """(2, 3) float64: the way back of an affine map (2, 3)."""
    a, b, x, c, d, y = map(float, matrix.flat)
    rows = np.array([[d, -b, b * y - d * x], [-c, a, c * x - a * y]])
    return rows / (a * d - b * c)


def rows_needed(matrix: npt.NDArray[np.floating[Any]], size: tuple[int, int]) -> int:
    """How many of an image's upper rows `warp_image` can see, with the same arguments; 0 where the crop lies above it.

    All else of the image may be missing: what is sampled is the same. 0 also where `matrix` is not finite, as that of
    a crop too small for float32 to tell its edges apart: it is black.
    """
    right, down, top = map(float, inverse(matrix)[1])
    lowest = top + max(0.0, right * (size[1] - 1)) + max(0.0, down * (size[0] - 1))
    return max(0, math.floor(lowest) + ROWS_SAMPLED) if math.isfinite(lowest) else 0


def warp_image(
    image: Pixels, matrix: npt.NDArray[np.floating[Any]], size: tuple[int, int], border: int = BLACK, rgb: bool = False
) -> Pixels:
    """(h, w, 3 or 4) uint8 BGR -> (height, width, 3) uint8 of `size`, BGR or `rgb`; `border`, a shade, outside it.

    `matrix` (2, 3): from pixels of the image to those of the result. Linear between pixels.

    A fourth channel is added on the way: OpenCV 5 samples four 2.6 times as fast as three, to the same values.
    """
    image = with_fourth_channel(image)
    warped = cv2.warpAffine(image, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderValue=(border,) * 4)
    return cast(Pixels, cv2.cvtColor(warped, cv2.COLOR_BGRA2RGB if rgb else cv2.COLOR_BGRA2BGR))
