# SPDX-License-Identifier: Apache-2.0
"""pad.txt: the position of each image in the network's input.

    000000019221.jpg 478 640 0 0 73 74

is: file name, height and width in original pixels, then the zeros around the image in input pixels: top, bottom,
left, right. The name may hold blanks.
"""

import re
from pathlib import Path

from common.cli import UserError
from common.files import read_bytes
from Lightweight_OpenPose.decode import MapGeometry
from Lightweight_OpenPose.model import STRIDE
from Lightweight_OpenPose.predict import Letterbox

_LINE = re.compile(r"(.+)" + r" (\d+)" * 6, re.ASCII)
CURE = "run OpenPose_preprocess.py again"


def line(name: str, place: Letterbox) -> str:
    """The line of an image."""
    top, left, bottom, right = place.pad_in
    return " ".join(map(str, (name, *place.size_img, top, bottom, left, right))) + "\n"


def read(path: Path) -> dict[str, MapGeometry]:
    """The way from maps to pixels of every image, by the name of its file, in the file's order.

    Raises UserError, naming file and line, for a missing or empty file, a broken line, or an image named twice.
    """
    places: dict[str, MapGeometry] = {}
    for number, content in enumerate(read_bytes(path).decode("utf-8", "surrogateescape").splitlines(), 1):
        if not content.strip():
            continue
        match = _LINE.fullmatch(content)
        if match is None or match[1] in places:
            form = "a file name of its own, height, width and the pads top, bottom, left, right, with one blank between"
            raise UserError(f"{path}, line {number}: {content[:80]!r} is not {form}; {CURE}")
        height, width, top, bottom, left, right = map(int, match.groups()[1:])
        places[match[1]] = MapGeometry(STRIDE, (top, left, bottom, right), (height, width))
    if not places:
        raise UserError(f"{path}: names no image; {CURE}")
    return places
