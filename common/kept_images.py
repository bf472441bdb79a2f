# SPDX-License-Identifier: Apache-2.0
"""Decoded images that a loader worker keeps: decoding is half the work of a crop, and an image has many people."""

from collections import OrderedDict
from pathlib import Path

import common.coco
from common.jpeg import ALL_ROWS

import numpy as np
import numpy.typing as npt


class KeptImages:
    """Reads images, and keeps the `count` that were asked for last; 0 keeps none. Each process has its own."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._kept: OrderedDict[tuple[str, str], npt.NDArray[np.uint8]] = OrderedDict()

    def read(self, folder: str | Path, name: str, width_img: int, rows: int = ALL_ROWS) -> npt.NDArray[np.uint8]:
        """(h, w, 4) uint8 BGRA as `common.coco.read_rows`, whole and read-only where it is kept. Raises ImageError."""
        if not self.count:
            return common.coco.read_rows(folder, name, width_img, rows)
        key = (str(folder), name)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        image = self._kept[key] = common.coco.read_rows(folder, name, width_img)
        image.flags.writeable = False  # the next one who asks gets this very array
        if len(self._kept) > self.count:
            self._kept.popitem(last=False)
        return image
