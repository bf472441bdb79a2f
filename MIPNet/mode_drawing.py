# SPDX-License-Identifier: Apache-2.0
"""Pictures of what lambda does: people in the colour of the lambda that found them, and a strip over lambdas."""

from collections.abc import Sequence

from common.arrays import FloatArray, UInt8Array
from common.media.drawing import contact_sheet, draw_in_colour, lambda_colour
from common.skeleton import Skeleton

import numpy as np

SWEPT_HEIGHT = 320  # pixels of a picture in a sweep
MARGIN = 0.1  # of a box, around it in a sweep


def sweep_sheet(
    image: UInt8Array, boxes_img: FloatArray, keypoints_img: FloatArray, lambdas: Sequence[float], skeleton: Skeleton,
    threshold: float,
) -> UInt8Array:  # fmt: skip
    """A row a box (N, 4), a column a lambda: the person whom it finds, `keypoints_img` (N, lambdas, K, 3), there."""
    rows = []
    for box, modes in zip(boxes_img, keypoints_img, strict=True):
        left, top = np.maximum(box[:2] - MARGIN * box[2:], 0).astype(int)
        right, bottom = np.minimum(box[:2] + (1 + MARGIN) * box[2:], image.shape[1::-1]).astype(int)
        row = []
        for lambda_, keypoints in zip(lambdas, modes, strict=True):
            canvas = image.copy()
            draw_in_colour(canvas, keypoints, skeleton, lambda_colour(lambda_), threshold)
            row.append(canvas[top : max(bottom, top + 1), left : max(right, left + 1)])
        rows.append(row)
    return contact_sheet(rows, [f"{value:.2f}" for value in lambdas], SWEPT_HEIGHT)
