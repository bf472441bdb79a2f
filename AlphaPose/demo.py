# SPDX-License-Identifier: Apache-2.0
"""Finds people in images, videos and cameras, one network pass a person: draws them, and writes their keypoints.

    python -m AlphaPose.demo --checkpoint=fast_res50_256x192.pth --indir=images --save_img
    python -m AlphaPose.demo --checkpoint=pose.onnx --video=video.mp4 --save_video --pose_track --format=cmu
    python -m AlphaPose.demo --checkpoint=pose.pth --image=a.jpg --detfile=boxes.json

`outdir` receives people.jsonl (`common.people`) and alphapose-results.json (`people_json`); vis/ with images
(--save_img); AlphaPose_<name>.webm (--save_video).
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import common.cli
import common.device
from AlphaPose.config import DEFAULT_CFG
from AlphaPose.people_json import Form, ResultFile
from AlphaPose.predict import PoseEstimator
from common.cli import flag
from common.device import AmpLevel, DeviceName
from common.media import demo
from common.media.detectors import Detector
from common.media.source import Frame, Source, listed
from common.people import People
from common.runtime.session import Options

Flags = TypeVar("Flags", bound="Config")
CPU_ONLY = -1


@dataclass(frozen=True)
class Config(demo.TopDownFlags):
    """Finds people in images, videos and cameras, with a network of AlphaPose."""

    cfg: str = flag("yaml config; the settings in a checkpoint override it", DEFAULT_CFG)
    list_file: str = flag("a file with the name of an image in each line; --source is then their folder", "")
    output_dir: str = flag("folder for everything that is written", "examples/res/")
    save_img: bool = flag("write images with people drawn on them into vis/", False)
    save_video: bool = flag("write a video with people drawn on it", False)
    threshold: float = flag("least score of a keypoint that is drawn", 0.4)
    track: bool = flag("people keep their ids from frame to frame", False)
    smooth: bool = flag("steady the keypoints of tracked people (one-euro filter)", False)
    format: Form = flag("form of alphapose-results.json", "default")
    numbered_images: bool = flag("image_id is the number that ends an image's name", False)
    min_box_area: float = flag("least area of a person, square pixels", 0.0)
    detbatch: int = flag("frames that a detector sees at once; a camera: 1", 5, least=1, most=10**6)
    flip: bool = flag("mean of a person's maps and the mirror image's", False)
    gpus: tuple[int, ...] = flag("number of the device; -1: the CPU", (0,), least=CPU_ONLY)
    amp: AmpLevel = flag("precision level", "O0")
    skeleton: str = flag("built-in name or YAML file of your own keypoints; empty: the checkpoint's, or coco", "")

    @property
    def device_name(self) -> DeviceName:
        """The device of the flags."""
        return "cpu" if self.cpu or CPU_ONLY in self.gpus else self.device


ALIASES = {
    **demo.ALIASES,
    **dict.fromkeys(("image", "indir", "webcam"), "source"),
    "list": "list_file",
    "outdir": "output_dir",
    "eval": "numbered_images",
    "batch": "posebatch",
    "flip_test": "flip",
    "vis": "show",
    "pose_track": "track",
    "pose_flow": "track",
}
RETIRED = {
    "sp": "the parts of the demo run in threads of one process",
    "profile": "where the time went is logged at the end",
    "vis_fast": "drawing is fast",
    "debug": "errors are one line, `python -X dev` shows more",
    "qsize": "frames are read ahead as memory allows",
}


def parse(kind: type[Flags], argv: Sequence[str] | None = None) -> Flags:
    """The flags, with the images of `--list` in place of its file. Raises UserError."""
    config = common.cli.parse(kind, {}, argv, ALIASES, RETIRED, prepare=demo.prepare)
    config.check()
    if not config.list_file:
        return config
    names = listed(Path(config.list_file), Path(config.source))
    return dataclasses.replace(config, images=tuple(map(str, names)), source="")


def open_estimator(config: Config) -> PoseEstimator:
    """The network of `--checkpoint`. Raises UserError where it is missing."""
    number = max((0, *config.gpus[:1]))
    dtype = common.device.amp_type(common.device.resolve(config.device_name, number), config.amp, "auto")
    options = Options(config.device_name, number, config.provider, dtype)
    estimator = PoseEstimator(config.checkpoint_path, options, None, config.cfg, config.skeleton, config.flip)
    estimator.batch_size, estimator.min_box_area = config.posebatch, config.min_box_area
    return estimator


def run(config: Config, source: Source, detector: Detector, estimator: PoseEstimator) -> None:
    """Takes the frames of `source` through detector, network and outputs."""

    def find(frames: Sequence[Frame]) -> list[People]:
        return estimator.people(frames, detector(frames))

    def writer(folder: Path, source: Source) -> ResultFile:
        return ResultFile(folder, config.format, config.numbered_images, source.moves)

    names = demo.Names("vis", "AlphaPose_{}.webm", (writer,))
    demo.run(config, source, estimator.skeleton, find, config.detbatch, names)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    config = parse(Config, argv)
    run(config, *demo.find_boxes(config), open_estimator(config))


if __name__ == "__main__":
    common.cli.run(main)
