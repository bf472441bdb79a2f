# SPDX-License-Identifier: Apache-2.0
"""Pictures of what lambda does: people in the colour of the lambda that found them, and a strip over lambdas."""

from collections.abc import Sequence

from common.media.drawing import OUTLINE, Colour, Image, contact_sheet
from common.skeleton import Skeleton
from common.topdown.nms import Floats

import cv2
import numpy as np

COLOURS = ((230, 120, 0), (60, 140, 255))  # BGR: of lambda 0 and 1, blue and orange, which nobody mistakes
SWEPT_HEIGHT = 320  # pixels of a picture in a sweep
MARGIN = 0.1  # of a box, around it in a sweep
THICKNESS = 0.006  # of the picture's longer side
LARGEST_IMG = 8000  # pixels; OpenCV draws nothing sound far outside a picture


def colour_of(lambda_: float) -> Colour:
    """Between those of 0 and 1."""
    first, last = (np.array(colour) for colour in COLOURS)
    blue, green, red = np.rint(first + (last - first) * lambda_).astype(int).tolist()
    return blue, green, red


def draw_person(canvas: Image, keypoints: Floats, skeleton: Skeleton, colour: Colour, threshold: float) -> None:
    """Draws one person, (K, 3) x, y in original pixels and score, into the picture: one colour with a dark rim."""
    shown = (keypoints[:, 2] > threshold) & np.isfinite(keypoints).all(axis=1)
    points = np.rint(np.nan_to_num(keypoints[:, :2]).clip(-LARGEST_IMG, LARGEST_IMG)).astype(int).tolist()
    thick = max(2, round(THICKNESS * max(canvas.shape[:2])))
    limbs = [(points[a], points[b]) for a, b in skeleton.drawn_limb_keypoints if shown[a] and shown[b]]
    joints = [points[joint] for joint in np.flatnonzero(shown)]
    for paint, rim in ((OUTLINE, 2), (colour, 0)):
        for a, b in limbs:
            cv2.line(canvas, a, b, paint, thick + rim, cv2.LINE_AA)
        for joint in joints:
            cv2.circle(canvas, joint, thick + rim // 2, paint, -1, cv2.LINE_AA)


def sweep_sheet(
    image: Image, boxes_img: Floats, keypoints_img: Floats, lambdas: Sequence[float], skeleton: Skeleton,
    threshold: float,
) -> Image:  # fmt: skip
    """A row a box (N, 4), a column a lambda: the person whom it finds, `keypoints_img` (N, lambdas, K, 3), there."""
    rows = []
    for box, modes in zip(boxes_img, keypoints_img, strict=True):
        left, top = np.maximum(box[:2] - MARGIN * box[2:], 0).astype(int)
        right, bottom = np.minimum(box[:2] + (1 + MARGIN) * box[2:], image.shape[1::-1]).astype(int)
        row = []
        for lambda_, keypoints in zip(lambdas, modes, strict=True):
            canvas = image.copy()
            draw_person(canvas, keypoints, skeleton, colour_of(lambda_), threshold)
            row.append(canvas[top : max(bottom, top + 1), left : max(right, left + 1)])
        rows.append(row)
    return contact_sheet(rows, [f"{value:.2f}" for value in lambdas], SWEPT_HEIGHT)
