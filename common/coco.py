# SPDX-License-Identifier: Apache-2.0
"""COCO data: where it lies, its annotation index, its images and crowd masks.

    python -m common.coco DATA_PATH [--skeleton file.yaml] [--images false]

checks a whole data set, see `common.coco_check`.
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path

from common import cli, coco_crowd, jpeg
from common.cli import UserError
from common.coco_index import CocoIndex, load
from common.warping import with_fourth_channel

import cv2
import numpy as np
import numpy.typing as npt

__all__ = [
    "SPLITS", "CocoIndex", "ImageError", "annotation_file", "crowd_mask", "has_annotations", "image_folder",
    "load", "path_inside", "read_image", "read_rows",
]  # fmt: skip

Pixels = npt.NDArray[np.uint8]
SPLITS = ("train", "val")
READ_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


class ImageError(UserError):
    """An image that cannot be read: missing, cut short, not an image, too large, or outside its folder."""


def has_annotations(data_path: str | Path, split: str) -> bool:
    """Whether there is an annotation file of a split."""
    return _annotation_path(data_path, split).is_file()


def annotation_file(data_path: str | Path, split: str) -> Path:
    """`annotations/person_keypoints_{split}2017.json` of a COCO folder; UserError where there is none."""
    path = _annotation_path(data_path, split)
    if not path.is_file():
        raise UserError(f"{_first_missing(path)}: no such file or folder. {_layout(split)}")
    return path


def _annotation_path(data_path: str | Path, split: str) -> Path:
    return Path(data_path) / "annotations" / f"person_keypoints_{split}2017.json"


def image_folder(data_path: str | Path, split: str) -> Path:
    """`{split}2017` of a COCO folder; UserError where there is none."""
    path = Path(data_path) / f"{split}2017"
    if not path.is_dir():
        raise UserError(f"{_first_missing(path)}: no such folder. {_layout(split)}")
    return path


def _first_missing(path: Path) -> Path:
    """The outermost folder that is not there: the one to mend."""
    return next((parent for parent in reversed(path.parents) if not parent.exists()), path)


def _layout(split: str) -> str:
    return (
        f"--data_path must be a COCO folder with annotations/person_keypoints_{split}2017.json and the images in "
        f"{split}2017/; --data_path=mini draws a small data set"
    )


def read_image(folder: str | Path, file_name: str) -> Pixels:
    """(h, w, 3) uint8 BGR, in the stored orientation, which is that of the annotations (an EXIF turn is not made).

    Raises ImageError, naming the file and the cure, where the file is missing, is cut short, is no image, has more
    than 50 megapixels (`OPENCV_IO_MAX_IMAGE_PIXELS`), or where its name leads out of the folder.
    """
    return _read(folder, file_name, _decode)


def read_rows(folder: str | Path, file_name: str, width_img: int, rows: int = jpeg.ALL_ROWS) -> Pixels:
    """(h, w, 4) uint8 BGRA of at least the upper `rows` rows of an image, where it has as many; for crops.

    Decoding is most of a crop's time, and the rows of a JPEG below a crop need none; whether they are damaged is not
    seen. The fourth channel is what `warping.warp_image` would add. `width_img`: as annotated, in pixels. Raises
    ImageError as `read_image`, and for another width.
    """
    image = _read(folder, file_name, functools.partial(_decode_rows, rows=rows))
    if image.shape[1] != width_img:
        raise ImageError(
            f"{Path(folder) / file_name}: {image.shape[1]} pixels wide, annotated with {width_img}; joints would lie "
            "elsewhere. `python -m common.coco` lists all such images"
        )
    return image


def _read(folder: str | Path, file_name: str, decode: Callable[[Pixels], Pixels | None]) -> Pixels:
    path = path_inside(str(folder), file_name)
    try:
        content = np.fromfile(path, np.uint8)
        image = decode(content) if content.size else None
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}. Do annotation file and image folder belong together?") from error
    except cv2.error as error:
        raise ImageError(f"{path}: refused ({error.err}). Take it out of the annotations, or shrink it") from error
    if image is None or jpeg.lacks_end(content):
        raise ImageError(f"{path}: cut short, damaged or no image ({content.size} bytes). Copy the file again")
    return image


def _decode(content: Pixels) -> Pixels | None:
    return cv2.imdecode(content, READ_FLAGS)


def _decode_rows(content: Pixels, rows: int) -> Pixels | None:
    upper = jpeg.decode(content, rows)
    if upper is not None:
        return upper
    whole = _decode(content)
    return None if whole is None else with_fourth_channel(whole)


def path_inside(folder: str, file_name: str) -> str:
    """The real path of a folder's file. Raises ImageError where it lies outside: absolute, `..`, a symbolic link."""
    root = _real_path(folder)
    try:
        path = os.path.realpath(os.path.join(root, file_name))
    except ValueError as error:
        raise ImageError(f"{folder}: file_name {file_name!r}: {error}. Mend the annotation file") from error
    if not path.startswith(root + os.sep):
        raise ImageError(f"file_name {file_name!r} leads out of {folder}, to {path}. Move the image into the folder")
    return path


@functools.lru_cache(maxsize=16)
def _real_path(folder: str) -> str:
    return os.path.realpath(folder).rstrip(os.sep)


def crowd_mask(index: CocoIndex, image_row: int) -> Pixels | None:
    """(h, w) uint8 in original pixels: 1 where the image can be used, 0 in a crowd; None where it has no crowd."""
    people = index.people(image_row)
    starts = index.run_offsets[people.start : people.stop + 1]
    if starts[0] == starts[-1]:
        return None
    height, width = index.image_sizes[image_row].tolist()
    mask = np.ones((width, height), np.uint8)
    for start, stop in zip(starts[:-1], starts[1:], strict=True):
        if stop > start:
            mask &= coco_crowd.outside(index.runs[start:stop]).reshape(width, height)
    return cv2.transpose(mask)  # type: ignore[no-any-return]


if __name__ == "__main__":
    from common import coco_check

    cli.run(coco_check.main)
