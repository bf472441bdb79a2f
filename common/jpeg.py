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
ROWS_AT, SIZE = 5, struct.Struct(">HH")  # from a frame's marker: the number of rows, and that of columns
ALL_ROWS = 1 << 16  # more than a JPEG can have
ROWS_OF_COLOUR = 2  # below a row, that its colours are smoothed with
LIMIT = os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"]  # `common` sets it, if nobody else has
MOST_PIXELS = int(LIMIT) if LIMIT.isdigit() else 0  # OpenCV understands more, and then decides alone


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
    turned; h is at least `rows` where the image has as many. What follows these rows is not looked at. None for what
    is OpenCV's to decide: no JPEG, a damaged one, one with an unusual header or too many pixels.
    """
    frame = _frame(content)
    if frame is None:
        return None
    marker, place = frame
    height, width = SIZE.unpack_from(content.data, place)
    if height * width == 0 or height * width > MOST_PIXELS:
        return None
    cut = marker in SEQUENTIAL and rows + ROWS_OF_COLOUR < height
    if cut:
        content, height = content.copy(), rows + ROWS_OF_COLOUR
        SIZE.pack_into(content.data, place, height, width)  # the decoder stops there
    image = np.empty((height, width, 4), np.uint8)
    image[-1, -1, -1] = 0
    try:
        simplejpeg.decode_jpeg(content, "BGRA", strict=not cut, buffer=image)  # more follows the last row of a cut one
    except ValueError:
        return None
    return image if image[-1, -1, -1] else None  # opaque where it was written: not strict, it gives up silently


def _frame(content: Pixels) -> tuple[int, int] | None:
    """The marker of a JPEG's frame, and where its size stands; None where the header is no plain row of segments."""
    place = len(START)
    if content[:place].tobytes() != START:
        return None
    while place + ROWS_AT + SIZE.size <= len(content) and content[place] == MARKER:
        marker, length = struct.unpack_from(">xBH", content.data, place)
        if marker in FRAMES:
            return marker, place + ROWS_AT
        place += 2 + length
    return None
