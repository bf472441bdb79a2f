# SPDX-License-Identifier: Apache-2.0
"""The findings of `common.coco.validate` as a page: each beside its image, left and right first."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common import files
from common.arrays import UInt8Array
from common.cli import ImageError, UserError
from common.coco import images
from common.coco.annotations import CocoIndex
from common.coco.findings import Finding
from common.coco.images import Exif
from common.coco.reader import load
from common.media import drawing
from common.skeleton import COCO, USUAL_SIGMA, Skeleton

import cv2
import numpy as np

MOST_IMAGES, MOST_LINES = 200, 2000
SIDE = 360  # px of an image on the page
MARGIN = 0.3  # of a person's box, shown around it
FIRST = "sides"  # the kind of finding that only eyes can judge
STYLE = (
    "body{font:14px sans-serif;margin:2em}main{display:flex;flex-wrap:wrap;gap:1em}figure{margin:0;width:380px}"
    "img{max-width:100%}.error{color:#b00}"
)


@dataclass(frozen=True)
class _Part:
    """One split, as far as it can be read."""

    annotations: Path
    folder: Path
    index: CocoIndex
    skeleton: Skeleton


def write(
    path: Path, findings: Sequence[Finding], data_path: str | Path, points: Skeleton | None, exif: Exif = "ignore"
) -> None:
    """Writes the page. Raises UserError where it cannot be written; what cannot be read is shown without an image."""
    parts = [part for split in images.SPLITS if (part := _part(data_path, split, points))]
    figures, lines = list[str](), list[str]()
    for finding in sorted(findings, key=lambda one: (one.kind != FIRST, not one.is_error)):
        picture = _picture(finding, parts, exif) if len(figures) < MOST_IMAGES else None
        if picture is not None:
            figures.append(_figure(finding, picture))
        elif len(lines) < MOST_LINES:
            lines.append(f"<li>{_text(finding)}</li>")
    title = html.escape(f"Findings in {data_path}")
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    count = f"<p>{len(findings)} findings, {len(figures)} of them with their image</p>"
    body = f"<h1>{title}</h1>{count}<main>{''.join(figures)}</main><ul>{''.join(lines)}</ul></html>"
    files.write_atomically(path, (head + body).encode())


def _part(data_path: str | Path, split: str, points: Skeleton | None) -> _Part | None:
    try:
        annotations, folder = images.annotation_file(data_path, split), images.image_folder(data_path, split)
        index = load(annotations, say=lambda *_: None)
    except UserError:
        return None
    return _Part(annotations, folder, index, _skeleton(index, points))


def _skeleton(index: CocoIndex, points: Skeleton | None) -> Skeleton:
    """What to draw with: the skeleton that was named, else COCO's, else points without limbs."""
    names = tuple(bytes(name).decode() for name in index.keypoint_names)
    count = index.keypoints.shape[1]
    for known in (points, COCO):
        if known and known.num_keypoints == count and names in ((), known.keypoints):
            return known
    names = names or tuple(str(place) for place in range(count))
    return Skeleton("drawn", names, (USUAL_SIGMA,) * count, ())


def _picture(finding: Finding, parts: Sequence[_Part], exif: Exif) -> bytes | None:
    """A JPEG of the image or person that a finding is about; None where it is about something else."""
    kind, _, number = finding.subject.partition(" ")
    if kind not in ("image", "annotation") or not number.lstrip("-").isdecimal():
        return None
    for part in parts:
        ids = part.index.image_ids if kind == "image" else part.index.annotation_ids
        if finding.file.startswith((str(part.annotations), str(part.folder))):
            for row in np.flatnonzero(ids == int(number))[:1].tolist():
                return _drawn(part, int(row), kind == "image", exif)
    return None


def _drawn(part: _Part, row: int, whole: bool, exif: Exif) -> bytes | None:
    index = part.index
    image_row = row if whole else int(index.image_rows(row))
    people = index.people(row) if whole else slice(row, row + 1)
    try:
        image = images.read_image(part.folder, index.file_name(image_row), exif)
    except ImageError:
        return None
    keypoints = index.keypoints[people].astype(np.float64)
    left, top, right, bottom = (0, 0, *image.shape[1::-1]) if whole else _around(index.boxes[row], image)
    keypoints[..., :2] -= left, top
    part_of = np.ascontiguousarray(image[top:bottom, left:right])
    scale = SIDE / max(part_of.shape[:2])
    size = max(1, round(part_of.shape[1] * scale)), max(1, round(part_of.shape[0] * scale))
    large = cv2.resize(part_of, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    keypoints[..., :2] *= scale
    return cv2.imencode(".jpg", drawing.draw_people(large, keypoints, part.skeleton))[1].tobytes()


def _around(box: np.ndarray, image: UInt8Array) -> tuple[int, int, int, int]:
    """left, top, right, bottom of the part of an image around a box; the whole image where that is empty."""
    height, width = image.shape[:2]
    left, top, wide, high = np.nan_to_num(box).clip(-width - height, width + height).tolist()
    reach = MARGIN * max(wide, high)
    low_x, low_y = max(0, int(left - reach)), max(0, int(top - reach))
    high_x, high_y = min(width, int(left + wide + reach) + 1), min(height, int(top + high + reach) + 1)
    return (low_x, low_y, high_x, high_y) if low_x < high_x and low_y < high_y else (0, 0, width, height)


def _figure(finding: Finding, picture: bytes) -> str:
    data = base64.b64encode(picture).decode()
    return f'<figure><img alt="" src="data:image/jpeg;base64,{data}"><figcaption>{_text(finding)}</figcaption></figure>'


def _text(finding: Finding) -> str:
    return f'<span class="{"error" if finding.is_error else "warning"}">{html.escape(str(finding))}</span>'
