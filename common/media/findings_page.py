# SPDX-License-Identifier: Apache-2.0
"""The findings of `common.coco.validate` as a page: each beside its image, left and right first."""

import html
from collections.abc import Sequence
from pathlib import Path

from common.arrays import Float64Array, Int64Array, UInt8Array
from common.cli import ImageError, UserError
from common.coco import images, rules
from common.coco.evaluate import EvaluationSet
from common.coco.images import Exif
from common.coco.rules import Finding
from common.media import drawing, html_page
from common.skeleton import COCO, USUAL_SIGMA, Skeleton

import cv2
import numpy as np

MOST_IMAGES, MOST_LINES = 200, 2000
SIDE = 360  # px of an image on the page
MARGIN = 0.3  # of a person's box, shown around it
FIRST = "sides"  # the kind of finding that only eyes can decide


Part = tuple[EvaluationSet, Skeleton]  # one split, as far as it can be read


def write(
    path: Path, findings: Sequence[Finding], data_path: str | Path, points: Skeleton | None, exif: Exif = "ignore"
) -> None:
    """Writes the page. Raises UserError where it cannot be written; what cannot be read is shown without an image."""
    parts = [part for split in images.SPLITS if (part := _part(data_path, split, points, exif))]
    figures, lines = list[str](), list[str]()
    for finding in sorted(findings, key=lambda one: (one.kind != FIRST, not one.is_error)):
        drawn = _drawn(finding, parts) if len(figures) < MOST_IMAGES else None
        kind = "error" if finding.is_error else ""
        if drawn is not None:
            figures.append(html_page.figure(drawn, str(finding), kind))
        elif len(lines) < MOST_LINES:
            lines.append(f'<li class="{kind}">{html.escape(str(finding))}</li>')
    count = f"<p>{len(findings)} findings, {len(figures)} of them with their image</p>"
    body = f"{count}<main>{''.join(figures)}</main><ul>{''.join(lines)}</ul>"
    html_page.write(path, f"Findings in {data_path}", body)


def _part(data_path: str | Path, split: str, points: Skeleton | None, exif: Exif) -> Part | None:
    try:
        annotations, folder = images.annotation_file(data_path, split), images.image_folder(data_path, split)
    except UserError:
        return None
    index, _ = rules.check(annotations)
    names = rules.names_of(index, points)
    known = next((one for one in (points, COCO) if one and one.keypoints == names), None)
    skeleton = known or Skeleton("drawn", names, (USUAL_SIGMA,) * len(names), ())
    return EvaluationSet(annotations, folder, index, np.arange(index.num_images), exif), skeleton


def _drawn(finding: Finding, parts: Sequence[Part]) -> UInt8Array | None:
    """The image or person that a finding is about; None where it is about something else, or cannot be read."""
    kind, _, number = finding.subject.partition(" ")
    if kind not in ("image", "annotation") or not number.lstrip("-").isdecimal():
        return None
    for part, skeleton in parts:
        ids = part.index.image_ids if kind == "image" else part.index.annotation_ids
        rows = np.flatnonzero(ids == int(number)).tolist()
        if rows and finding.file.startswith((str(part.annotations), str(part.folder))):
            return _cut_out(part, skeleton, rows[0], kind == "image")
    return None


def _cut_out(part: EvaluationSet, skeleton: Skeleton, row: int, whole: bool) -> UInt8Array | None:
    """The `whole` image of a row of the index, or its person with something around it."""
    index = part.index
    image_row = row if whole else int(index.image_rows(row))
    try:
        image = images.read_image(part.folder, index.file_name(image_row), part.exif)
    except ImageError:
        return None
    low, high = np.zeros(2, np.int64), np.array(image.shape[1::-1])
    if not whole:
        low, high = _around(index.boxes[row], high)
    scale = SIDE / int((high - low).max())
    size = np.maximum(1, np.rint((high - low) * scale)).astype(int).tolist()
    scaled = cv2.resize(image[low[1] : high[1], low[0] : high[0]], size, interpolation=cv2.INTER_AREA)
    people = index.keypoints[index.people(row) if whole else slice(row, row + 1)]
    return drawing.draw_people(scaled, (people - (*low, 0)) * (scale, scale, 1), skeleton)


def _around(box: Float64Array, size: Int64Array) -> tuple[Int64Array, Int64Array]:
    """The corners x, y of the part of an image around a box; of the whole image where that part is empty."""
    reach = MARGIN * box[2:].max()
    low, high = np.clip([box[:2] - reach, box[:2] + box[2:] + reach + 1], 0, size).astype(np.int64)
    return (low, high) if (low < high).all() else (np.zeros(2, np.int64), size)
