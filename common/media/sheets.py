# SPDX-License-Identifier: Apache-2.0
"""Sheets of an evaluation: input, ground truth and prediction side by side."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import common.distributed
from common.arrays import UInt8Array
from common.cli import ImageError
from common.coco.evaluate import Detections, EvaluationSet
from common.media import drawing
from common.skeleton import Skeleton


def save_sheet(
    path: Path, validation: EvaluationSet, detections: Detections, skeleton: Skeleton, count: int, threshold: float = 0
) -> None:
    """Writes a PNG of input, ground truth and prediction side by side, from rank 0.

    Shows the first `count` images that can be read, those with labelled people before others. Predicted keypoints are
    drawn whose score is above `threshold`.
    """
    if common.distributed.is_main():
        index, rows = validation.index, validation.rows.tolist()
        rows.sort(key=lambda row: not index.num_keypoints[index.people(row)].any())
        drawn = draw_rows(validation, detections, skeleton, rows, threshold)
        if sheet := [images for _, *images in itertools.islice(drawn, count)]:
            drawing.save_png(path, drawing.contact_sheet(sheet, ["input", "ground truth", "prediction"]))


def draw_rows(
    validation: EvaluationSet, detections: Detections, skeleton: Skeleton, rows: Iterable[int], threshold: float = 0
) -> Iterator[tuple[int, UInt8Array, UInt8Array, UInt8Array]]:
    """Of each image that can be read: its row, it, it with its annotated people, it with the detected ones."""
    index = validation.index
    for row in rows:
        try:
            image = validation.read(row)
        except ImageError:  # the evaluation has reported it
            continue
        truth = drawing.draw_people(image, index.keypoints[index.people(row)], skeleton)
        found = detections.keypoints[detections.image_ids == index.image_ids[row]]
        yield row, image, truth, drawing.draw_people(image, found, skeleton, threshold=threshold)
