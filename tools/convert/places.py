# SPDX-License-Identifier: Apache-2.0
"""Where the annotated images are, how large they are, and how their EXIF tag turns them.

Annotations name images by paths of other machines, addresses, or bare names: the file is the one below the image folder
whose path has the most last parts in common with the name.
"""

import dataclasses
import os
import re
import struct
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from common.cli import ImageError, UserError
from common.coco import images as coco_images
from common.coco.orientation import SIDEWAYS, orientation_of
from common.media.source import IMAGE_SUFFIXES
from tools.convert.dataset import Dataset, Image

UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file
TAKEN_OUT = re.compile(r"[^-\w.]")  # by Label Studio of such a name, where blanks become underscores
HEAD = 256 * 1024  # bytes in which an image says its size
PNG = b"\x89PNG\r\n\x1a\n"
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG's markers with a size (ITU-T T.81, table B.1)
THREADS = 8


@dataclass(frozen=True)
class Stored:
    """An image file: (width, height) of its pixels as they are stored, and its EXIF orientation, 1 to 8."""

    path: Path
    size: tuple[int, int]
    orientation: int

    @property
    def turned_size(self) -> tuple[int, int]:
        """(width, height) as a tool shows it that obeys the orientation."""
        return self.size[::-1] if self.orientation in SIDEWAYS else self.size


def files_below(root: Path) -> Iterator[Path]:
    """All files below a folder, and below the folders outside it that links lead to, each folder once.

    Targets of links inside it, such as those of an earlier result, are already included.
    """
    real, seen = root.resolve(), set[Path]()
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if _is_new(Path(folder, name), real, seen)]
        paths = (Path(folder, name) for name in names)
        yield from (path for path in paths if not (path.is_symlink() and path.resolve().is_relative_to(real)))


def _is_new(folder: Path, root: Path, seen: set[Path]) -> bool:
    place = folder.resolve()
    known = place in seen or root.is_relative_to(place) or (folder.is_symlink() and place.is_relative_to(root))
    seen.add(place)
    return not known


class ImageFolder:
    """All image files below a folder, by the last part of their path."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tables: list[dict[str, list[Path]]] = [defaultdict(list) for _ in _spellings("")]
        for path in sorted(files_below(root)):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                for table, spelling in zip(self.tables, _spellings(path.name), strict=True):
                    table[spelling].append(path)

    def find(self, name: str, subset: str = "") -> Path | None:
        """The file of a name. Raises UserError where several fit equally well."""
        expected = PurePosixPath(name.replace("\\", "/"))
        found = self._named(expected.name)
        if not found:
            return None
        scores = {path: _common_end(expected, path.relative_to(self.root)) for path in found}
        best = [path for path in found if scores[path] == max(scores.values())]
        if len(best) > 1:
            best = [path for path in best if subset and subset in str(path.relative_to(self.root).parent)] or best
            exact = [path for path in best if path.relative_to(self.root).as_posix() == str(expected)]
            best = exact or best
        if len(best) > 1:
            listed = ", ".join(str(path.relative_to(self.root)) for path in best[:3])
            raise UserError(f"{self.root}: image {name!r} may be {listed}; name a folder with one of them: --images")
        return best[0]

    def _named(self, name: str) -> list[Path]:
        names = _plain(name), _plain(UPLOADED.sub("", name))
        return next((table[one] for table in self.tables for one in names if one in table), [])


def _plain(name: str) -> str:
    """A Mac writes é as two characters, Windows ignores case."""
    return unicodedata.normalize("NFC", name).lower()


def _spellings(name: str) -> tuple[str, str, str]:
    """The names that annotations may use: the file's, Label Studio's, or CVAT's for frames of a video."""
    plain = _plain(name)
    return plain, TAKEN_OUT.sub("", plain.replace(" ", "_")), PurePosixPath(plain).stem


def _common_end(expected: PurePosixPath, path: Path) -> int:
    count = 0
    for a, b in zip(reversed(expected.parts[:-1]), reversed(path.parts[:-1]), strict=False):
        if _plain(a) != _plain(b):
            break
        count += 1
    return count


def locate(dataset: Dataset, root: Path, needed: bool) -> dict[int, Stored]:
    """The files of the images, by their place in the data set; all, where they are `needed`. Raises UserError."""
    folder = ImageFolder(root)
    paths = {place: image.file or folder.find(image.name, image.subset) for place, image in enumerate(dataset.images)}
    lost = [dataset.images[place].name for place, path in paths.items() if path is None]
    if lost and (needed or any(image.size is None for image in dataset.images)):
        count = f"{len(lost)} of {len(paths)} annotated images are not below it"
        raise UserError(f"{root}: {count}, the first is {lost[0]!r}. Name the folder of the images: --images")
    there = {place: path for place, path in paths.items() if path}
    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(there, pool.map(stored, there.values()), strict=True))


def stored(path: Path) -> Stored:
    """Size and orientation of an image file, read from its head where that says it. Raises ImageError."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}. Put the image there") from error
    size = _png_size(head) if head.startswith(PNG) else _jpeg_size(head)
    if size is None:
        height, width = coco_images.read_image(path.parent, path.name).shape[:2]
        size = width, height
    return Stored(path, size, orientation_of(head))


def _png_size(head: bytes) -> tuple[int, int] | None:
    found = struct.unpack_from(">II", head, len(PNG) + 8) if len(head) >= len(PNG) + 16 else (0, 0)
    return found if min(found) > 0 else None


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    if not head.startswith(coco_images.JPEG_START):
        return None
    place = 2
    while place + 9 < len(head) and head[place] == 0xFF:  # noqa: PLR2004  a marker's first byte
        if head[place + 1] in FRAMES:
            height, width = struct.unpack_from(">HH", head, place + 5)
            return (width, height) if width and height else None
        place += 2 + int.from_bytes(head[place + 2 : place + 4], "big")
    return None


def checked(image: Image, file: Stored, shown: str) -> tuple[Image, bool]:
    """The image with its size in the frame of the annotation, and whether that frame is the turned one.

    `shown`: turned or stored, what the tool showed; where the annotated size fits only the other, that is it. Raises
    UserError where it fits neither.
    """
    sizes = {"turned": file.turned_size, "stored": file.size}
    if image.size is not None and image.size != sizes[shown]:
        other = "stored" if shown == "turned" else "turned"
        if image.size != sizes[other]:
            (w, h), (wide, high) = sizes[shown], image.size
            what = f"has {w} x {h} pixels, annotated as {wide} x {high}"
            raise UserError(f"{file.path}: {what}: points would lie elsewhere. Restore the image that was annotated")
        shown = other
    return dataclasses.replace(image, size=sizes[shown], file=file.path), shown == "turned"
