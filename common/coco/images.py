# SPDX-License-Identifier: Apache-2.0
"""COCO data: where it lies, its annotation index, its images and crowd masks.

    python -m common.coco DATA_PATH [--skeleton file.yaml] [--images false]

checks a whole data set, see `common.coco.validate`.
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path

from common.cli import UserError
from common.coco import crowd
from common.coco.annotations import CocoIndex
from common.coco.reader import load

import cv2
import numpy as np
import numpy.typing as npt

__all__ = [
    "SPLITS", "CocoIndex", "ImageError", "annotation_file", "crowd_mask", "has_annotations", "image_folder",
    "lacks_end", "load", "path_inside", "read_annotated", "read_image", "reader",
]  # fmt: skip

Pixels = npt.NDArray[np.uint8]
SPLITS = ("train", "val")
READ_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
JPEG_START, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"  # markers of ITU-T T.81, annex B


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
    path = path_inside(str(folder), file_name)
    try:
        content = np.fromfile(path, np.uint8)
        image = cv2.imdecode(content, READ_FLAGS) if content.size else None
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}. Do annotation file and image folder belong together?") from error
    except cv2.error as error:
        raise ImageError(f"{path}: refused ({error.err}). Take it out of the annotations, or shrink it") from error
    if image is None or lacks_end(content):
        raise ImageError(f"{path}: cut short, damaged or no image ({content.size} bytes). Copy the file again")
    return image  # type: ignore[no-any-return]


def read_annotated(folder: str | Path, file_name: str, size_img: tuple[int, int]) -> Pixels:
    """`read_image`, read-only. `size_img`: height and width as annotated; for any other size it raises ImageError."""
    image = read_image(folder, file_name)
    if image.shape[:2] != size_img:
        found, annotated = (f"{height} x {width}" for height, width in (image.shape[:2], size_img))
        raise ImageError(
            f"{Path(folder) / file_name}: {found} pixels, annotated as {annotated}; joints would lie elsewhere. "
            "`python -m common.coco` lists all such images"
        )
    image.flags.writeable = False  # the next one who asks a `reader` gets this very array
    return image


@functools.cache
def reader(kept: int) -> Callable[[str | Path, str, tuple[int, int]], Pixels]:
    """`read_annotated`, of which each process keeps the `kept` images that were asked for last."""
    return functools.lru_cache(maxsize=kept)(read_annotated)


def lacks_end(content: Pixels) -> bool:
    """Whether a JPEG's last scan has no end; OpenCV fills what is missing with grey, or not even that, and is silent.

    `content`: the bytes of a file, (n,) uint8. A preview in the header has an end of its own, which does not count.
    """
    if content[:2].tobytes() != JPEG_START or content[-2:].tobytes() == JPEG_END:
        return False
    stream = content.tobytes()  # something follows the image, or its end is missing
    return stream.rfind(JPEG_END) < stream.rfind(JPEG_SCAN)


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
            mask &= crowd.outside(index.runs[start:stop]).reshape(width, height)
    return cv2.transpose(mask)  # type: ignore[no-any-return]
