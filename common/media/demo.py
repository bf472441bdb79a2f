# SPDX-License-Identifier: Apache-2.0
"""The demo of networks that find everybody in a picture at once: its frames one by one, and what they leave behind.

`output_dir` receives annotated pictures, or a film (mp4), and `people.jsonl`: one line of JSON a frame, written at
once, so that what is there stays valid whenever the program ends; `common.media.people_json` describes a line.
"""

import contextlib
import itertools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TextIO

from common.cli import PictureError, UserError
from common.media import drawing
from common.media.demo_parts import Clock, stop_on_signals, writable
from common.media.people_json import people_line, to_keypoints
from common.media.source import Frame, Image, Source
from common.media.tracking import Floats, Tracker
from common.media.writers import FilmWriter, PictureWriter, Window, output_folder
from common.skeleton import Skeleton

# image (H, W, 3) uint8 BGR -> points (M, num_points, 3) x, y in original pixels and score (0: missing), scores (M,)
Estimator = Callable[[Image, Clock], tuple[Floats, Floats]]

_log = logging.getLogger(__name__)


class Settings(Protocol):
    """What the flags say of a run."""

    @property
    def output_dir(self) -> str:
        """The folder that receives what was found."""

    @property
    def track(self) -> bool:
        """Whether people keep their ids from frame to frame."""

    @property
    def smooth(self) -> bool:
        """Whether keypoints of tracked people are steadied."""

    @property
    def max_missed(self) -> int:
        """For how many frames a person may be lost and keep the id."""

    @property
    def show(self) -> bool:
        """Whether frames are shown in a window."""

    @property
    def max_frames(self) -> int:
        """The end comes after so many frames; 0: after all."""


class Outputs:
    """What a run leaves behind: people.jsonl and a film or pictures, and what it shows."""

    def __init__(self, settings: Settings, source: Source, skeleton: Skeleton, stack: contextlib.ExitStack) -> None:
        self.skeleton, self.live, self.stack = skeleton, source.live, stack
        self.window = stack.enter_context(Window("people")) if settings.show else None
        self.folder = output_folder(Path(settings.output_dir), source)
        self.lines: TextIO | None = None  # opened for the first frame: an earlier result outlives a wrong command
        self.film, self.pictures = None, PictureWriter(self.folder)
        if source.moves:
            stem = f"camera{source.capture}" if source.live else Path(str(source.capture)).stem
            self.film = stack.enter_context(FilmWriter(self.folder / f"{stem}.mp4", source.rate_hz))

    def write(self, frame: Frame, points: Floats, scores: Floats, ids: Sequence[int | None]) -> bool:
        """Writes and shows one frame; False where the person at the window wants to end."""
        drawn = drawing.draw_people(frame.image, to_keypoints(points, self.skeleton), self.skeleton, ids)
        if self.film is not None:
            self.film.write(drawn, frame.time_s if self.live else None)
        else:
            self.pictures.write(drawn, frame.name)
        if self.lines is None:
            file = (self.folder / "people.jsonl").open("w", encoding="utf-8", buffering=1)
            self.lines = self.stack.enter_context(file)
        self.lines.write(people_line(frame, points, scores, ids, self.skeleton))
        return self.window is None or self.window.show(drawn, wait_ms=1 if self.film else 0)


def run(settings: Settings, source: Source, skeleton: Skeleton, estimate: Estimator) -> int:
    """Takes the frames of `source` one by one through estimator, tracker and outputs; returns how many.

    Files of an earlier run are overwritten. Raises UserError for frames that cannot be read, results that cannot be
    written, and what the estimator refuses; of refused pictures only if `source` does not skip them, or none is left.
    """
    clock, done, speed = Clock(), 0, ""
    tracker = Tracker(skeleton, settings.smooth, max_missed=settings.max_missed)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        stack.enter_context(writable(settings.output_dir, "--output_dir"))
        outputs = Outputs(settings, source, skeleton, stack)
        frames = stack.enter_context(contextlib.closing(source.frames()))
        for frame in itertools.islice(clock.waiting(frames), settings.max_frames or None):
            if stop.is_set():
                break
            people = _people(estimate, frame, clock, source)
            if people is None:
                continue
            points, scores = people
            ids: list[int | None] = [None] * len(points)
            if source.moves and settings.track:
                with clock.part("track"):
                    numbers, points = tracker.update(points, scores, frame.time_s)
                    ids = numbers.tolist()
            with clock.part("draw and write"):
                wanted = outputs.write(frame, points, scores, ids)
            done, clock.frames = done + 1, clock.frames + 1
            if stop.is_set() or not wanted:
                break
            if done == 1:
                speed = clock.summary()
                clock.restart()
        if source.bad and not done and not stop.is_set():
            raise UserError(f"none of {len(source.pictures)} pictures can be used; the first: {source.bad[0]}")
        _report(done, clock.summary() if clock.frames else speed, source, outputs, stop.is_set())
    return done


def _people(estimate: Estimator, frame: Frame, clock: Clock, source: Source) -> tuple[Floats, Floats] | None:
    """Points and scores; None for a picture that the network refuses, where such shall be skipped.

    Raises UserError, with the frame's name, for any other complaint.
    """
    try:
        return estimate(frame.image, clock)
    except UserError as error:
        if not (isinstance(error, PictureError) and source.pictures and source.on_bad == "skip"):
            raise UserError(f"{frame.name}: {error}") from error
        source.bad.append(frame.name)
        _log.warning("note: skipped: %s: %s", frame.name, error)
        return None


def _report(done: int, speed: str, source: Source, outputs: Outputs, stopped: bool) -> None:
    """What the run did, for the person at the keyboard."""
    what = "frames" if source.moves else "pictures"
    skipped = f", {len(source.bad)} skipped" if source.bad else ""
    early = ", stopped early" if stopped else ""
    print(f"{done} {what}{skipped}{early}: {outputs.folder / 'people.jsonl'}", flush=True)  # noqa: T201
    print(speed, flush=True)  # noqa: T201
