# SPDX-License-Identifier: Apache-2.0
"""COCO data: where it lies, its images and crowd masks."""

import os
import re
import stat
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


def annotation_name(split: str) -> str:
    """Where the annotation file lies in a COCO folder."""
    return f"annotations/person_keypoints_{split}2017.json"


def annotation_file(data_path: str | Path, split: str) -> Path:
    """`annotation_name` of a COCO folder; UserError where there is no such file."""
    path = Path(data_path) / annotation_name(split)
    return path if path.is_file() else _refuse(path, split)


def image_folder(data_path: str | Path, split: str) -> Path:
    """`{split}2017` or `images/{split}2017` of a COCO folder; UserError where there is neither."""
    path = find(data_path, f"{split}2017")
    return path if path and path.is_dir() else _refuse(Path(data_path) / f"{split}2017", split)


def _refuse(path: Path, split: str) -> NoReturn:
    missing = next((parent for parent in reversed(path.parents) if not parent.exists()), path)  # the one to mend
    raise UserError(
        f"{missing}: no such file or folder. --data_path must be a COCO folder with {annotation_name(split)} and the "
        f"images in {split}2017/ or images/{split}2017/; --data_path=mini draws a small data set"
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
    return cast(UInt8Array, image)


def read_annotated(folder: str | Path, file_name: str, size_img: Size, exif: Exif = "ignore") -> UInt8Array:
    """`read_image`. `size_img`: height and width as annotated; for any other size it raises ImageError."""
    image = read_image(folder, file_name, exif)
    if image.shape[:2] != size_img:
        from common.coco.orientation import wrong_size  # only where something is wrong

        path = Path(folder) / file_name
        fault = wrong_size(path, image.shape[:2], size_img, exif)
        raise ImageError(f"{path}: {fault}. `python -m common.coco` lists all such images")
    return image


def path_inside(folder: str, file_name: str) -> str:
    """The path of a folder's file, which may be a link to anywhere. Raises ImageError where its name leads out."""
    name = os.path.normpath(file_name)
    leads_out = os.path.isabs(name) or os.path.splitdrive(name)[0] or name.split(os.sep)[0] in (os.curdir, os.pardir)
    if leads_out or "\0" in name:
        raise ImageError(f"file_name {file_name!r} leads out of {folder}. Name the image relative to its folder")
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
    border: int = 0,
    rgb: bool = False,
) -> UInt8Array:
    """(h, w, 3) uint8 BGR -> (height, width, 3) uint8 of `size`, BGR or `rgb`; `border`, a shade, outside it.

    `matrix` (2, 3): from pixels of the image to those of the result. Linear between pixels.
    """
    warped = cv2.warpAffine(image, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderValue=(border,) * 3)
    return cast(UInt8Array, cv2.cvtColor(warped, cv2.COLOR_BGR2RGB) if rgb else warped)
