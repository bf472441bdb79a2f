# SPDX-License-Identifier: Apache-2.0
"""What `heatmap_decoding` does to the highest cells of maps, compiled for a CPU: a dozen small operations in one."""

from typing import Any

from common.compiled import kernel

import numpy as np


@kernel
def settle(maps: Any, highest: Any, width: int, keep_zero: bool, step: float) -> Any:
    """Cells (M, 2) float32 x, y and scores (M,) float32 of the highest cells of M maps.

    `maps` (M, h * w) float32; `highest` (M,) the number of each map's highest cell; `width` w. A map that is nowhere
    above 0 (with `keep_zero`: nowhere 0 or above) has its cell at (0, 0). The others move by `step` cells to the higher
    neighbour on each axis, 0 for none, except in columns and rows 0, 1 and the last one.
    """
    cells, scores = np.zeros((len(maps), 2), np.float32), np.empty(len(maps), np.float32)
    height = maps.shape[1] // width
    for i in range(len(maps)):
        at = highest[i]
        scores[i] = maps[i, at]
        if scores[i] > 0 or (keep_zero and scores[i] == 0):
            x, y = at % width, at // width
            cells[i, 0], cells[i, 1] = x, y
            if 1 < x < width - 1 and 1 < y < height - 1:
                cells[i, 0] += np.float32(step) * np.sign(maps[i, at + 1] - maps[i, at - 1])
                cells[i, 1] += np.float32(step) * np.sign(maps[i, at + width] - maps[i, at - width])
    return cells, scores
