# SPDX-License-Identifier: Apache-2.0
"""An image through an affine map, sampled once."""

from typing import Any, cast

from common.arrays import UInt8Array

import cv2
import numpy as np
import numpy.typing as npt

BLACK, GREY = 0, 128


def inverse(matrix: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """(2, 3) float64: the way back of an affine map (2, 3)."""
    a, b, x, c, d, y = map(float, matrix.flat)
    rows = np.array([[d, -b, b * y - d * x], [-c, a, c * x - a * y]])
    return rows / (a * d - b * c)


def warp_image(
    image: UInt8Array,
    matrix: npt.NDArray[np.floating[Any]],
    size: tuple[int, int],
    border: int = BLACK,
    rgb: bool = False,
) -> UInt8Array:
    """(h, w, 3) uint8 BGR -> (height, width, 3) uint8 of `size`, BGR or `rgb`; `border`, a shade, outside it.

    `matrix` (2, 3): from pixels of the image to those of the result. Linear between pixels.
    """
    warped = cv2.warpAffine(image, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderValue=(border,) * 3)
    return cast(UInt8Array, cv2.cvtColor(warped, cv2.COLOR_BGR2RGB) if rgb else warped)
