# SPDX-License-Identifier: Apache-2.0
"""Frames out: lines of people.jsonl, videos, images, a window. (`common.media.source` reads them.)"""

import contextlib
import os
import re
import sys
from pathlib import Path
from typing import Any

from common.arrays import UInt8Array
from common.cli import UserError
from common.media.source import Frame, Source
from common.people import SCHEMA_VERSION, People

import cv2
import numpy as np

PEOPLE_LINES = "people.jsonl"
WRITTEN_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
LONGEST_STILL_S = 10.0  # for which one frame may be shown
CODEC = "VP80"  # in WebM: every OpenCV wheel writes it, every browser plays it, and a cut-off file stays readable
KEY_ESCAPE, KEY_Q, KEY_P = 27, ord("q"), ord("p")


def output_folder(folder: Path, source: Source) -> Path:
    """Makes `folder`. Raises UserError where the source is in it and could be overwritten, OSError where it fails."""
    files = (source.capture,) if isinstance(source.capture, Path) else source.images
    if folder.resolve() in {path.resolve().parent for path in files}:
        raise UserError(f"{folder}: holds the source, which could be overwritten; choose another --output_dir")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def utf8_name(name: str) -> str:
    r"""A file name as valid Unicode: bytes that are no UTF-8 become \xe9."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def people_line(frame: Frame, people: People) -> dict[str, Any]:
    """The line of a frame, see `common.people`."""
    return {
        "version": SCHEMA_VERSION,
        "frame": frame.index,
        "time_s": round(frame.time_s, 4),
        "source": utf8_name(frame.name),
        "width": frame.image.shape[1],
        "height": frame.image.shape[0],
        "people": people.to_json(),
    }


class VideoWriter(contextlib.AbstractContextManager["VideoWriter"]):
    """A WebM video, playable however the `with` block ends."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        self.path, self.rate_hz, self.frames = path, rate_hz, 0
        self._writer: Any = None
        self._last: UInt8Array = np.zeros((0, 0, 3), np.uint8)
        self._time_s = self._shown_s = 0.0  # of the last frame: its own, and in this video

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, image: UInt8Array, time_s: float | None = None) -> None:
        """Adds (H, W, 3) uint8 BGR; the first one sets the size, of which the format cuts an odd last row or column.

        With `time_s`, seconds since the first frame, it is shown from that moment on, by repeating the frame before
        it: cameras and many phones have a varying rate, this video a constant one. A pause of more
        than LONGEST_STILL_S is cut: time stamps may be broken. Raises UserError where the video cannot be written,
        also for an image of another size.
        """
        time_s = self.frames / self.rate_hz if time_s is None else time_s
        if self._writer is None:
            self._writer, self._last = self._open(image.shape[1], image.shape[0]), image
        if image.shape != self._last.shape:
            what = f"a frame of shape {image.shape} in a video of {self._last.shape}"
            raise UserError(f"{self.path}: {what}; --save_video=false writes none")
        self._shown_s += min(time_s - self._time_s, LONGEST_STILL_S)
        place = max(round(self._shown_s * self.rate_hz), self.frames)
        for _ in range(self.frames, place):
            self._writer.write(self._last)
        self._writer.write(image)
        self.frames, self._last, self._time_s = place + 1, image, time_s

    def _open(self, width: int, height: int) -> Any:
        kept = os.dup(2)  # hides a warning of FFmpeg about a codec that it then writes correctly
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        try:
            writer = cv2.VideoWriter(str(self.path), cv2.VideoWriter.fourcc(*CODEC), self.rate_hz, (width, height))
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        if not writer.isOpened():
            raise UserError(f"{self.path}: cannot be written; check the folder's rights and the free space")
        return writer


class ImageWriter:
    """Images in a folder, under the names of their sources; a name that comes twice gets a number."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._taken: set[str] = set()

    def write(self, image: UInt8Array, source: str) -> Path:
        """Writes (H, W, 3) uint8 BGR and returns where. Raises OSError if that fails."""
        path = Path(source)
        suffix = path.suffix if path.suffix.lower() in WRITTEN_SUFFIXES else ".jpg"
        name, number = f"{path.stem}{suffix}", 1
        while name in self._taken:
            number += 1
            name = f"{path.stem}_{number}{suffix}"
        self._taken.add(name)
        (self.folder / name).write_bytes(cv2.imencode(suffix.lower(), image)[1].tobytes())
        return self.folder / name


def check_screen() -> None:
    """Raises UserError where no window can be opened: OpenCV built without windows, or no screen."""
    cure = "leave --show out, the results are written to files as well"
    if re.search(r"GUI:\s+NONE", cv2.getBuildInformation()):
        raise UserError(f"--show: opencv-python-headless has no windows; put opencv-python in its place, or {cure}")
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UserError(f"--show: there is no screen (DISPLAY is not set); {cure}")


def show(image: UInt8Array, wait_ms: int) -> bool:
    """Shows (H, W, 3) uint8 BGR for at least `wait_ms` (0: until a key). P pauses; False where Escape or Q ends."""
    cv2.imshow("people", image)
    if (key := cv2.waitKey(wait_ms) & 0xFF) == KEY_P:
        key = cv2.waitKey(0) & 0xFF
    return key not in (KEY_ESCAPE, KEY_Q)
