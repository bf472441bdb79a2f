# SPDX-License-Identifier: Apache-2.0
"""Frames in: pictures, folders of them, films and cameras. (`common.media.writers` writes and shows them.)

Frames are read one by one, a few ahead in a thread, so decoding overlaps the caller's work and memory does not grow
with the length of a film. A camera drops what the caller is too slow for: the caller sees the present, not a backlog.
"""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from common.cli import UserError
from common.coco.images import lacks_end, read_file

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Item = TypeVar("Item")
OnBad = Literal["error", "skip"]

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"})
USUAL_RATE_HZ = 30.0  # for a camera, and for a film that does not say
HIGHEST_RATE_HZ = 1000.0  # a film with more has no frames a second, but ticks of a clock
READ_AHEAD = 2  # frames; one being decoded comes on top

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Frame:
    """One picture of a source: `image` is (H, W, 3) uint8 BGR, upright; `index` its place in the source, from 0."""

    name: str
    index: int
    time_s: float
    image: Image


@dataclass
class Source:
    """What `open_source` found: either pictures, or `capture`, the file of a film or the number of a camera.

    `rate_hz` is 0 for pictures. After reading, `bad` names the pictures that were skipped.
    """

    pictures: tuple[Path, ...] = ()
    capture: Path | int | None = None
    rate_hz: float = 0.0
    on_bad: OnBad = "error"
    bad: list[str] = field(default_factory=list)

    @property
    def live(self) -> bool:
        """A camera: frames come at their own pace."""
        return isinstance(self.capture, int)

    @property
    def moves(self) -> bool:
        """Frames follow each other in time: a film or a camera."""
        return self.capture is not None

    def frames(self) -> Generator[Frame, None, None]:
        """Reads the frames in order. Close the generator, or use it up, and its thread ends.

        Raises UserError for an unreadable picture (unless `on_bad` is "skip"), camera or film, and if no frame is left.
        """
        read = _read_pictures(self) if self.pictures else _read_capture(self)
        return read_ahead(read, newest=self.live)


def open_source(source: str | Path | int | Sequence[str | Path], on_bad: OnBad = "error") -> Source:
    """`source` is a picture, a list of pictures, a folder of pictures, a film, or the number of a camera ("0").

    Other files in a folder are left out with a note. Raises UserError where there is nothing to read.
    """
    if isinstance(source, int) or (isinstance(source, str) and source.isdecimal()):
        return Source(capture=int(source), rate_hz=USUAL_RATE_HZ)
    if not isinstance(source, (str, Path)):
        return Source(tuple(Path(item) for item in source), on_bad=on_bad)
    path = Path(source)
    if path.is_dir():
        return Source(_pictures_in(path), on_bad=on_bad)
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder; give a picture, a folder, a film, or the number of a camera")
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return Source((path,), on_bad=on_bad)
    with _captured(str(path), f"{path}: OpenCV reads it neither as picture nor as film; convert it (to mp4)") as film:
        rate_hz = float(film.get(cv2.CAP_PROP_FPS))
    return Source(capture=path, rate_hz=rate_hz if 0 < rate_hz <= HIGHEST_RATE_HZ else USUAL_RATE_HZ)


def _pictures_in(folder: Path) -> tuple[Path, ...]:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    pictures = tuple(path for path in files if path.suffix.lower() in PICTURE_SUFFIXES)
    if not pictures:
        raise UserError(f"{folder}: no pictures in this folder ({', '.join(sorted(PICTURE_SUFFIXES))})")
    if len(pictures) < len(files):
        other = [path.name for path in files if path not in set(pictures)]
        _log.warning("note: %s: left out %d other files (%s)", folder, len(other), ", ".join(other[:3]))
    return pictures


def read_picture(path: Path) -> Image:
    """(H, W, 3) uint8 BGR, turned upright as EXIF says. Raises UserError for a missing, damaged or huge picture."""
    try:
        content = read_file(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; check the path") from error
    image = None
    if content.size and not lacks_end(content):
        with contextlib.suppress(cv2.error), quiet_opencv():  # more pixels than OPENCV_IO_MAX_IMAGE_PIXELS
            image = cv2.imdecode(content, cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f"{path}: not a picture, damaged, or too large; mend it, or pass --on_bad_image=skip")
    return np.asarray(image)


def _read_pictures(source: Source) -> Generator[Frame, None, None]:
    for index, path in enumerate(source.pictures):
        try:
            image = read_picture(path)
        except UserError as error:
            if source.on_bad == "error":
                raise
            source.bad.append(str(path))
            _log.warning("note: skipped: %s", error)
            continue
        yield Frame(str(path), index, 0.0, image)
    if len(source.bad) == len(source.pictures):
        raise UserError(f"none of {len(source.pictures)} pictures can be read; the first: {source.pictures[0]}")


@contextlib.contextmanager
def quiet_opencv() -> Iterator[None]:
    """Without OpenCV's own lines on the error stream: the caller has a better one."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


@contextlib.contextmanager
def _captured(what: str | int, complaint: str) -> Iterator[Any]:
    """An open cv2.VideoCapture, or UserError(complaint)."""
    with quiet_opencv():
        capture = cv2.VideoCapture(what)
    try:
        if not capture.isOpened():
            raise UserError(complaint)
        yield capture
    finally:
        capture.release()


def _read_capture(source: Source) -> Generator[Frame, None, None]:
    what = source.capture if isinstance(source.capture, int) else str(source.capture)
    name = f"camera {what}" if source.live else str(what)
    index, start = 0, 0.0
    with _captured(what, f"{name}: cannot be opened; check that it is there and no other program uses it") as capture:
        while True:
            read, image = capture.read()
            if not read:
                break
            now = time.monotonic() if source.live else capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            start = now if index == 0 else start
            yield Frame(name, index, now - start, image)
            index += 1
        expected = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    if index == 0:
        raise UserError(f"{name}: no frame can be read from it; it is empty or damaged")
    if index < expected:
        _log.warning("note: %s: ended after %d of %d frames, it may be damaged", name, index, expected)


@dataclass(frozen=True)
class _End:
    """What a reading thread hands over last."""

    error: BaseException | None = None


def read_ahead(
    items: Generator[Item, None, None], depth: int = READ_AHEAD, newest: bool = False
) -> Generator[Item, None, None]:
    """The items, made in a thread that is at most `depth` + 1 of them ahead, and ends when the consumer stops.

    With `newest` the thread never waits: when the consumer is slow, the oldest waiting item is thrown away.
    An error of `items` is raised to the consumer, in its turn.
    """
    waiting: queue.Queue[Item | _End] = queue.Queue(depth)
    stop = threading.Event()
    thread = threading.Thread(target=_fill, args=(items, waiting, stop, newest), name="read ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := waiting.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        thread.join(timeout=5)  # a camera that hangs must not hang the program


def _fill(items: Generator[Item, None, None], waiting: Any, stop: threading.Event, newest: bool) -> None:
    end = _End()
    try:
        with contextlib.closing(items):
            for item in items:
                _put(waiting, item, stop, newest)
                if stop.is_set():
                    break
    except BaseException as error:
        end = _End(error)
    _put(waiting, end, stop, newest=False)


def _put(waiting: Any, item: Any, stop: threading.Event, newest: bool) -> None:
    """Puts `item`, as soon as there is room, unless the consumer has stopped."""
    while not stop.is_set():
        try:
            waiting.put(item, timeout=0 if newest else 0.1)
            return
        except queue.Full:
            if newest:
                with contextlib.suppress(queue.Empty):
                    waiting.get_nowait()
