# SPDX-License-Identifier: Apache-2.0
"""COCO data: where it lies, its images and crowd masks."""

import functools
import os
import re
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

from common import skeleton
from common.arrays import UInt8Array
from common.cli import ImageError, UserError
from common.coco import annotations
from common.coco.annotations import CocoIndex

import cv2
import numpy as np
import numpy.typing as npt

SPLITS = ("train", "val")
Size = tuple[int, int]  # height, width
Exif = Literal["ignore", "turn"]
READ_FLAGS = {"ignore": cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, "turn": cv2.IMREAD_COLOR}
ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ("COCO_HOME", "DATA_PATH")  # name the data set where no flag does
USUAL_PLACE = "data/coco"
SKELETON = "skeleton.yaml"  # in a data set's folder: its own keypoints
YAML = (".yaml", ".yml")
PUBLISHED_PLACES = (USUAL_PLACE, "dataset")
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # but stuffed zeros, filling, restarts (ITU-T T.81, annex B)
EXIF_START = re.compile(rb"(?:Exif\x00\x00|eXIf)(II\*\x00|MM\x00\*)")  # of a JPEG, of a PNG
ORIENTATION = 0x0112
UPRIGHT = 1
BLACK, GREY = 0, 128  # shades of a border
SIDEWAYS = frozenset({5, 6, 7, 8})  # orientations of a quarter turn: width and height change places


def data_folder(data_path: str | Path, usual: str = USUAL_PLACE, otherwise: Path | None = None) -> Path:
    """The folder that a `--data_path` means: the word `mini` is the drawn data set, a data.yaml that of its parts.

    Without a word it is `usual`, where a configuration names another place than the published one, else that of
    COCO_HOME or DATA_PATH in the environment, else the published place, here, beside a model's directory or the
    repository. Raises UserError where none is there, unless there is an `otherwise`.
    """
    if str(data_path) == "mini":
        from common.coco.mini import dataset  # draws; most runs have images of their own

        return dataset.ensure()
    if str(data_path).endswith(YAML) and not os.path.isdir(data_path):
        from common.coco import data_file

        return data_file.folder_of(Path(data_path))
    if data_path or os.path.normpath(usual) not in PUBLISHED_PLACES:
        return Path(data_path or usual)
    for name in ENVIRONMENT:
        if place := os.environ.get(name):
            if not os.path.isdir(named := os.path.expanduser(place)):
                raise UserError(f"{name}={place} in the environment: no such folder")
            return Path(named)
    places = [above / name for name in (usual, USUAL_PLACE) for above in (Path(), ROOT, ROOT.parent)]
    if found := next(filter(Path.is_dir, places), otherwise):
        return found
    raise UserError(
        "--data_path is needed: a COCO folder, a data.yaml, or `mini`; else COCO_HOME or DATA_PATH in the environment, "
        f"else ./{USUAL_PLACE} here or in {ROOT}: none of these is there"
    )


def skeleton_name(name: str, usual: str, data_path: str | Path) -> str:
    """The name or file of the skeleton to use: of `skeleton.yaml` in the data set's folder, where no other than the
    `usual` one is asked for and that one has other keypoints. Raises UserError.
    """
    own = Path(data_path) / SKELETON
    if name not in ("", usual) or not own.is_file():
        return name or usual
    same = skeleton.load(own).keypoints == skeleton.load(usual).keypoints
    return usual if same else os.path.realpath(own)


def annotation_path(data_path: str | Path, split: str) -> Path:
    """`annotations/person_keypoints_{split}2017.json` of a COCO folder, whether it is there or not."""
    return Path(data_path) / "annotations" / f"person_keypoints_{split}2017.json"


def annotation_file(data_path: str | Path, split: str) -> Path:
    """`annotation_path`; UserError where there is none."""
    path = annotation_path(data_path, split)
    return path if path.is_file() else _refuse(path, split)


def image_folder(data_path: str | Path, split: str) -> Path:
    """`{split}2017` or `images/{split}2017` of a COCO folder; UserError where there is neither."""
    path = find(data_path, f"{split}2017")
    return path if path and path.is_dir() else _refuse(Path(data_path) / f"{split}2017", split)


def _refuse(path: Path, split: str) -> NoReturn:
    missing = next((parent for parent in reversed(path.parents) if not parent.exists()), path)  # the one to mend
    raise UserError(
        f"{missing}: no such file or folder. --data_path must be a COCO folder with annotations/"
        f"person_keypoints_{split}2017.json and the images in {split}2017/ or images/{split}2017/; --data_path=mini "
        "draws a small data set"
    )


def find(root: str | Path, name: str) -> Path | None:
    """A file or folder of a data set: in `root`, in its `images`, or a path of its own; None where there is none."""
    places = (Path(root) / name, Path(root) / "images" / name, Path(name))
    return next((place for place in places if name and place.exists()), None)


def read_image(folder: str | Path, file_name: str, exif: Exif = "ignore") -> UInt8Array:
    """(h, w, 3) uint8 BGR, by default as stored: COCO's annotations do not follow EXIF tags; "turn" follows them.

    Raises ImageError, naming the file and the cure, where the file is missing, is cut short, is no image, has more
    than 50 megapixels (`OPENCV_IO_MAX_IMAGE_PIXELS`), or where its name leads out of the folder.
    """
    return _read(folder, file_name, exif)[0]


def read_annotated(folder: str | Path, file_name: str, size_img: Size, exif: Exif = "ignore") -> UInt8Array:
    """`read_image`, read-only. `size_img`: height and width as annotated; for any other size it raises ImageError."""
    image, content = _read(folder, file_name, exif)
    if image.shape[:2] != size_img:
        fault = wrong_size(image.shape[:2], size_img, orientation_of(content), exif)
        raise ImageError(f"{Path(folder) / file_name}: {fault}. `python -m common.coco` lists all such images")
    image.flags.writeable = False  # the next one who asks a `reader` gets this very array
    return image


@functools.cache
def reader(kept: int) -> Callable[[str | Path, str, Size, Exif], UInt8Array]:
    """`read_annotated`, of which each process keeps the `kept` images that were asked for last."""
    return functools.lru_cache(maxsize=kept)(read_annotated)


def read_with_orientation(folder: str | Path, file_name: str, exif: Exif) -> tuple[UInt8Array, int]:
    """`read_image`, and the EXIF orientation of the file, 1 (upright) to 8."""
    image, content = _read(folder, file_name, exif)
    return image, orientation_of(content)


def wrong_size(size: tuple[int, ...], annotated: Size, orientation: int, exif: Exif) -> str:
    """The message for an image that was read with another (height, width) than annotated."""
    what = f"has {size[1]} x {size[0]} pixels, annotated as {annotated[1]} x {annotated[0]}"
    if orientation in SIDEWAYS and size == annotated[::-1]:
        other, shape = ("ignore", "as it is stored") if exif == "turn" else ("turn", "turned as its EXIF tag says")
        return f"{what}: that is the image {shape} (orientation {orientation}); --exif={other} reads it so"
    return f"{what}: joints would lie elsewhere"


def _read(folder: str | Path, file_name: str, exif: Exif) -> tuple[UInt8Array, UInt8Array]:
    """The image and the bytes of its file."""
    path = path_inside(str(folder), file_name)
    try:
        content = read_file(path)
        image = cv2.imdecode(content, READ_FLAGS[exif]) if content.size else None
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}. Do annotation file and image folder belong together?") from error
    except cv2.error as error:
        raise ImageError(f"{path}: refused ({error.err}). Take it out of the annotations, or shrink it") from error
    if image is None or lacks_end(content):
        raise ImageError(f"{path}: cut short, damaged or no image ({content.size} bytes). Copy the file again")
    return image, content


def path_inside(folder: str, file_name: str) -> str:
    """The path of a folder's file, which may be a link to anywhere. Raises ImageError where its name leads out."""
    name = os.path.normpath(file_name)
    leads_out = os.path.isabs(name) or os.path.splitdrive(name)[0] or name.split(os.sep)[0] in (os.curdir, os.pardir)
    if leads_out or "\0" in file_name:
        what = "has a null byte" if "\0" in file_name else f"leads out of {folder}"
        raise ImageError(f"file_name {file_name!r} {what}. Name the image relative to its folder")
    return os.path.join(folder, name)


def read_file(path: str | Path) -> UInt8Array:
    """(n,) uint8 of a regular file; OSError for any other, which is not opened: a pipe would wait for ever."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise OSError(0, "a folder, no image" if stat.S_ISDIR(mode) else "a pipe, socket or device, no image")
    return np.fromfile(path, np.uint8)


def lacks_end(content: UInt8Array) -> bool:
    """Whether a JPEG was cut short; OpenCV fills what is missing with grey, or not even that, and is silent.

    `content`: the bytes of a file, (n,) uint8. Something else may follow the end: a phone adds a video. A preview in
    the header has an end of its own, which does not count.
    """
    if content[:2].tobytes() != JPEG_START or content[-2:].tobytes() == JPEG_END:
        return False
    stream, place = content.tobytes(), len(JPEG_START)
    while found := JPEG_MARKER.search(stream, place):
        if found[0] == JPEG_END:
            return False
        place = found.end() + int.from_bytes(stream[found.end() : found.end() + 2], "big")  # over a segment
    return True


def orientation_of(content: UInt8Array) -> int:
    """The EXIF orientation of the bytes of a JPEG or PNG file, 1 (upright, also where there is none) to 8."""
    stream = content.data.cast("B")
    found = EXIF_START.search(stream)
    if not found:
        return UPRIGHT
    order, tiff = "<" if found[1].startswith(b"II") else ">", stream[found.start(1) :]
    try:
        first = struct.unpack_from(f"{order}I", tiff, 4)[0]
        for entry in range(struct.unpack_from(f"{order}H", tiff, first)[0]):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, first + 2 + 12 * entry)
            if tag == ORIENTATION:
                return value if UPRIGHT <= value <= max(SIDEWAYS) else UPRIGHT
    except struct.error:  # a header that was cut short: OpenCV does not turn it
        pass
    return UPRIGHT


def crowd_mask(index: CocoIndex, image_row: int) -> UInt8Array | None:
    """(h, w) uint8 in original pixels: 1 where the image can be used, 0 in a crowd; None where it has no crowd."""
    people = index.people(image_row)
    starts = index.run_offsets[people.start : people.stop + 1]
    if starts[0] == starts[-1]:
        return None
    height, width = index.image_sizes[image_row].tolist()
    mask = np.ones((width, height), np.uint8)
    for start, stop in zip(starts[:-1], starts[1:], strict=True):
        if stop > start:
            mask &= annotations.outside(index.runs[start:stop]).reshape(width, height)
    return cv2.transpose(mask)  # type: ignore[no-any-return]


def warp_image(
    image: UInt8Array,
    matrix: npt.NDArray[np.floating[Any]],
    size: tuple[int, int],
    border: int = BLACK,
    rgb: bool = False,
) -> UInt8Array:
    """(h, w, 3) uint8 BGR -> (height, width, 3) uint8 of `size`, BGR or `rgb`; `border`, a shade, outside it.

    `matrix` (2, 3): from pixels of the image to those of the result. Linear between pixels.
    """
    warped = cv2.warpAffine(image, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderValue=(border,) * 3)
    return cast(UInt8Array, cv2.cvtColor(warped, cv2.COLOR_BGR2RGB) if rgb else warped)
