# SPDX-License-Identifier: Apache-2.0
"""JPEG files: the upper rows of one, and whether one was cut short. Markers are those of ITU-T T.81, annex B."""

import os
import struct

import numpy as np
import numpy.typing as npt
import simplejpeg

Pixels = npt.NDArray[np.uint8]
START, SCAN, END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
MARKER = 0xFF
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the three are tables and a reserved one
SEQUENTIAL = frozenset({0xC0, 0xC1})  # frames that code row after row; others must be read to their end
ROWS_AT = 5  # from a frame's marker: the number of rows and that of columns, two bytes each
ALL_ROWS = 1 << 16  # more than a JPEG can have
ROWS_BELOW = 2  # that a row's colours are smoothed with
MOST_PIXELS = int(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"])  # `common` sets it


def lacks_end(content: Pixels) -> bool:
    """Whether a JPEG's last scan has no end; OpenCV fills what is missing with grey, or not even that, and is silent.

    `content`: the bytes of a file, (n,) uint8. A preview in the header has an end of its own, which does not count.
    """
    if content[:2].tobytes() != START or content[-2:].tobytes() == END:
        return False
    stream = content.tobytes()  # something follows the image, or its end is missing
    return stream.rfind(END) < stream.rfind(SCAN)


def decode(content: Pixels, rows: int = ALL_ROWS) -> Pixels | None:
    """The upper rows of an image, or all, to OpenCV's values, in about the time that they take of the whole image.

    `content`: the bytes of a file, (n,) uint8. Returns (h, w, 4) uint8 blue, green, red and opaque, as stored, not
    turned; h is at least `rows` where the image has as many. None for what is better left to OpenCV: no JPEG, a
    damaged one, one with unusual colours or of too many pixels.
    """
    frame = _frame(content)
    if frame is None:
        return None
    marker, place = frame
    height, width = struct.unpack_from(">HH", content.data, place + ROWS_AT)
    if height * width > MOST_PIXELS:
        return None
    if marker in SEQUENTIAL and rows + ROWS_BELOW < height:
        content = content.copy()
        struct.pack_into(">H", content.data, place + ROWS_AT, rows + ROWS_BELOW)  # the decoder stops there
    try:  # not strict: more than is wanted follows the last row
        return simplejpeg.decode_jpeg(content, "BGRA", strict=False)  # type: ignore[no-any-return]
    except ValueError:
        return None


def _frame(content: Pixels) -> tuple[int, int] | None:
    """The marker of a JPEG's frame, and where it stands; None for what is no JPEG."""
    place = len(START)
    if content[:place].tobytes() != START:
        return None
    while place + ROWS_AT + 4 <= len(content) and content[place] == MARKER:
        marker, length = struct.unpack_from(">xBH", content.data, place)
        if marker in FRAMES:
            return marker, place
        place += 2 + length
    return None
