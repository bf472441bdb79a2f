# SPDX-License-Identifier: Apache-2.0
"""The findings of `common.coco.validate` as a page: each beside its image, left and right first."""

import html
from collections.abc import Sequence
from pathlib import Path

from common.arrays import Float64Array, UInt8Array
from common.cli import ImageError, UserError
from common.coco import images, rules
from common.coco.evaluate import EvaluationSet
from common.coco.images import Exif
from common.coco.rules import Finding
from common.media import drawing, html_page
from common.skeleton import COCO, USUAL_SIGMA, Skeleton

import numpy as np

MOST_IMAGES, MOST_LINES = 200, 2000
MARGIN = 0.3  # of a person's box, shown around it
FIRST = "sides"  # the kind of finding that only a person can judge


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
        index = part.index
        rows = np.flatnonzero((index.image_ids if kind == "image" else index.annotation_ids) == int(number))
        if len(rows) and finding.file.startswith((str(part.annotations), str(part.folder))):
            image_row = int(rows[0] if kind == "image" else index.image_rows(rows[0]))
            try:
                image = images.read_image(part.folder, index.file_name(image_row), part.exif)
            except ImageError:
                return None
            drawn = drawing.draw_people(image, index.keypoints[index.people(image_row)], skeleton)
            return drawn if kind == "image" else _surroundings(drawn, index.boxes[rows[0]])
    return None


def _surroundings(image: UInt8Array, box: Float64Array) -> UInt8Array:
    """A box (4,) of the image with a margin; the whole image if the box is outside."""
    reach = MARGIN * box[2:].max()
    corners = np.array([box[:2] - reach, box[:2] + box[2:] + reach + 1])
    (left, top), (right, bottom) = np.clip(corners, 0, image.shape[1::-1]).astype(int).tolist()
    person = image[top:bottom, left:right]
    return person if person.size else image
