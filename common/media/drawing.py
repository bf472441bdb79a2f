# SPDX-License-Identifier: Apache-2.0
"""Pictures for people to look at: skeletons on images, sheets of images, line charts. OpenCV draws all of them."""

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.cli import UserError
from common.skeleton import Skeleton

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

# BGR. The sides differ in lightness too, for those who do not tell the hues apart.
SIDE_COLOURS: dict[str, Colour] = {"left": (80, 255, 110), "right": (245, 80, 255), "middle": (255, 255, 255)}
OUTLINE: Colour = (25, 25, 25)
# Okabe and Ito, "Color Universal Design": lines of a chart in the order of the series.
SERIES_COLOURS: tuple[Colour, ...] = ((178, 114, 0), (0, 94, 213), (115, 158, 0), (167, 121, 204), (0, 159, 230))
INK: Colour = (50, 50, 50)
GRID: Colour = (228, 228, 228)
WHITE: Colour = (255, 255, 255)
FONT = cv2.FONT_HERSHEY_SIMPLEX
SHIFT = 4  # bits behind the point of coordinates given to OpenCV
# Rim of a circle of radius 1. OpenCV's own small antialiased circles come out as diamonds.
CIRCLE = np.stack([np.cos(np.arange(24) * np.pi / 12), np.sin(np.arange(24) * np.pi / 12)], axis=1)
TITLE_HEIGHT = 30
TICKS = 5


def draw_people(
    image_img: Image,
    keypoints: npt.ArrayLike,
    skeleton: Skeleton,
    ids: Sequence[int | None] | None = None,
    threshold: float = 0.0,
    zoom: float = 1.0,
) -> Image:
    """A new image with limbs and joints drawn on it: left, right and middle in the colours of `SIDE_COLOURS`.

    image_img: (h, w, 3) uint8 BGR. keypoints: (M, K, 3) x, y in original pixels (whole numbers are pixel centres) and
    visibility or score; a joint is drawn where that is above `threshold`, a limb where both its ends are. `ids`: a
    number a person, None for no label. `zoom` enlarges the picture first, so that the lines stay sharp. Lines are as
    thick as suits the person. Raises ValueError for another number of keypoints, or of ids, than there should be.
    """
    people = np.asarray(keypoints, np.float64)
    people = people.reshape(0, skeleton.num_keypoints, 3) if people.size == 0 else people
    if people.ndim != 3 or people.shape[1:] != (skeleton.num_keypoints, 3):
        raise ValueError(f"keypoints are {people.shape}; {skeleton.name} wants (people, {skeleton.num_keypoints}, 3)")
    if ids is not None and len(ids) != len(people):
        raise ValueError(f"{len(ids)} ids for {len(people)} people")
    canvas = np.ascontiguousarray(image_img).copy()
    if zoom != 1.0:
        canvas = cv2.resize(canvas, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    for index, person in enumerate(people):
        shown = (person[:, 2] > threshold) & np.isfinite(person).all(1)
        if shown.any():
            points = (person[:, :2] + 0.5) * zoom - 0.5
            _draw_person(canvas, points, shown, skeleton)
            if ids is not None and ids[index] is not None:
                _draw_label(canvas, points[shown], str(ids[index]))
    return canvas


def _draw_person(
    canvas: Image, points: npt.NDArray[np.float64], shown: npt.NDArray[np.bool_], skeleton: Skeleton
) -> None:
    extent = float(np.ptp(points[shown], axis=0).max())
    thick = float(np.clip(0.022 * extent, 1.5, max(2.0, 0.012 * max(canvas.shape[:2]))))
    limbs = [limb for limb in skeleton.drawn_limb_keypoints if shown[limb].all()]
    names = skeleton.keypoints
    for outlined in (True, False):  # all outlines first: they stay behind every limb
        for a, b in limbs:
            width = min(thick, max(1.0, 0.2 * float(np.hypot(*(points[a] - points[b])))))
            width, colour = (1.6 * width + 1, OUTLINE) if outlined else (width, _side_colour(names[a], names[b]))
            _line(canvas, points[a], points[b], width, colour)
    for index in np.flatnonzero(shown):
        others = np.delete(points[shown], np.flatnonzero(shown) == index, axis=0)
        nearest = float(np.hypot(*(others - points[index]).T).min()) if len(others) else np.inf
        radius = min(thick, max(1.5, 0.25 * nearest))  # eyes and nose leave the face free
        _disc(canvas, points[index], radius + 0.7, OUTLINE)
        _disc(canvas, points[index], radius, _side_colour(names[index]))


def _side_colour(*names: str) -> Colour:
    """Of a joint, or of a limb by both ends: nose to left eye is left, left to right hip is middle."""
    sides = {side for name in names for side in ("left", "right") if name.startswith(side)}
    return SIDE_COLOURS[sides.pop() if len(sides) == 1 else "middle"]


def _fixed(point: npt.NDArray[np.float64]) -> tuple[int, int]:
    """In OpenCV's units, kept where its 16-bit sums do not overflow."""
    x, y = np.clip(point, -8000, 8000) * (1 << SHIFT)
    return round(float(x)), round(float(y))


def _line(
    canvas: Image, a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], thickness: float, colour: Colour
) -> None:
    cv2.line(canvas, _fixed(a), _fixed(b), colour, max(1, round(thickness)), cv2.LINE_AA, SHIFT)


def _disc(canvas: Image, centre: npt.NDArray[np.float64], radius: float, colour: Colour) -> None:
    rim = np.stack([_fixed(point) for point in centre + radius * CIRCLE]).astype(np.int32)
    cv2.fillConvexPoly(canvas, rim, colour, cv2.LINE_AA, SHIFT)


def _draw_label(canvas: Image, points: npt.NDArray[np.float64], text: str) -> None:
    """Above the highest point, inside the image."""
    scale = max(0.4, 0.0016 * canvas.shape[0])
    width, height = _text_size(text, scale)
    x, y = points[points[:, 1].argmin()] - (width / 2, 2.0 * height)
    left = int(np.clip(x, 2, max(2, canvas.shape[1] - width - 2)))
    base = int(np.clip(y, height + 2, canvas.shape[0] - 3))
    cv2.rectangle(canvas, (left - 2, base - height - 2), (left + width + 2, base + 3), OUTLINE, -1)
    _text(canvas, text, (left, base), scale, WHITE)


def _text_size(text: str, scale: float) -> tuple[int, int]:
    (width, height), _ = cv2.getTextSize(text, FONT, scale, 1)
    return int(width), int(height)


def _text(canvas: Image, text: str, left_base: tuple[int, int], scale: float = 0.42, colour: Colour = INK) -> None:
    cv2.putText(canvas, text, left_base, FONT, scale, colour, 1, cv2.LINE_AA)


def contact_sheet(rows: Sequence[Sequence[Image]], titles: Sequence[str], height: int = 240, gap: int = 8) -> Image:
    """Images in rows, such as input | ground truth | prediction, with a bar of titles over the columns.

    Each image (h, w, 3) uint8 is scaled to `height` pixels and stands in the middle of its column, which is as wide as
    its widest image. Raises ValueError where a row is not as long as `titles`, or there is no row.
    """
    if not rows or not titles or any(len(row) != len(titles) for row in rows):
        raise ValueError(f"{len(titles)} titles, but rows of {[len(row) for row in rows]} images")
    scaled = [[_scaled(image, height) for image in row] for row in rows]
    widths = [max(row[column].shape[1] for row in scaled) for column in range(len(titles))]
    lefts = [gap + sum(widths[:column]) + gap * column for column in range(len(titles))]
    sheet = np.full((TITLE_HEIGHT + len(rows) * (height + gap), lefts[-1] + widths[-1] + gap, 3), WHITE, np.uint8)
    for left, width, title in zip(lefts, widths, titles, strict=True):
        _text(sheet, title, (left + max(0, width - _text_size(title, 0.5)[0]) // 2, TITLE_HEIGHT - 10), 0.5)
    for index, row in enumerate(scaled):
        top = TITLE_HEIGHT + index * (height + gap)
        for left, width, image in zip(lefts, widths, row, strict=True):
            start = left + (width - image.shape[1]) // 2
            sheet[top : top + height, start : start + image.shape[1]] = image
    return sheet


def _scaled(image: Image, height: int) -> Image:
    if image.shape[0] == height:
        return image
    size = (max(1, round(image.shape[1] * height / image.shape[0])), height)
    resized: Image = cv2.resize(
        image, size, interpolation=cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_CUBIC
    )
    return resized


Series = Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]


def plot_curves(series: Series, title: str = "", x_label: str = "", size: tuple[int, int] = (460, 300)) -> Image:
    """A line chart: `series` gives x and y for each name, in the order of the legend; `size` is (width, height).

    Values that are not finite are left out; a single point is a dot. Raises ValueError where x and y of a series differ
    in length, or the chart is too small for its axes.
    """
    data = {name: _finite(name, x, y) for name, (x, y) in series.items()}
    left, top, right, bottom = 58, 34, size[0] - 16, size[1] - 42
    if right - left < 50 or bottom - top < 50:
        raise ValueError(f"a chart of {size} pixels has no room for its axes")
    chart = np.full((size[1], size[0], 3), WHITE, np.uint8)
    x_ticks, y_ticks = (_ticks(np.concatenate([xy[axis] for xy in data.values()] or [np.empty(0)])) for axis in (0, 1))
    x_span, y_span = (x_ticks[0], x_ticks[-1]), (y_ticks[0], y_ticks[-1])

    def place(x: Any, y: Any) -> npt.NDArray[np.float64]:
        columns = left + (np.asarray(x) - x_span[0]) / (x_span[1] - x_span[0]) * (right - left)
        rows = bottom - (np.asarray(y) - y_span[0]) / (y_span[1] - y_span[0]) * (bottom - top)
        return np.stack([columns, rows], axis=-1)

    _draw_axes(chart, place, x_ticks, y_ticks)
    for colour, (x, y) in zip(_cycle(len(data)), data.values(), strict=True):
        _draw_series(chart, place(x, y), colour)
    _text(chart, title, (left, top - 12), 0.5)
    _text(chart, x_label, ((left + right - _text_size(x_label, 0.42)[0]) // 2, size[1] - 8))
    _draw_legend(chart, list(data), right, top - 12)
    return chart


def _finite(name: str, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    across, up = np.asarray(x, np.float64).ravel(), np.asarray(y, np.float64).ravel()
    if len(across) != len(up):
        raise ValueError(f"series {name!r}: {len(across)} x values, {len(up)} y values")
    keep = np.isfinite(across) & np.isfinite(up)
    return across[keep], up[keep]


def _ticks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Round numbers, about `TICKS`, from below the least to above the greatest value."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    rough = (high - low) / TICKS
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return np.asarray(np.arange(first, last + 1) * step, np.float64)


def _draw_axes(chart: Image, place: Any, x_ticks: npt.NDArray[np.float64], y_ticks: npt.NDArray[np.float64]) -> None:
    for y in y_ticks:
        start, end = place(x_ticks[0], y), place(x_ticks[-1], y)
        _line(chart, start, end, 1, GRID)
        text = f"{y + 0.0:.4g}"
        width, height = _text_size(text, 0.38)
        _text(chart, text, (int(start[0]) - 6 - width, int(start[1]) + height // 2), 0.38)
    for x in x_ticks:
        foot = place(x, y_ticks[0])
        _line(chart, foot, foot + (0, 4), 1, INK)
        text = f"{x + 0.0:.4g}"
        _text(chart, text, (int(foot[0]) - _text_size(text, 0.38)[0] // 2, int(foot[1]) + 17), 0.38)
    corner = place(x_ticks[0], y_ticks[0])
    for end in (place(x_ticks[-1], y_ticks[0]), place(x_ticks[0], y_ticks[-1])):
        _line(chart, corner, end, 1, INK)


def _draw_series(chart: Image, points: npt.NDArray[np.float64], colour: Colour) -> None:
    fixed = np.round(points * (1 << SHIFT)).astype(np.int32)
    if len(fixed) > 1:
        cv2.polylines(chart, [fixed], False, colour, 2, cv2.LINE_AA, SHIFT)
    if len(fixed) <= 30:
        for point in points:
            _disc(chart, point, 3.0, colour)


def _draw_legend(chart: Image, names: Sequence[str], right: int, base: int) -> None:
    """Names from right to left over the chart, each behind a short line in its colour."""
    for colour, name in reversed(list(zip(_cycle(len(names)), names, strict=True))):
        right -= _text_size(name, 0.42)[0]
        _text(chart, name, (right, base))
        cv2.line(chart, (right - 24, base - 4), (right - 7, base - 4), colour, 2, cv2.LINE_AA)
        right -= 40


def _cycle(count: int) -> list[Colour]:
    return [SERIES_COLOURS[index % len(SERIES_COLOURS)] for index in range(count)]


def plot_panels(panels: Mapping[str, Series], x_label: str = "", size: tuple[int, int] = (460, 300)) -> Image:
    """Charts beside each other, one a title: {"loss": {"train": (x, y)}, "AP": {"val": (x, y)}}; `size` of each."""
    charts: Image = np.hstack([plot_curves(series, title, x_label, size) for title, series in panels.items()])
    return charts


def save_png(path: str | Path, image: Image) -> None:
    """Writes a PNG whole or not at all, and its folder where that is missing. Raises UserError where it cannot."""
    path = Path(path)
    partial = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(cv2.imencode(".png", image)[1].tobytes())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot write the picture ({error})") from error
