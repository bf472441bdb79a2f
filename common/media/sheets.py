# SPDX-License-Identifier: Apache-2.0
"""Sheets of an evaluation: input, ground truth and prediction side by side."""

from pathlib import Path

import common.distributed
from common.arrays import UInt8Array
from common.coco.evaluate import Detections, EvaluationSet
from common.media import drawing
from common.skeleton import Skeleton


def save_sheet(
    path: Path,
    validation: EvaluationSet,
    detections: Detections,
    skeleton: Skeleton,
    num_images: int,
    threshold: float = 0.0,
) -> None:
    """Writes a PNG of input, ground truth and prediction side by side, from rank 0.

    Shows the first images, those with labelled people before others. Predicted keypoints are
    drawn whose score is above `threshold`. Raises ImageError for an unreadable image.
    """
    if common.distributed.is_main():
        index, rows = validation.index, validation.rows.tolist()
        first = sorted(rows, key=lambda row: not index.num_keypoints[index.people(row)].any())[:num_images]
        sheet = [truth_and_prediction(validation, detections, skeleton, row, threshold) for row in first]
        drawing.save_png(path, drawing.contact_sheet(sheet, ["input", "ground truth", "prediction"]))


def truth_and_prediction(
    validation: EvaluationSet, detections: Detections, skeleton: Skeleton, row: int, threshold: float = 0.0
) -> tuple[UInt8Array, UInt8Array, UInt8Array]:
    """An image; with its annotated people; with the detected ones."""
    index, image = validation.index, validation.read(row)
    truth = drawing.draw_people(image, index.keypoints[index.people(row)], skeleton)
    found = detections.keypoints[detections.image_ids == index.image_ids[row]]
    return image, truth, drawing.draw_people(image, found, skeleton, threshold=threshold)
