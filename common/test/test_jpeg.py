# SPDX-License-Identifier: Apache-2.0
"""The upper rows of JPEG files."""

import struct
import subprocess
import sys

from common import jpeg

import cv2
import numpy as np
import pytest

SAMPLINGS = {
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:4:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "4:1:1": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411,
}
PIXELS = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8), (3, 3), 0)
HEIGHT, WIDTH = PIXELS.shape[:2]
READ = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


def encoded(*flags: int, pixels: np.ndarray = PIXELS) -> np.ndarray:
    return cv2.imencode(".jpg", pixels, flags)[1]


@pytest.mark.parametrize("restart", [0, 2])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_any_number_of_upper_rows_is_decoded_as_opencv_does(sampling: str, restart: int) -> None:
    flags = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLINGS[sampling], cv2.IMWRITE_JPEG_RST_INTERVAL, restart)
    content = encoded(*flags)
    whole, before = cv2.imdecode(content, READ), content.copy()
    for rows in range(1, HEIGHT + 20):
        upper = jpeg.decode(content, rows)
        assert upper.shape[0] == min(rows + jpeg.ROWS_OF_COLOUR, HEIGHT) and (upper[..., 3] == 255).all()
        assert np.array_equal(upper[:rows, :, :3], whole[:rows])
    assert np.array_equal(content, before)


def test_grey_and_progressive_images_are_decoded_too() -> None:
    grey = encoded(pixels=PIXELS[..., 0])
    assert np.array_equal(jpeg.decode(grey, 40)[:40, :, :3], cv2.imdecode(grey, READ)[:40])
    progressive = encoded(cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert np.array_equal(jpeg.decode(progressive, 40)[..., :3], cv2.imdecode(progressive, READ))  # all of it


def test_no_rows_asked_for_is_an_image_all_the_same() -> None:
    assert jpeg.decode(encoded(), 0).shape[:2] == (jpeg.ROWS_OF_COLOUR, WIDTH)


def test_what_is_better_left_to_opencv_is() -> None:
    content = encoded()
    size = content.tobytes().index(struct.pack(">HH", HEIGHT, WIDTH))
    huge = content.copy()
    struct.pack_into(">HH", huge, size, 60000, 60000)
    png = cv2.imencode(".png", PIXELS)[1]
    scan = content.tobytes().index(jpeg.SCAN)
    without_tables = np.delete(content, np.s_[size:scan])
    for other in (without_tables, huge, png, content[:10], content[:2], content[: size + 2], np.zeros(50, np.uint8)):
        assert jpeg.decode(other, 40) is None


def test_a_decoder_that_gives_up_within_the_upper_rows_leaves_them_to_opencv() -> None:
    content = encoded(cv2.IMWRITE_JPEG_RST_INTERVAL, 2)
    scan = content.tobytes().index(jpeg.SCAN)
    content[scan + 2 : scan + 14] = 0x55  # the scan's header: no such components
    assert jpeg.decode(content, 20) is None


def test_rows_that_are_left_out_are_no_reason_for_a_warning() -> None:
    program = "import sys, numpy, common.jpeg; common.jpeg.decode(numpy.frombuffer(sys.stdin.buffer.read(), 'u1'), 20)"
    run = subprocess.run([sys.executable, "-c", program], input=encoded().tobytes(), capture_output=True, check=True)
    assert run.stderr == b""
