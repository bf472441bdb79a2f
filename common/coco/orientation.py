# SPDX-License-Identifier: Apache-2.0
"""EXIF orientations of image files, 1 (upright) to 8."""

import re
import struct
from pathlib import Path

from common.coco.images import Exif, Size, read_file

EXIF_START = re.compile(rb"(?:Exif\x00\x00|eXIf)(II\*\x00|MM\x00\*)")  # of a JPEG, of a PNG
ORIENTATION = 0x0112
UPRIGHT = 1
SIDEWAYS = frozenset({5, 6, 7, 8})  # of a quarter turn: width and height are swapped


def orientation_of(content: bytes) -> int:
    """The orientation of the bytes of a JPEG or PNG file; UPRIGHT also where there is none."""
    found = EXIF_START.search(content)
    if not found:
        return UPRIGHT
    order, start = "<" if found[1].startswith(b"II") else ">", found.start(1)
    try:
        first = start + struct.unpack_from(f"{order}I", content, start + 4)[0]
        for entry in range(struct.unpack_from(f"{order}H", content, first)[0]):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", content, first + 2 + 12 * entry)
            if tag == ORIENTATION:
                return value if UPRIGHT <= value <= max(SIDEWAYS) else UPRIGHT
    except struct.error:  # a header that was cut short: OpenCV does not turn it
        pass
    return UPRIGHT


def wrong_size(path: Path, size: tuple[int, ...], annotated: Size, exif: Exif) -> str:
    """The message for an image that was read with another (height, width) than annotated."""
    what = f"has {size[1]} x {size[0]} pixels, annotated as {annotated[1]} x {annotated[0]}"
    orientation = orientation_of(read_file(path).tobytes())
    if orientation in SIDEWAYS and size == annotated[::-1]:
        other, shape = ("ignore", "as it is stored") if exif == "turn" else ("turn", "turned as its EXIF tag says")
        return f"{what}: that is the image {shape} (orientation {orientation}); --exif={other} reads it so"
    return f"{what}: joints would lie elsewhere"
