# SPDX-License-Identifier: Apache-2.0
"""Skeletons on images, and sheets of images. OpenCV draws all of them."""

from collections.abc import Sequence
from pathlib import Path

from common import files
from common.arrays import BoolArray, Float64Array, UInt8Array
from common.people import People
from common.skeleton import Skeleton

import cv2
import numpy as np
import numpy.typing as npt

Colour = tuple[int, int, int]

# BGR. The sides also differ in lightness, for colour-blind viewers.
SIDE_COLOURS: dict[str, Colour] = {"left": (80, 255, 110), "right": (245, 80, 255), "middle": (255, 255, 255)}
OUTLINE: Colour = (25, 25, 25)
LAMBDA_COLOURS: tuple[Colour, Colour] = ((230, 120, 0), (60, 140, 255))  # of lambda 0 and 1: blue and orange
BOX_COLOUR: Colour = (0, 200, 255)
LARGEST_IMG = 8000  # pixels; OpenCV draws wrong lines far outside an image
INK: Colour = (50, 50, 50)
WHITE: Colour = (255, 255, 255)
FONT = cv2.FONT_HERSHEY_SIMPLEX
SHIFT = 4  # bits behind the point of coordinates given to OpenCV
TITLE_HEIGHT, GAP = 30, 8


def draw_people(
    image_img: UInt8Array,
    keypoints: npt.ArrayLike,
    skeleton: Skeleton,
    ids: Sequence[int | None] | None = None,
    threshold: float = 0.0,
) -> UInt8Array:
    """A new image with limbs and joints drawn on it: in the skeleton's colours, else those of `SIDE_COLOURS`.

    image_img: (h, w, 3) uint8 BGR. keypoints: (M, K, 3) x, y in original pixels (whole numbers are pixel centres) and
    visibility or score; a joint is drawn where that is above `threshold`, a limb where both its ends are. `ids`: a
    number a person, None for no label. Lines are as thick as suits the person. Raises ValueError for other shapes.
    """
    people = np.asarray(keypoints, np.float64).reshape(-1, skeleton.num_keypoints, 3)
    canvas = np.ascontiguousarray(image_img).copy()
    for person, number in zip(people, ids or [None] * len(people), strict=True):
        draw_person(canvas, person, skeleton, threshold)
        shown = _shown(person, threshold)
        if number is not None and shown.any():
            _draw_label(canvas, person[shown, :2], str(number))
    return canvas


def draw(image: UInt8Array, people: People, threshold: float = 0.0, boxes: bool = False) -> UInt8Array:
    """A copy of the image, (h, w, 3) uint8 BGR, with its people; those of a network with lambda in its two colours."""
    keypoints, ids = people.annotated(), [number if isinstance(number, int) else None for number in people.ids]
    if people.lambdas:
        canvas = image.copy()
        for row in np.argsort(people.scores, kind="stable").tolist():  # the best last, on top
            draw_person(canvas, keypoints[row], people.skeleton, threshold, lambda_colour(people.lambdas[row]))
    else:
        canvas = draw_people(image, keypoints, people.skeleton, ids, threshold)
    for left, top, width, height in np.rint(people.boxes).astype(int).tolist() if boxes and len(people) else ():
        cv2.rectangle(canvas, (left, top), (left + width, top + height), BOX_COLOUR, 2)
    return canvas


def lambda_colour(lambda_: float) -> Colour:
    """Between the colours of lambda 0 and 1."""
    first, last = (np.array(colour) for colour in LAMBDA_COLOURS)
    blue, green, red = np.rint(first + (last - first) * lambda_).astype(int).tolist()
    return blue, green, red


def draw_person(
    canvas: UInt8Array, keypoints: Float64Array, skeleton: Skeleton, threshold: float, colour: Colour | None = None
) -> None:
    """Draws one person, (K, 3) x, y in original pixels and score, into the image; `colour`: the one of all lines."""
    shown, points, names = _shown(keypoints, threshold), keypoints[:, :2], skeleton.keypoints
    extent = float(np.ptp(points[shown], axis=0).max()) if shown.any() else 0.0
    thick = float(np.clip(0.022 * extent, 1.5, max(2.0, 0.012 * max(canvas.shape[:2]))))
    limbs = [limb for limb in skeleton.drawn_limb_keypoints if shown[limb].all()]
    for outlined in (True, False):  # all outlines first, below every limb
        for a, b in limbs:
            width = min(thick, max(1.0, 0.2 * float(np.hypot(*(points[a] - points[b])))))
            paint = OUTLINE if outlined else colour or _colour(skeleton, names[a], names[b])
            width = max(1, round(1.6 * width + 1 if outlined else width))
            cv2.line(canvas, _fixed(points[a]), _fixed(points[b]), paint, width, cv2.LINE_AA, SHIFT)
    for index in np.flatnonzero(shown):
        others = points[shown & (np.arange(len(points)) != index)]
        nearest = float(np.hypot(*(others - points[index]).T).min(initial=np.inf))
        radius = min(thick, max(1.5, 0.25 * nearest))  # eyes and nose leave the face free
        for wide, paint in ((radius + 0.7, OUTLINE), (radius, colour or _colour(skeleton, names[index]))):
            cv2.circle(canvas, _fixed(points[index]), round(wide * (1 << SHIFT)), paint, -1, cv2.LINE_AA, SHIFT)


def _shown(keypoints: Float64Array, threshold: float) -> BoolArray:
    return np.asarray((keypoints[:, 2] > threshold) & np.isfinite(keypoints).all(axis=1))


def _colour(skeleton: Skeleton, *names: str) -> Colour:
    """Of a joint, or of a limb by both ends: the skeleton's own of the last that has one, else that of the side.

    Nose to left eye is left, left to right hip is middle.
    """
    colours = dict(skeleton.colours)
    if own := [colours[name] for name in names if name in colours]:
        red, green, blue = bytes.fromhex(own[-1].removeprefix("#"))
        return blue, green, red
    sides = {side for name in names for side in ("left", "right") if name.startswith(side)}
    return SIDE_COLOURS[sides.pop() if len(sides) == 1 else "middle"]


def _fixed(point: Float64Array) -> tuple[int, int]:
    """In OpenCV's units, clipped so that its 16-bit sums do not overflow."""
    x, y = np.clip(point, -LARGEST_IMG, LARGEST_IMG) * (1 << SHIFT)
    return round(float(x)), round(float(y))


def _draw_label(canvas: UInt8Array, points: Float64Array, text: str) -> None:
    """Above the highest point, inside the image."""
    scale = max(0.4, 0.0016 * canvas.shape[0])
    (width, height), _ = cv2.getTextSize(text, FONT, scale, 1)
    x, y = points[points[:, 1].argmin()] - (width / 2, 2.0 * height)
    left = int(np.clip(x, 2, max(2, canvas.shape[1] - width - 2)))
    base = int(np.clip(y, height + 2, canvas.shape[0] - 3))
    for colour, thickness in ((OUTLINE, 4), (WHITE, 1)):
        cv2.putText(canvas, text, (left, base), FONT, scale, colour, thickness, cv2.LINE_AA)


def contact_sheet(rows: Sequence[Sequence[UInt8Array]], titles: Sequence[str], height: int = 240) -> UInt8Array:
    """Images in rows, such as input | ground truth | prediction, with a bar of titles over the columns.

    Each image (h, w, 3) uint8 is scaled to `height` pixels and is in the middle of its column, which is as wide as
    its widest image. Each row is as long as `titles`.
    """
    columns = list(zip(*([_scaled(image, height) for image in row] for row in rows), strict=True))
    widths = [max(image.shape[1] for image in column) for column in columns]
    size = TITLE_HEIGHT + len(rows) * (height + GAP), GAP + sum(width + GAP for width in widths)
    sheet, left = np.full((*size, 3), WHITE, np.uint8), GAP
    for title, width, column in zip(titles, widths, columns, strict=True):
        (text_width, _), _ = cv2.getTextSize(title, FONT, 0.5, 1)
        place = left + max(0, width - text_width) // 2, TITLE_HEIGHT - 10
        cv2.putText(sheet, title, place, FONT, 0.5, INK, 1, cv2.LINE_AA)
        for number, image in enumerate(column):
            top, start = TITLE_HEIGHT + number * (height + GAP), left + (width - image.shape[1]) // 2
            sheet[top : top + height, start : start + image.shape[1]] = image
        left += width + GAP
    return sheet


def _scaled(image: UInt8Array, height: int) -> UInt8Array:
    size = (max(1, round(image.shape[1] * height / image.shape[0])), height)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def save_png(path: str | Path, image: UInt8Array) -> None:
    """Writes a PNG whole or not at all, and its folder where that is missing. Raises UserError where it cannot."""
    files.write_atomically(path, cv2.imencode(".png", image)[1].tobytes())
