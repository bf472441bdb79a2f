# SPDX-License-Identifier: Apache-2.0
"""The demo of every model: frames one by one through a network and a tracker, drawn and written down.

`output_dir` receives annotated images, or a video (WebM, which browsers play), and `people.jsonl`: one line of JSON a
frame, written at once, so that what is there stays valid whenever the program ends; `common.people` describes a line.
Ctrl-C ends after the current frame, with all files complete; a second one ends at once.
"""

import contextlib
import itertools
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import common.device
from common.cli import RefusedImageError, UserError, flag
from common.device import DeviceName
from common.media.detection_file import DetectionFile
from common.media.detectors import Detector, fixed_boxes, open_detector
from common.media.source import Frame, Source, open_source
from common.media.tracking import Tracker
from common.media.writers import PEOPLE_LINES, ImageWriter, VideoWriter, check_screen, output_folder, people_line, show
from common.people import People
from common.runtime.clock import Clock
from common.runtime.session import Provider
from common.skeleton import Skeleton

Find = Callable[[Sequence[Frame]], list[People]]


@dataclass(frozen=True)
class DemoFlags:
    """The flags that every demo has."""

    checkpoint_path: str = flag("trained weights or an exported network (.pth .onnx .xml .om), or a published name", "")
    images: tuple[str, ...] = flag("images, with blanks or commas between them", ())
    source: str = flag("an image, a folder, a list (.txt), a video, the number of a camera, or a URL (rtsp://...)", "")
    output_dir: str = flag("folder for annotated images or the video, and people.jsonl", "demo_output")
    save_img: bool = flag("write images with the people on them", True)
    save_video: bool = flag("write a video with the people on it", True)
    threshold: float = flag("least score of a keypoint that is drawn", 0.0)
    least_score: float = flag("score of a person, from where it counts", 0.0)
    track: bool = flag("people keep their ids from frame to frame, in videos and from cameras", True)
    smooth: bool = flag("steady the keypoints of tracked people (one-euro filter)", True)
    max_missed: int = flag("frames that a lost person keeps the id", 10)
    show: bool = flag("show frames in a window: P pauses, Escape or Q ends", False)
    showbox: bool = flag("draw the boxes too", False)
    on_bad_image: Literal["error", "skip"] = flag("an image that cannot be used: stop, or skip and count", "error")
    cpu: bool = flag("compute on the CPU, the same as --device=cpu", False)
    device: DeviceName = flag("where to compute", "auto")
    provider: Provider = flag("provider of ONNX Runtime, for an .onnx; auto: that of the device", "auto")

    def check(self) -> None:
        """Raises UserError for values that contradict each other."""
        if not self.checkpoint_path:
            raise UserError("--checkpoint_path is needed: trained weights, an exported network, or a published name")

    @property
    def device_name(self) -> DeviceName:
        """The device of the flags."""
        return "cpu" if self.cpu else self.device


@dataclass(frozen=True)
class TopDownFlags(DemoFlags):
    """The flags that the demo of every top-down model has. Without --boxes and the like an image is one box."""

    boxes: str = flag("left,top,width,height[;...] in each image, pixels", "")
    detections: str = flag("boxes from a file: JSON, or people.jsonl of another demo", "")
    detector: str = flag("detector of people: a network of torchvision, such as fasterrcnn_resnet50_fpn", "")
    min_score: float | None = flag("least score of a detected box; empty: as suits the detector", None)
    posebatch: int = flag("people that the network sees at once", 80, least=1, most=10**6)

    def check(self) -> None:
        """Raises UserError for values that contradict each other."""
        super().check()
        if sum(map(bool, (self.boxes, self.detections, self.detector))) > 1:
            raise UserError("give one of --boxes, --detections and --detector")


SOURCE_WORDS = ("--images", "--source", "--image", "--indir", "--video", "--webcam")
# names of flags in the published demos
ALIASES = {"video": "source", "checkpoint": "checkpoint_path", "detfile": "detections"}


def find_source(flags: DemoFlags, named: Sequence[Path] = ()) -> Source:
    """The frames of the flags; without one, the images `named` in a detection file.

    Raises UserError where there is no source.
    """
    if not (flags.images or flags.source or named):
        raise UserError("give one of --images and --source (an image, a folder, a list, a video, a camera or a URL)")
    return open_source(flags.images or flags.source or list(named), flags.on_bad_image)


def find_boxes(flags: TopDownFlags) -> tuple[Source, Detector]:
    """The frames, and the detector of people in them. Raises UserError where one of them is missing or unusable."""
    if flags.detections:
        file = DetectionFile(flags.detections, flags.min_score or 0.0)
        source = find_source(flags, () if flags.images or flags.source else file.images())
        file.check(source)
        return source, file
    source = find_source(flags)
    if flags.boxes:
        return source, fixed_boxes(flags.boxes)
    return source, open_detector(flags.detector, flags.min_score, common.device.resolve(flags.device_name))


@dataclass(frozen=True)
class Names:
    """The names of a demo's files."""

    images: str = ""  # folder below output_dir; where it has a name, frames of videos go there too
    video: str = "{}.webm"  # of the source's name
    # open further outputs in output_dir, such as a published format; each has write(frame, people)
    writers: tuple[Callable[[Path, Source], contextlib.AbstractContextManager[Any]], ...] = ()


class Outputs:
    """The outputs of a run: people.jsonl, a video or images, and what it shows.

    It is opened by the first frame: a wrong command keeps earlier results.
    """

    def __init__(self, flags: DemoFlags, source: Source, names: Names, stack: contextlib.ExitStack) -> None:
        self.flags, self.source, self.num_frames, self.num_people = flags, source, 0, 0
        if flags.show:
            check_screen()
        folder = output_folder(Path(flags.output_dir), source)
        self.video, self.images = None, None
        if source.moves and flags.save_video:
            self.video = stack.enter_context(VideoWriter(folder / names.video.format(source.stem), source.rate_hz))
        if flags.save_img and (names.images or not source.moves):
            self.images = ImageWriter(output_folder(folder / names.images, source))
        self.lines = stack.enter_context((folder / PEOPLE_LINES).open("w", encoding="utf-8", buffering=1))
        self.writers = [stack.enter_context(make(folder, source)) for make in names.writers]

    def write(self, frame: Frame, people: People) -> bool:
        """Writes and shows one frame; False when the user closes the window."""
        people = people.select(people.scores >= self.flags.least_score)
        self.lines.write(json.dumps(people_line(frame, people), allow_nan=False) + "\n")
        for writer in self.writers:
            writer.write(frame, people)
        self.num_frames, self.num_people = self.num_frames + 1, self.num_people + len(people)
        if not (self.video or self.images or self.flags.show):
            return True
        drawn = people.draw(frame.image, self.flags.threshold, self.flags.showbox)
        if self.video:
            self.video.write(drawn, frame.time_s)
        if self.images:
            self.images.write(drawn, f"{frame.index}.jpg" if self.source.moves else frame.name)
        return not self.flags.show or show(drawn, wait_ms=1 if self.source.moves else 0)

    def summary(self, clock: Clock, took_s: float) -> str:
        """Two lines: what was found, and how fast."""
        what, bad = "frames" if self.source.moves else "images", len(self.source.bad)
        ended = (f", {bad} skipped" if bad else "") + (", stopped early" if self.source.stop.is_set() else "")
        parts = ", ".join(f"{name} {1000 * seconds / self.num_frames:.1f}" for name, seconds in clock.items())
        return (
            f"{self.num_frames} {what}, {self.num_people} people{ended}: {self.lines.name}\n"
            f"{self.num_frames / took_s:.1f} frames a second; milliseconds a frame: {parts}"
        )


def run(
    flags: DemoFlags, source: Source, skeleton: Skeleton, find: Find, group: int = 1, names: Names | None = None
) -> None:
    """Takes the frames of `source`, `group` at a time, through network, tracker and outputs.

    Files of an earlier run are overwritten. Raises UserError for frames that cannot be read, results that cannot be
    written, and what `find` refuses; of refused images only if `source` does not skip them, or none is left.
    """
    clock, began, outputs = Clock(), time.perf_counter(), None
    tracker = Tracker(skeleton, flags.smooth, flags.max_missed) if source.moves and flags.track else None
    with contextlib.ExitStack() as stack:
        stack.enter_context(on_signals(source.stop))
        stack.enter_context(writable(flags.output_dir))
        frames = stack.enter_context(contextlib.closing(source.frames()))
        for frame, people in _found(frames, find, 1 if source.live else group, source, clock):
            if tracker:
                with clock.part("track"):
                    people = tracker.update(people, frame.time_s)
            outputs = outputs or Outputs(flags, source, names or Names(), stack)
            with clock.part("draw and write"):
                goes_on = outputs.write(frame, people)
            if source.stop.is_set() or not goes_on:
                break
        if outputs is None:
            raise UserError(f"none of {len(source.images)} images can be used; the first: {source.bad[0]}")
        print(outputs.summary(clock, time.perf_counter() - began), flush=True)  # noqa: T201


def _found(
    frames: Iterator[Frame], find: Find, group: int, source: Source, clock: Clock
) -> Iterator[tuple[Frame, People]]:
    """Each frame and its people; an error of reading comes after the frames before it.

    An image that the network refuses is skipped if bad images are.
    """
    batch, problem = list[Frame](), None
    while not problem:
        batch.clear()
        try:
            with clock.part("read"):
                batch.extend(itertools.islice(frames, group))
        except UserError as error:
            problem = error
        if not batch:
            break
        try:
            with clock.part("people"):
                people = find(batch)
            yield from zip(batch, people, strict=True)
        except RefusedImageError as error:
            named = RefusedImageError(f"{batch[0].name}: {error}")
            if len(batch) > 1 or source.moves:
                raise named from error
            source.skip(batch[0].name, named)
    if problem:
        raise problem


@contextlib.contextmanager
def on_signals(stop: threading.Event) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM sets `stop`; the second one ends the program as usual."""

    def request(number: int, _: Any) -> None:
        stop.set()
        signal.signal(number, usual[number])

    usual: dict[int, Any] = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def writable(folder: str) -> Iterator[None]:
    """Raises UserError for a full disk, or a file that cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another --output_dir") from error


def prepare(words: Sequence[str]) -> list[str]:
    """The words of a command line with `--images a.jpg b.jpg`, as published, as one: `--images=a.jpg,b.jpg`.

    Raises UserError where there are two sources.
    """
    joined: list[str] = []
    for word in words:
        if joined and joined[-1].startswith("--images") and not word.startswith("--"):
            joined[-1] += ("," if "=" in joined[-1] else "=") + word
        else:
            joined.append(word)
    sources = [word for word in joined if word.split("=")[0] in SOURCE_WORDS]
    if len(sources) > 1:
        raise UserError(f"give one of {', '.join(SOURCE_WORDS)}, not {' and '.join(sources)}")
    return joined
