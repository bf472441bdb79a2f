# SPDX-License-Identifier: Apache-2.0
"""Frames in: images, folders and lists of them, videos, cameras, streams. (`common.media.writers` writes them.)

Frames are read one by one, a few ahead in a thread, so decoding overlaps the caller's work and memory does not grow
with the length of a video. A camera drops frames if the caller is too slow: it sees the present, not a backlog.
A stream that breaks off is opened again.
"""

import contextlib
import logging
import os
import queue
import re
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from common.arrays import UInt8Array
from common.cli import UserError, is_shown
from common.coco.images import upright_image

import cv2

Item = TypeVar("Item")
OnBad = Literal["error", "skip"]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"})
USUAL_RATE_HZ = 30.0  # for a camera, and for a video that does not say
HIGHEST_RATE_HZ = 1000.0  # a video with more reports ticks of a clock, not frames a second
URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
LIST_SUFFIX = ".txt"
READ_AHEAD = 2  # frames; one being decoded comes on top
STREAM_TIMEOUT_MS = 10_000  # of opening a stream, and of its next frame
RECONNECTS, PAUSE_S = 10, 3.0  # times in a row that a stream which broke off is opened again; the pause before each

# Silences FFmpeg and OpenCV on the error stream: errors raised here are one clear line.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Frame:
    """One frame of a source: `image` is (H, W, 3) uint8 BGR, upright; `index` its place in the source, from 0."""

    name: str
    index: int
    time_s: float
    image: UInt8Array


@dataclass
class Source:
    """What `open_source` found: either images, or `capture`: the file of a video, the number of a camera, or a URL.

    `rate_hz` is 0 for images. After reading, `bad` names the images that were skipped.
    """

    images: tuple[Path, ...] = ()
    capture: Path | int | str | None = None
    rate_hz: float = 0.0
    on_bad: OnBad = "error"
    bad: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)  # set: a stream that broke off is not opened again

    @property
    def live(self) -> bool:
        """A camera or a stream: frames come at their own pace."""
        return isinstance(self.capture, (int, str))

    @property
    def moves(self) -> bool:
        """Frames follow each other in time: a video or a camera."""
        return self.capture is not None

    @property
    def stem(self) -> str:
        """The stem of an output file's name."""
        if isinstance(self.capture, int):
            return f"camera{self.capture}"
        return Path(str(self.capture)).stem or "stream"

    def frames(self) -> Generator[Frame, None, None]:
        """Reads the frames in order. Close the generator, or use it up, and its thread ends.

        Raises UserError for an unreadable image (unless `on_bad` is "skip"), camera or video, and if no frame is left.
        """
        return read_ahead(_read_images(self) if self.images else _read_capture(self), newest=self.live)

    def skip(self, name: str, error: UserError) -> None:
        """Counts an unusable image, and logs why; raises the error if such images end the run."""
        if self.on_bad == "error":
            raise UserError(f"{error}; --on_bad_image=skip leaves such images out") from error
        self.bad.append(name)
        _log.warning("note: skipped: %s", error)


def open_source(source: str | Path | int | Sequence[str | Path], on_bad: OnBad = "error") -> Source:
    """`source` is an image, several, a folder or a list (.txt) of images, a video, a camera's number ("0"), or a URL.

    Other files in a folder are left out with a note. Raises UserError where there is nothing to read.
    """
    if isinstance(source, int) or (isinstance(source, str) and source.isdecimal()):
        return Source(capture=int(source), rate_hz=USUAL_RATE_HZ)
    if not isinstance(source, (str, Path)):
        return Source(tuple(Path(item) for item in source), on_bad=on_bad)
    if URL.match(str(source)):
        return Source(capture=str(source), rate_hz=USUAL_RATE_HZ)
    path = Path(source)
    if path.is_dir():
        return Source(_images_in(path), on_bad=on_bad)
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder; give an image, a folder, a video, or the number of a camera")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return Source((path,), on_bad=on_bad)
    if path.suffix.lower() == LIST_SUFFIX:
        return Source(listed(path, path.parent), on_bad=on_bad)
    if not all(map(is_shown, str(path))):
        raise UserError(f"{path}: OpenCV cannot open a name that is no UTF-8; rename the video")
    with _captured(path, f"{path}: OpenCV reads it neither as image nor as video; convert it (to mp4)") as video:
        rate_hz = float(video.get(cv2.CAP_PROP_FPS))
    return Source(capture=path, rate_hz=rate_hz if 0 < rate_hz <= HIGHEST_RATE_HZ else USUAL_RATE_HZ)


def listed(path: Path, folder: Path) -> tuple[Path, ...]:
    """The images of a list: a text file with a name in each line, in `folder`. Raises UserError for another file."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a text file with the name of an image in each line ({error})") from error
    if names := tuple(folder / line.strip() for line in lines if line.strip()):
        return names
    raise UserError(f"{path}: names no image")


def _images_in(folder: Path) -> tuple[Path, ...]:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    images = tuple(path for path in files if path.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise UserError(f"{folder}: no images in this folder ({', '.join(sorted(IMAGE_SUFFIXES))})")
    if other := [path.name for path in files if path not in images]:
        _log.warning("note: %s: left out %d other files (%s)", folder, len(other), ", ".join(other[:3]))
    return images


def _read_images(source: Source) -> Generator[Frame, None, None]:
    for index, path in enumerate(source.images):
        try:
            image = upright_image(path)
        except UserError as error:
            source.skip(str(path), error)
        else:
            yield Frame(str(path), index, 0.0, image)
    if len(source.bad) == len(source.images):
        raise UserError(f"none of {len(source.images)} images can be read; the first: {source.images[0]}")


@contextlib.contextmanager
def _captured(what: Path | int | str, message: str) -> Iterator[Any]:
    """An open cv2.VideoCapture, or UserError(message)."""
    limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, STREAM_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, STREAM_TIMEOUT_MS)
    of_streams = (cv2.CAP_FFMPEG, limits) if isinstance(what, str) else ()
    capture = cv2.VideoCapture(what if isinstance(what, int) else str(what), *of_streams)
    try:
        if not capture.isOpened():
            raise UserError(message)
        yield capture
    finally:
        capture.release()


def _read_capture(source: Source) -> Generator[Frame, None, None]:
    what = source.capture
    assert what is not None
    name = f"camera {what}" if isinstance(what, int) else str(what)
    message = f"{name}: cannot be opened; check that it is there and no other program uses it"
    index, start, expected, failures = 0, 0.0, 0, 0
    while failures <= RECONNECTS and not (failures and source.stop.wait(PAUSE_S)):
        try:
            with _captured(what, message) as capture:
                while (answer := capture.read())[0]:
                    now = time.monotonic() if source.live else capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                    start = now if index == 0 else start
                    yield Frame(name, index, now - start, answer[1])
                    index, failures = index + 1, 0
                expected = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        except UserError:
            if index == 0:
                raise
        if index == 0:
            raise UserError(f"{name}: no frame can be read from it; it is empty or damaged")
        if not isinstance(what, str) or expected > 0:  # a camera, or what has an end
            break
        if failures == 0:
            _log.warning("note: %s: broke off after %d frames; it is opened again", name, index)
        failures += 1
    if index < expected:
        _log.warning("note: %s: ended after %d of %d frames, it may be damaged", name, index, expected)
    elif source.live:
        _log.warning("note: %s: ended after %d frames", name, index)


def read_ahead(items: Generator[Item, None, None], newest: bool = False) -> Generator[Item, None, None]:
    """The items, made in a thread that is at most READ_AHEAD + 1 of them ahead, and ends when the consumer stops.

    With `newest` the thread never waits: when the consumer is slow, the oldest waiting item is dropped.
    An error of `items` is raised to the consumer, in its turn.
    """
    waiting: queue.Queue[tuple[Item] | BaseException | None] = queue.Queue(READ_AHEAD)  # an item, or how it ended
    stop = threading.Event()

    def drop_oldest() -> None:
        with contextlib.suppress(queue.Empty):
            waiting.get_nowait()

    def fill() -> None:
        end = None
        try:
            with contextlib.closing(items):
                for item in items:
                    if newest and waiting.full():
                        drop_oldest()
                    waiting.put((item,))
                    if stop.is_set():
                        return
        except BaseException as error:
            end = error
        waiting.put(end)

    thread = threading.Thread(target=fill, name="read ahead", daemon=True)
    thread.start()
    try:
        while isinstance(item := waiting.get(), tuple):
            yield item[0]
        if item is not None:
            raise item
    finally:
        stop.set()
        drop_oldest()  # makes room for the thread's item
        thread.join(timeout=5)  # a camera that hangs must not hang the program
