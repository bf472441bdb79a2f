# SPDX-License-Identifier: Apache-2.0
"""The annotated images of an evaluation."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import common.coco.evaluate
import common.coco.images
import common.coco.reader
import common.skeleton
from common.cli import ImageError
from common.coco.evaluate import Detections

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class EvaluationSet:
    """Annotated images to evaluate on."""

    annotations: Path
    folder: Path
    index: common.coco.reader.CocoIndex
    rows: npt.NDArray[np.int64]  # images of the index
    exif: common.coco.images.Exif = "ignore"

    @staticmethod
    def load(
        annotations: Path,
        folder: Path,
        skeleton: common.skeleton.Skeleton,
        num_images: int,
        exif: common.coco.images.Exif = "ignore",
    ) -> "EvaluationSet":
        """All images of a file, or `num_images` of them by the publication's rule. Raises UserError."""
        index = common.coco.reader.load(annotations, skeleton.num_keypoints)
        rows = np.arange(index.num_images)
        if 0 < num_images < index.num_images:
            rows = np.array(val_subset(index.num_images, num_images))
        return EvaluationSet(annotations, folder, index, rows, exif)

    def average_precision(
        self, detections: Detections, sigmas: Sequence[float], protocol: common.coco.evaluate.Protocol = "coco"
    ) -> dict[str, float]:
        """The metrics of people found in these images, as of common.coco.evaluate."""
        ids = self.index.image_ids[self.rows]
        return common.coco.evaluate.average_precision(self.index, detections, sigmas, ids, protocol, self.annotations)

    def check(self, protocol: common.coco.evaluate.Protocol = "coco") -> None:
        """Raises UserError where an evaluation would fail: nobody counts, an image is missing."""
        common.coco.evaluate.check(self.index, self.rows, protocol, self.annotations)
        names = [self.index.file_name(row) for row in self.rows.tolist()]
        if missing := common.coco.images.missing_images(self.folder, names):
            raise ImageError(f"{missing}: evaluation needs them. Put them there")

    def read(self, row: int) -> npt.NDArray[np.uint8]:
        """(h, w, 3) uint8 BGR. Raises ImageError, also where the file has another size than its annotation says."""
        height, width = self.index.image_sizes[row].tolist()
        return common.coco.images.read_annotated(self.folder, self.index.file_name(row), (height, width), self.exif)


def val_subset(num_images: int, wanted: int, seed: int = 0) -> list[int]:
    """Positions of the images that a validation subset takes, in drawn order.

    With seed 0, 250 of COCO val2017's 5,000 are those of the published results (spec A3).
    """
    positions = list(range(num_images))
    random.Random(seed).shuffle(positions)
    return positions[:wanted]
