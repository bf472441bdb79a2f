# SPDX-License-Identifier: Apache-2.0
"""Decoded images that a loader worker keeps: decoding is half the work of a crop, and an image has many people."""

from collections import OrderedDict
from pathlib import Path

import common.coco

import numpy as np
import numpy.typing as npt


class KeptImages:
    """Reads images, and keeps the `count` that were asked for last; 0 keeps none. Each process has its own."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._kept: OrderedDict[tuple[str, str], npt.NDArray[np.uint8]] = OrderedDict()

    def read(self, folder: str | Path, name: str) -> npt.NDArray[np.uint8]:
        """(h, w, 3) uint8 BGR as `common.coco.read_image`, read-only where it is kept. Raises ImageError."""
        key = (str(folder), name)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        image = common.coco.read_image(folder, name)
        if self.count:
            image.flags.writeable = False  # the next one who asks gets this very array
            self._kept[key] = image
            if len(self._kept) > self.count:
                self._kept.popitem(last=False)
        return image
