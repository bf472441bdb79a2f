# SPDX-License-Identifier: Apache-2.0
"""The matrices of `crops.crop_to_image`, compiled: two dozen small operations in one."""

from typing import Any

from common.compiled import kernel

import numpy as np


@kernel
def crop_matrices(centres_img: Any, widths_img: Any, rotations_deg: Any, height: int, width: int) -> Any:
    """(N, 2, 3) float64, see there: `centres_img` (N, 2), `widths_img` and `rotations_deg` (N,), all float64."""
    found = np.empty((len(centres_img), 2, 3))
    for i in range(len(centres_img)):
        angle, half = np.deg2rad(rotations_deg[i]), 0.5 * widths_img[i]
        x, y = np.float32(centres_img[i, 0]), np.float32(centres_img[i, 1])
        top_x = np.float32(centres_img[i, 0] + half * np.sin(angle))
        top_y = np.float32(centres_img[i, 1] - half * np.cos(angle))
        turned_x, turned_y = top_x - (y - top_y), top_y + (x - top_x)
        for axis, middle, top, turned in ((0, x, top_x, turned_x), (1, y, top_y, turned_y)):
            along_x, along_y = (np.float64(top) - turned) * (2 / width), (np.float64(middle) - top) * (2 / width)
            found[i, axis, 0], found[i, axis, 1] = along_x, along_y
            found[i, axis, 2] = middle - along_x * (width / 2) - along_y * (height / 2)
    return found
