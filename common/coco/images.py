# SPDX-License-Identifier: Apache-2.0
"""COCO data: finding it, and reading its images."""

import os
import re
import stat
from pathlib import Path
from typing import Literal, cast

from common import skeleton
from common.arrays import FloatArray, UInt8Array
from common.cli import ImageError, UserError

import cv2
import numpy as np

SPLITS = ("train", "val")
Size = tuple[int, int]  # height, width
Exif = Literal["ignore", "turn"]
READ_FLAGS = {"ignore": cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, "turn": cv2.IMREAD_COLOR}
ROOT = Path(__file__).resolve().parents[2]
USUAL_PLACE = "data/coco"
SKELETON = "skeleton.yaml"  # in a data set's folder: its own keypoints
YAML = (".yaml", ".yml")
PUBLISHED_PLACES = (USUAL_PLACE, "dataset")
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # but stuffed zeros, filling, restarts (ITU-T T.81, annex B)


def data_folder(data_path: str | Path, usual: str = USUAL_PLACE, otherwise: Path | None = None) -> Path:
    """The folder of a `--data_path`: `mini` is the drawn data set, a data.yaml becomes a folder of its parts.

    Without a word it is `usual`, where a configuration names another place than the published one, else that of
    COCO_HOME or DATA_PATH in the environment, else the published place, here, beside a model's directory or the
    repository. Raises UserError if none exists, unless there is an `otherwise`.
    """
    if str(data_path) == "mini":
        from common.coco.mini import dataset  # draws; not needed by most runs

        return dataset.ensure()
    if str(data_path).endswith(YAML) and not os.path.isdir(data_path):
        from common.coco import data_file

        return data_file.folder_of(Path(data_path))
    if data_path or os.path.normpath(usual) not in PUBLISHED_PLACES:
        return Path(data_path or usual)
    if named := os.environ.get("COCO_HOME") or os.environ.get("DATA_PATH"):
        if not os.path.isdir(named):
            raise UserError(f"{named}: no such folder, which COCO_HOME or DATA_PATH in the environment names")
        return Path(named)
    places = [above / name for name in (usual, USUAL_PLACE) for above in (Path(), ROOT, ROOT.parent)]
    if found := next(filter(Path.is_dir, places), otherwise):
        return found
    raise UserError(
        "--data_path is needed: a COCO folder, a data.yaml, or `mini`; else COCO_HOME or DATA_PATH in the environment, "
        f"else ./{USUAL_PLACE} here or in {ROOT}: none of these is there"
    )


def skeleton_name(name: str, usual: str, data_path: str | Path) -> str:
    """The name or file of the skeleton to use: of `skeleton.yaml` in the data set's folder, where the flags name
    the `usual` one and its keypoints differ. Raises UserError.
    """
    own = Path(data_path) / SKELETON
    if name not in ("", usual) or not own.is_file():
        return name or usual
    same = skeleton.load(own).keypoints == skeleton.load(usual).keypoints
    return usual if same else os.path.realpath(own)


def annotation_file(data_path: str | Path, split: str) -> Path:
    """`annotations/person_keypoints_{split}2017.json` of a COCO folder; UserError where there is none."""
    return _existing(Path(data_path) / "annotations" / f"person_keypoints_{split}2017.json", split)


def image_folder(data_path: str | Path, split: str) -> Path:
    """`{split}2017` or `images/{split}2017` of a COCO folder; UserError where there is neither."""
    name = f"{split}2017"
    return _existing(find(data_path, name) or Path(data_path) / name, split)


def _existing(path: Path, split: str) -> Path:
    if path.exists():
        return path
    missing = next((parent for parent in reversed(path.parents) if not parent.exists()), path)  # the one to create
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
    than 50 megapixels (`OPENCV_IO_MAX_IMAGE_PIXELS`), or is outside of the folder.
    """
    path = path_inside(str(folder), file_name)
    try:
        content = read_file(path)
        image = decode(content, exif)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}. Name an image that is there, or the folder of these") from error
    except cv2.error as error:
        raise ImageError(f"{path}: refused ({error.err}). Take it out of the annotations, or shrink it") from error
    if image is None:
        raise ImageError(f"{path}: cut short, damaged or no image ({content.size} bytes). Copy the file again")
    return image


def decode(content: UInt8Array, exif: Exif = "ignore") -> UInt8Array | None:
    """The image of a file's bytes, (n,) uint8; None where they are none, or not whole.

    Raises cv2.error, before it decodes, for one of more pixels than OPENCV_IO_MAX_IMAGE_PIXELS.
    """
    if not content.size or lacks_end(content):
        return None
    return cast(UInt8Array | None, cv2.imdecode(content, READ_FLAGS[exif]))


def upright_image(image: UInt8Array | str | Path) -> UInt8Array:
    """(H, W, 3) uint8 BGR: that of a file, turned upright as EXIF says, or the array itself. Raises UserError."""
    if isinstance(image, (str, Path)):
        return read_image(Path(image).parent, Path(image).name, "turn")
    found = np.asarray(image)
    if found.dtype != np.uint8 or found.ndim != len("hwc") or found.shape[2] != len("BGR") or not found.size:
        what = f"{found.shape} {found.dtype}" if found.ndim else type(image).__name__
        raise UserError(f"an image is a path or an array (height, width, 3) uint8 BGR, not {what}")
    return found


def read_annotated(folder: str | Path, file_name: str, size_img: Size, exif: Exif = "ignore") -> UInt8Array:
    """`read_image`. `size_img`: height and width as annotated; for any other size it raises ImageError."""
    image = read_image(folder, file_name, exif)
    if image.shape[:2] != size_img:
        from common.coco.orientation import wrong_size  # only if something is wrong

        path = Path(folder) / file_name
        fault = wrong_size(path, image.shape[:2], size_img, exif)
        raise ImageError(f"{path}: {fault}. `python -m common.coco` lists all such images")
    return image


def path_inside(folder: str, file_name: str) -> str:
    """The path of a folder's file, which may be a link to anywhere. Raises ImageError where its name leads outside."""
    name = os.path.normpath(file_name)
    leads_out = os.path.isabs(name) or os.path.splitdrive(name)[0] or name.split(os.sep)[0] in (os.curdir, os.pardir)
    if leads_out or "\0" in file_name:
        raise ImageError(f"file_name {file_name!r} leads out of {folder}. Name the image relative to its folder")
    return os.path.join(folder, name)


def read_file(path: str | Path) -> UInt8Array:
    """(n,) uint8 of a regular file; OSError for any other, which is not opened: a pipe would block."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise OSError(0, "a folder, no image" if stat.S_ISDIR(mode) else "a pipe, socket or device, no image")
    return np.fromfile(path, np.uint8)


def lacks_end(content: UInt8Array) -> bool:
    """Whether a JPEG was cut short; OpenCV fills the missing part with grey, or leaves it unset, silently.

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


def warp_image(image: UInt8Array, matrix: FloatArray, size: Size, border: int = 0, rgb: bool = False) -> UInt8Array:
    """(h, w, 3) uint8 BGR -> (height, width, 3) uint8 of `size`, BGR or `rgb`; `border`, a shade, outside it.

    `matrix` (2, 3): from pixels of the image to those of the result. Linear between pixels.
    """
    warped = cv2.warpAffine(image, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderValue=(border,) * 3)
    return cast(UInt8Array, cv2.cvtColor(warped, cv2.COLOR_BGR2RGB) if rgb else warped)
