# SPDX-License-Identifier: Apache-2.0
"""Images are read as they were annotated; what cannot be read says so."""

import os
import struct

from common.coco import images
from common.coco.orientation import SIDEWAYS, orientation_of

import cv2
import numpy as np
import pytest


@pytest.fixture
def image(tmp_path) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    pixels = cv2.GaussianBlur(pixels, (7, 7), 0)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    cv2.imwrite(str(tmp_path / "a.jpg"), pixels)
    return pixels


def test_images_are_read_as_bgr(tmp_path, image):
    np.testing.assert_array_equal(images.read_image(tmp_path, "a.png"), image)
    cv2.imwrite(str(tmp_path / "grey.png"), image[..., 0])
    assert images.read_image(tmp_path, "grey.png").shape == (48, 64, 3)


@pytest.mark.parametrize("progressive", [0, 1])
def test_an_image_that_is_cut_short_is_an_error_at_any_length(tmp_path, image, progressive):
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])[1].tobytes()
    for length in (0, 1, 2, 100, len(data) // 2, len(data) - 20, len(data) - 2, len(data) - 1):
        (tmp_path / "cut.jpg").write_bytes(data[:length])
        with pytest.raises(images.ImageError, match=rf"cut\.jpg: cut short.*\({length} bytes\)\. Copy"):
            images.read_image(tmp_path, "cut.jpg")
        (tmp_path / "zeros.jpg").write_bytes(data[:length].ljust(len(data), b"\0"))  # a download that stopped
        with pytest.raises(images.ImageError, match="Copy"):
            images.read_image(tmp_path, "zeros.jpg")
    (tmp_path / "more.jpg").write_bytes(data + b"something behind it")
    np.testing.assert_array_equal(
        images.read_image(tmp_path, "more.jpg"), cv2.imdecode(np.frombuffer(data, np.uint8), 1)
    )


@pytest.mark.parametrize("seed", range(2))
def test_a_progressive_image_that_is_damaged_within_is_an_error(tmp_path, seed):
    random = np.random.default_rng(seed)
    pixels = cv2.GaussianBlur(random.integers(0, 256, (240, 320, 3), np.uint8), (3, 3), 0)
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1]
    data[len(data) // 2 :][:4096] = random.integers(0, 256, 4096)
    (tmp_path / "damaged.jpg").write_bytes(data)
    with pytest.raises(images.ImageError, match=r"damaged\.jpg: cut short, damaged"):
        images.read_image(tmp_path, "damaged.jpg")


@pytest.mark.parametrize("size", [(48, 128), (50, 64), (64, 48)])
def test_an_image_of_another_size_than_annotated_is_an_error(tmp_path, image, size):
    expected = rf"a\.jpg: has 64 x 48 pixels, annotated as {size[1]} x {size[0]}: .*python -m common\.coco"
    with pytest.raises(images.ImageError, match=expected):
        images.read_annotated(tmp_path, "a.jpg", size)


def test_names_that_leave_the_folder_are_refused_and_links_are_read(tmp_path, image):
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    (folder / "link.png").symlink_to(tmp_path / "a.png")  # into a cache, as of Hugging Face, DVC or git-annex
    (tmp_path / "alias").symlink_to(folder)
    for name in ("../a.png", str(tmp_path / "a.png"), "sub/../../a.png", "../images2/a.png", ".", ".."):
        with pytest.raises(images.ImageError, match="leads out of .*images"):
            images.read_image(folder, name)
    for where, name in ((folder, "sub/b.png"), (folder, "link.png"), (tmp_path / "alias", "sub/../link.png")):
        np.testing.assert_array_equal(images.read_image(where, name), image)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")  # to open it would wait for ever
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    for name, what in (("pipe", "a pipe"), ("folder", "a folder"), ("device", "a pipe, socket"), ("loop", "")):
        with pytest.raises(images.ImageError, match=rf"{name}\.jpg: {what}"):
            images.read_image(tmp_path, f"{name}.jpg")


def test_a_photograph_with_a_video_behind_it_is_read(tmp_path, image):
    """The video of a phone may have any bytes in it; an image that was cut short stays refused."""
    data, video = (tmp_path / "a.jpg").read_bytes(), bytes(range(256)) * 40 + b"\xff\xda\xff\xd8\xff\xe1\x00\x08mp4"
    (tmp_path / "motion.jpg").write_bytes(data + video)
    np.testing.assert_array_equal(images.read_image(tmp_path, "motion.jpg"), images.read_image(tmp_path, "a.jpg"))
    for length in (len(data) - 2, len(data) // 2):
        (tmp_path / "cut.jpg").write_bytes(data[:length])
        with pytest.raises(images.ImageError, match="cut short"):
            images.read_image(tmp_path, "cut.jpg")


def tagged(data: bytes, orientation: int, order: str = "<") -> bytes:
    """A JPEG with an EXIF header."""
    start = b"II*\0" if order == "<" else b"MM\0*"
    tiff = start + struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_exif_says_where_asked_for(tmp_path, image, orientation, order):
    (tmp_path / "t.jpg").write_bytes(tagged((tmp_path / "a.jpg").read_bytes(), orientation, order))
    upright = cv2.imread(str(tmp_path / "t.jpg"))
    np.testing.assert_array_equal(images.read_image(tmp_path, "t.jpg", "turn"), upright)
    np.testing.assert_array_equal(images.read_image(tmp_path, "t.jpg"), images.read_image(tmp_path, "a.jpg"))
    assert orientation_of((tmp_path / "t.jpg").read_bytes()) == orientation
    if orientation in SIDEWAYS:
        with pytest.raises(images.ImageError, match=r"64 x 48 pixels, annotated as 48 x 64: .*--exif=turn reads it so"):
            images.read_annotated(tmp_path, "t.jpg", (64, 48))
        with pytest.raises(images.ImageError, match="--exif=ignore reads it so"):
            images.read_annotated(tmp_path, "t.jpg", (48, 64), "turn")


def test_an_image_of_too_many_pixels_is_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "bomb.png"), np.zeros((7100, 7100), np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    with pytest.raises(images.ImageError, match=r"bomb\.png: refused"):
        images.read_image(tmp_path, "bomb.png")


# --- warps ---

WARPED = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8), (5, 5), 0)


@pytest.mark.parametrize("border", [0, 128])
def test_outside_the_image_is_the_border(border: int) -> None:
    away = np.array([[1.0, 0, 500], [0, 1, 0]])
    assert (images.warp_image(WARPED, away, (10, 20), border) == border).all()


def test_channels_change_places_where_asked() -> None:
    same = np.eye(2, 3)
    assert np.array_equal(images.warp_image(WARPED, same, (90, 120)), WARPED)
    assert np.array_equal(images.warp_image(WARPED, same, (90, 120), rgb=True), WARPED[..., ::-1])
