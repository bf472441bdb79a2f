# SPDX-License-Identifier: Apache-2.0
"""Finds people in pictures, films and cameras, one network pass a person: draws them, and writes their keypoints.

    python -m AlphaPose.demo --checkpoint=fast_res50_256x192.pth --indir=pictures --save_img
    python -m AlphaPose.demo --checkpoint=pose.onnx --video=film.mp4 --save_video --pose_track --format=cmu
    python -m AlphaPose.demo --checkpoint=pose.pth --image=a.jpg --detfile=boxes.json

Where people are comes from `--detector` or `--detfile`, see `common.media.detectors`. `outdir` receives
alphapose-results.json, see `people_json`; vis/ with pictures (--save_img); AlphaPose_<name>.mp4 (--save_video). A frame
of a film is named by its place: 0.jpg, 1.jpg. Frames are read, and people detected, some frames ahead; nothing grows
with the length of a film.

Ctrl-C ends after the frame at hand, with all files whole; a second one ends at once.
"""

import contextlib
import itertools
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import common.device
from AlphaPose import weights
from AlphaPose.config import DEFAULT_CFG, flag
from AlphaPose.inference import estimator, open_session, recipe_of, rule_of
from AlphaPose.people_json import RESULT_FILE, People, PeopleWriter
from AlphaPose.pose_finding import PoseFinder, detect, follow
from common import cli
from common.cli import UserError
from common.device import AmpLevel, DeviceName
from common.media import drawing
from common.media.demo_parts import Clock, stop_on_signals, writable
from common.media.detection_file import DetectionFile
from common.media.detectors import Detector, open_detector
from common.media.source import Frame, Image, Source, open_source, read_ahead
from common.media.tracking import Tracker
from common.media.writers import FilmWriter, PictureWriter, Window, output_folder
from common.runtime.session import Options, Provider
from common.skeleton import Skeleton, load

import cv2

DRAWN_ABOVE = 0.4  # score of keypoints that are drawn (spec A2.5)
BOX_COLOUR = (0, 200, 255)
NO_CAMERA, CPU_ONLY = -1, "-1"
SOURCE_FLAGS = "--image, --indir, --list, --video and --webcam"


@dataclass(frozen=True)
class Config:
    """Finds people in pictures, films and cameras, with a network of AlphaPose."""

    cfg: str = flag("recipe file; what a checkpoint says of its own network stands above it", DEFAULT_CFG)
    checkpoint: str = flag("a file (.pth, or exported: .onnx, .xml, .om) or a published name", "")
    image: str = flag("a picture", "")
    indir: str = flag("a folder of pictures; with --list the folder of its names", "")
    list_file: str = flag("a file with the name of a picture in each line", "")
    video: str = flag("a film", "")
    webcam: int = flag("number of a camera", NO_CAMERA, least=-1)
    detector: str = flag("of torchvision, as fasterrcnn_resnet50_fpn; empty: the whole picture is one box", "")
    detfile: str = flag("boxes in place of a detector: JSON, or people.jsonl of Lightweight OpenPose's demo", "")
    min_score: float | None = flag("detected boxes below it are not taken; empty: as suits the detector", None)
    max_overlap: float = flag("boxes that share more with a surer one are not taken", 0.6)
    outdir: str = flag("folder for everything that is written", "examples/res/")
    save_img: bool = flag("write pictures with people drawn on them into vis/", False)
    save_video: bool = flag("write a film with people drawn on it", False)
    vis: bool = flag("show frames in a window: P pauses, Escape or Q ends", False)
    showbox: bool = flag("draw the boxes too", False)
    format: Literal["default", "coco", "cmu", "open"] = flag("of alphapose-results.json", "default")
    numbered_images: bool = flag("image_id is the number that ends a picture's name", False)
    min_box_area: float = flag("smaller people are left out, square pixels", 0.0)
    detbatch: int = flag("frames that a detector sees at once; a camera: 1", 5, least=1, most=10**6)
    posebatch: int = flag("people that the network sees at once", 80, least=1, most=10**6)
    qsize: int = flag("frames that may wait for the network", 16, least=1, most=10**6)
    flip: bool = flag("mean of a person's maps and the mirror image's", False)
    pose_track: bool = flag("people keep their ids from frame to frame", False)
    max_missed: int = flag("frames for which a person may be lost and keep the id", 10)
    gpus: str = flag("number of the device; -1: the CPU", "0")
    device: DeviceName = flag("where to compute", "auto")
    provider: Provider = flag("of ONNX Runtime, for an .onnx; auto: that of the device", "auto")
    amp: AmpLevel = flag("precision level", "O0")
    skeleton: str = flag("built-in name or YAML file of one's own keypoints; empty: the checkpoint's, or coco", "")
    max_frames: int = flag("end after so many frames; 0: all", 0)
    on_bad_image: Literal["error", "skip"] = flag("an unreadable picture: stop, or leave it out and count", "error")

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        if not self.checkpoint:
            raise UserError("--checkpoint is needed: a file, or a published name such as fast_res50_256x192.pth")
        if not self.gpus.split(",")[0].removeprefix("-").isdecimal():
            raise UserError(f"--gpus={self.gpus}: the number of a device, or -1 for the CPU")

    @property
    def options(self) -> Options:
        """Where the network computes."""
        first = self.gpus.split(",")[0]
        name: DeviceName = "cpu" if first == CPU_ONLY else self.device
        dtype = common.device.amp_type(common.device.resolve(name, max(0, int(first))), self.amp, "auto")
        return Options(name, max(0, int(first)), self.provider, dtype)


ALIASES = {"list": "list_file", "eval": "numbered_images", "checkpoint_path": "checkpoint", "output_dir": "outdir",
           "batch": "posebatch", "flip_test": "flip", "show": "vis", "pose_flow": "pose_track"}  # fmt: skip
RETIRED = {
    "sp": "the parts of the demo run in threads of one process",
    "profile": "where the time went is said at the end",
    "vis_fast": "drawing is fast",
    "debug": "errors are one line, `python -X dev` shows more",
}


def find_source(config: Config, boxes: DetectionFile | None) -> Source:
    """The pictures, film or camera of the flags; without any, the pictures that the detection file names."""
    listed = bool(config.list_file)
    given = [config.image, listed or config.indir, config.video, config.webcam != NO_CAMERA]
    if sum(map(bool, given)) > 1:
        raise UserError(f"give one of {SOURCE_FLAGS}")
    if listed:
        return open_source(_listed(Path(config.list_file), Path(config.indir)), config.on_bad_image)
    if not any(given):
        if boxes is None:
            raise UserError(f"give one of {SOURCE_FLAGS}, or --detfile with the names of pictures")
        return Source(boxes.pictures(), on_bad=config.on_bad_image)
    if config.webcam != NO_CAMERA:
        return open_source(config.webcam)
    return open_source(Path(config.image or config.indir or config.video), config.on_bad_image)


def _listed(path: Path, folder: Path) -> list[Path]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--list={path}: not a text file with the name of a picture in each line ({error})") from error
    names = [folder / line.strip() for line in lines if line.strip()]
    if not names:
        raise UserError(f"--list={path}: names no picture")
    return names


class Outputs:
    """What a run leaves behind: alphapose-results.json, pictures, a film, and what it shows."""

    def __init__(self, config: Config, source: Source, skeleton: Skeleton, stack: contextlib.ExitStack) -> None:
        self.config, self.source, self.skeleton, self.stack = config, source, skeleton, stack
        self.window = stack.enter_context(Window("people")) if config.vis else None
        self.folder = output_folder(Path(config.outdir), source)
        self.people: PeopleWriter | None = None  # from the first frame on: a wrong command spares an earlier result
        self.pictures = PictureWriter(self._pictures_folder()) if config.save_img else None
        self.film, self.num_people = None, 0
        if source.moves and config.save_video:
            name = f"webcam{source.capture}" if source.live else Path(str(source.capture)).stem
            self.film = stack.enter_context(FilmWriter(self.folder / f"AlphaPose_{name}.mp4", source.rate_hz))

    def _pictures_folder(self) -> Path:
        return output_folder(self.folder / "vis", self.source)

    def write(self, frame: Frame, people: People) -> bool:
        """Writes and shows one frame; False where the person at the window wants to end."""
        if self.people is None:
            writer = PeopleWriter(self.folder, self.config.format, self.config.numbered_images)
            self.people = self.stack.enter_context(writer)
        name = f"{frame.index}.jpg" if self.source.moves else frame.name
        self.people.write(name, people)
        self.num_people += len(people.scores)
        if not (self.film or self.pictures or self.window):
            return True
        drawn = draw(frame.image, people, self.skeleton, self.config.showbox)
        if self.film:
            self.film.write(drawn, frame.time_s if self.source.live else None)
        if self.pictures:
            self.pictures.write(drawn, name)
        return self.window is None or self.window.show(drawn, wait_ms=1 if self.source.moves else 0)


def draw(image: Image, people: People, skeleton: Skeleton, boxes: bool = False) -> Image:
    """A new picture with the people on it, the numbers of those who have one, and their boxes where wanted."""
    ids = [int(name) if isinstance(name, int) else None for name in people.ids]
    drawn = drawing.draw_people(image, people.keypoints_img, skeleton, ids, DRAWN_ABOVE)
    for left, top, right, bottom in people.boxes_img.round().astype(int).tolist() if boxes else ():
        cv2.rectangle(drawn, (left, top), (right, bottom), BOX_COLOUR, 2)
    return drawn


def run(config: Config, source: Source, skeleton: Skeleton, detector: Detector, find: PoseFinder) -> int:
    """Takes the frames of `source` through detector, network and outputs; returns how many.

    Files of an earlier run are overwritten. Raises UserError for frames that cannot be read, and results that cannot be
    written.
    """
    clock, done, speed = Clock(), 0, ""
    tracker = Tracker(skeleton, smooth=False, max_missed=config.max_missed, sigmas=skeleton.sigmas)
    size, waiting = (1, 1) if source.live else (config.detbatch, max(1, config.qsize // config.detbatch))
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        stack.enter_context(writable(config.outdir, "--outdir"))
        outputs = Outputs(config, source, skeleton, stack)
        detected = read_ahead(detect(_frames(source, config.max_frames), detector, size), waiting)
        groups = stack.enter_context(contextlib.closing(detected))
        for seen in clock.waiting(groups, "read and detect"):
            with clock.part("poses"):
                found = find(seen)
            for frame, people in zip(seen.frames, found, strict=True):
                if config.pose_track and source.moves:
                    people = follow(tracker, people, frame.time_s)
                with clock.part("draw and write"):
                    wanted = outputs.write(frame, people)
                done, clock.frames = done + 1, clock.frames + 1
                if stop.is_set() or not wanted:
                    break
            if stop.is_set() or not wanted:
                break
            if not speed:
                speed = clock.summary()
                clock.restart()
        _report(done, clock.summary() if clock.frames else speed, source, outputs, stop.is_set())
    return done


def _frames(source: Source, count: int) -> Generator[Frame, None, None]:
    """The first `count` frames, 0: all."""
    with contextlib.closing(source.frames()) as frames:
        yield from itertools.islice(frames, count or None)


def _report(done: int, speed: str, source: Source, outputs: Outputs, stopped: bool) -> None:
    """What the run did, for the person at the keyboard."""
    what = "frames" if source.moves else "pictures"
    skipped = f", {len(source.bad)} skipped as unreadable" if source.bad else ""
    early = ", stopped early" if stopped else ""
    where = outputs.folder / RESULT_FILE
    print(f"{done} {what}, {outputs.num_people} people{skipped}{early}: {where}", flush=True)  # noqa: T201
    print(speed, flush=True)  # noqa: T201


def load_finder(config: Config) -> tuple[PoseFinder, Skeleton]:
    """The network of `--checkpoint` on the device, and its skeleton. Raises UserError where it is missing."""
    source = weights.locate(config.checkpoint)
    own = {"skeleton": config.skeleton} if config.skeleton else {}
    recipe = recipe_of(config.cfg, source, flip_test=config.flip, **own)
    skeleton = load(recipe.skeleton)
    session = open_session(source, config.options, recipe, skeleton)
    network = estimator(session, rule_of(recipe), skeleton)
    return PoseFinder(network, config.posebatch, config.min_box_area), skeleton


def has_source(config: Config) -> bool:
    """Whether the flags say where pictures come from."""
    named_ones = (config.image, config.indir, config.list_file, config.video, config.detfile)
    return any(named_ones) or config.webcam != NO_CAMERA


def find_people(config: Config) -> int:
    """Does what the flags say; returns the number of frames. Raises UserError, see `run`."""
    boxes = DetectionFile(config.detfile, config.min_score or 0.0) if config.detfile else None
    source = find_source(config, boxes)
    if boxes is not None:
        boxes.check(source)
    find, skeleton = load_finder(config)
    device = common.device.resolve(config.options.device, config.options.device_id)
    detector = boxes or open_detector(config.detector, config.min_score, config.max_overlap, device)
    return run(config, source, skeleton, detector, find)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    config = cli.parse(Config, {}, argv, ALIASES, RETIRED)
    config.check()
    find_people(config)


if __name__ == "__main__":
    cli.run(main)
