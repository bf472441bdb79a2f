# SPDX-License-Identifier: Apache-2.0
"""The annotated images of an evaluation."""

import random
from dataclasses import dataclass
from pathlib import Path

import common.coco
import common.skeleton

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Validation:
    """Annotated images to evaluate on."""

    annotations: Path
    folder: Path
    index: common.coco.CocoIndex
    rows: npt.NDArray[np.int64]  # images of the index

    @staticmethod
    def load(annotations: Path, folder: Path, skeleton: common.skeleton.Skeleton, num_images: int) -> "Validation":
        """All images of a file, or `num_images` of them by the publication's rule. Raises UserError."""
        index = common.coco.load(annotations, skeleton.num_keypoints)
        rows = np.arange(index.num_images)
        if 0 < num_images < index.num_images:
            rows = np.array(val_subset(index.num_images, num_images))
        return Validation(annotations, folder, index, rows)

    def read(self, row: int) -> npt.NDArray[np.uint8]:
        """(h, w, 3) uint8 BGR. Raises ImageError, also where the file has another size than its annotation says."""
        name = self.index.file_name(row)
        image = common.coco.read_image(self.folder, name)
        height, width = self.index.image_sizes[row].tolist()
        if image.shape[:2] != (height, width):
            found = f"{image.shape[0]} x {image.shape[1]}"
            raise common.coco.ImageError(f"{self.folder / name}: {found} pixels, annotated as {height} x {width}")
        return image


def val_subset(num_images: int, wanted: int, seed: int = 0) -> list[int]:
    """Positions of the images that a validation subset takes, in drawn order.

    With seed 0, 250 of COCO val2017's 5,000 are those of the published results (spec A3).
    """
    positions = list(range(num_images))
    random.Random(seed).shuffle(positions)
    return positions[:wanted]
