# SPDX-License-Identifier: Apache-2.0
"""Regions of an image as run lengths (cocodataset.org, "Data format"): uncompressed, down the columns.

The first run is outside the region, the second inside, and so on; together they cover all pixels. A run may be 0.
"""

from typing import Any

from common.arrays import Int32Array

import numpy as np
import numpy.typing as npt
from faster_coco_eval.core import mask as coco_mask

MAX_PIXELS = 50_000_000  # the limit that `common` sets for images: nobody's annotation file may ask for more memory
SHORTEST_POLYGON = 6  # numbers: three corners


def run_lengths(segmentation: Any, height: int, width: int) -> Int32Array:
    """(R,) int32 of a COCO segmentation of any kind: run lengths as they are, a compressed string, or polygons.

    Raises ValueError, KeyError, TypeError or RuntimeError where it is none of these or not of an image of this size.
    """
    if not 0 < height * width <= MAX_PIXELS:
        raise ValueError(f"image of {width} x {height} pixels")
    if isinstance(segmentation, list):
        return _of_mask(_polygons(segmentation, height, width))
    if list(segmentation["size"]) != [height, width]:
        raise ValueError(f"is of size {segmentation['size']}, the image of [{height}, {width}] (height, width)")
    counts = segmentation["counts"]
    if isinstance(counts, str | bytes):
        text = counts.encode() if isinstance(counts, str) else counts
        return _of_mask(coco_mask.decode({"size": [height, width], "counts": text}))
    runs = np.array(counts, np.int64)
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"its run lengths do not cover the {height * width} pixels of the image")
    return runs.astype(np.int32)


def outside(runs: Int32Array) -> npt.NDArray[np.uint8]:
    """(height * width,) uint8, column after column: 1 outside the region, 0 inside."""
    return np.repeat(np.resize(np.array([1, 0], np.uint8), len(runs)), runs)


def _polygons(polygons: list[Any], height: int, width: int) -> npt.NDArray[np.uint8]:
    """(height, width) uint8, 1 inside any of the polygons [x, y, x, y...]; corners are moved into the image."""
    corners = [np.array(polygon, np.float64) for polygon in polygons]
    for polygon in corners:
        if polygon.ndim != 1 or len(polygon) < SHORTEST_POLYGON or len(polygon) % 2 or not np.isfinite(polygon).all():
            raise ValueError("a polygon is not a list x, y, x, y, x, y...")
    limits = np.array([width, height], np.float64)
    inside = [np.clip(polygon.reshape(-1, 2), 0, limits).ravel().tolist() for polygon in corners]
    return np.asarray(coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(inside, height, width))), np.uint8)


def _of_mask(mask: npt.NDArray[np.uint8]) -> Int32Array:
    flat = np.concatenate([[0], mask.ravel(order="F"), [2]])  # the first run is outside; the last one ends
    return np.diff(np.flatnonzero(flat[1:] != flat[:-1]), prepend=0).astype(np.int32)
