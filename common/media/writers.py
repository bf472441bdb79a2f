# SPDX-License-Identifier: Apache-2.0
"""Frames out: films, folders of pictures, windows. (`common.media.source` reads them.)"""

import contextlib
import itertools
import os
import re
import sys
from pathlib import Path
from typing import Any

from common.cli import UserError
from common.media.source import Image, Source, quiet_opencv

import cv2
import numpy as np

WRITTEN_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
FINEST_RATE_HZ = 60.0  # above it MPEG-4 cannot express all fractions of frames a second, such as 119.88
KEY_ESCAPE, KEY_Q, KEY_P = 27, ord("q"), ord("p")


def output_folder(folder: Path, source: Source) -> Path:
    """Makes `folder`. Raises UserError where that fails, or where the source lies in it and could be overwritten."""
    files = (source.capture,) if isinstance(source.capture, Path) else source.pictures
    if folder.resolve() in {path.resolve().parent for path in files}:
        raise UserError(f"{folder}: holds the source, which could be overwritten; choose another --output_dir")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: no folder can be made there ({error.strerror}); choose another") from error
    return folder


class FilmWriter:
    """An mp4 film (MPEG-4 part 2, which every OpenCV wheel can write), playable however the `with` block ends."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        self.path, self.frames = path, 0
        self.rate_hz = rate_hz if rate_hz <= FINEST_RATE_HZ else float(round(rate_hz))
        self._writer: Any = None
        self._last: Image = np.zeros((0, 0, 3), np.uint8)

    def __enter__(self) -> "FilmWriter":
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, image: Image, time_s: float | None = None) -> None:
        """Adds (H, W, 3) uint8 BGR; the first one sets the size, of which the format cuts an odd last row or column.

        With `time_s`, seconds since the first frame, it is shown from that moment on, by repeating the frame before
        it: a camera's frames come as fast as they are processed, a film's rate is constant. Raises UserError where
        the film cannot be written, ValueError for an image of another size.
        """
        if self._writer is None:
            self._writer, self._last = self._open(image.shape[1], image.shape[0]), image
        if image.shape != self._last.shape:
            raise ValueError(f"{self.path}: a frame of shape {image.shape} in a film of {self._last.shape}")
        place = self.frames if time_s is None else max(round(time_s * self.rate_hz), self.frames)
        for _ in range(self.frames, place):
            self._writer.write(self._last)
        self._writer.write(image)
        self.frames, self._last = place + 1, image

    def _open(self, width: int, height: int) -> Any:
        writer = cv2.VideoWriter(str(self.path), cv2.VideoWriter.fourcc(*"mp4v"), self.rate_hz, (width, height))
        if not writer.isOpened():
            raise UserError(f"{self.path}: cannot be written; check the folder's rights and the free space")
        return writer


class PictureWriter:
    """Pictures in a folder, under the names of their sources; a name that comes twice gets a number."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._taken: set[str] = set()

    def write(self, image: Image, source: str) -> Path:
        """Writes (H, W, 3) uint8 BGR and returns where. Raises UserError where that fails."""
        target = self.folder / self._free_name(Path(source))
        self._taken.add(target.name)
        with contextlib.suppress(cv2.error), quiet_opencv():
            if cv2.imwrite(str(target), image):
                return target
        raise UserError(f"{target}: cannot be written; check the folder's rights and the free space")

    def _free_name(self, source: Path) -> str:
        suffix = source.suffix if source.suffix.lower() in WRITTEN_SUFFIXES else ".jpg"
        numbers = (f"_{number}" for number in itertools.count(2))
        names = (f"{source.stem}{number}{suffix}" for number in itertools.chain([""], numbers))
        return next(name for name in names if name not in self._taken)


class Window:
    """Shows frames on a screen. P pauses; Escape or Q asks for the end."""

    def __init__(self, title: str) -> None:
        require_screen()
        self.title = title

    def __enter__(self) -> "Window":
        return self

    def __exit__(self, *error: object) -> None:
        cv2.destroyAllWindows()

    def show(self, image: Image, wait_ms: int = 1) -> bool:
        """Shows (H, W, 3) uint8 BGR for at least `wait_ms` (0: until a key); False when the end was asked for."""
        cv2.imshow(self.title, image)
        key = cv2.waitKey(wait_ms) & 0xFF
        if key == KEY_P:
            key = cv2.waitKey(0) & 0xFF
        return key not in (KEY_ESCAPE, KEY_Q)


def require_screen() -> None:
    """Raises UserError where no window can be opened: OpenCV built without windows, or no screen."""
    cure = "leave --show out, the results are written to files as well"
    if re.search(r"GUI:\s+NONE", cv2.getBuildInformation()):
        raise UserError(f"--show: opencv-python-headless has no windows; put opencv-python in its place, or {cure}")
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UserError(f"--show: there is no screen (DISPLAY is not set); {cure}")
