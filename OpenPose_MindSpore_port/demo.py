# SPDX-License-Identifier: Apache-2.0
"""Finds people in pictures, films and cameras: draws them, follows them, and writes where their keypoints are.

    python demo.py --checkpoint_path=0-6_30000.ckpt --images a.jpg b.jpg
    python demo.py --checkpoint_path=openpose.onnx --video film.mp4 --track 1 --smooth 1 --cpu
    python demo.py --checkpoint_path=model_best.pth --source=folder_or_file_or_camera_number --output_dir=demo_output

`output_dir` receives annotated pictures, or a film (mp4), and `people.jsonl`: one line of JSON a frame, written at
once, so that what is there stays valid whenever the program ends; `common.media.people_json` describes a line.

Ctrl-C ends after the frame at hand, with film and `people.jsonl` whole; a second one ends at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common import cli
from common.cli import UserError
from common.device import DeviceName
from common.media.demo import run
from common.media.demo_parts import Clock, join_images
from common.media.source import Image, open_source
from common.media.tracking import Floats
from common.runtime.session import Options, Provider
from common.skeleton import Skeleton, SkeletonError, load
from OpenPose_MindSpore_port import inference
from OpenPose_MindSpore_port.config import Inference, flag
from OpenPose_MindSpore_port.decode import warm_up
from OpenPose_MindSpore_port.inference import InputRule, to_input


@dataclass(frozen=True)
class Config(Inference):
    """Finds people in pictures, films and cameras."""

    checkpoint_path: str = flag(
        "trained weights, or an exported network: .ckpt, .pth, .safetensors, .onnx, .xml, .om", ""
    )
    images: tuple[str, ...] = flag("pictures, with blanks or commas between them", ())
    video: str = flag("a film, or the number of a camera", "")
    source: str = flag("a picture, a folder of pictures, a film, or the number of a camera", "")
    output_dir: str = flag("folder for annotated pictures or the film, and people.jsonl", "demo_output")
    original_decode: bool = flag("people as the original finds them: whole pixels, its own thresholds", False)
    track: bool = flag("people keep their ids from frame to frame, in films and from cameras", True)
    smooth: bool = flag("steady the keypoints of tracked people (one-euro filter)", True)
    max_missed: int = flag("frames for which a person may be lost and keep the id", 10)
    cpu: bool = flag("compute on the CPU, the same as --device=cpu", False)
    device: DeviceName = flag("where to compute", "auto")
    provider: Provider = flag("of ONNX Runtime, for an .onnx; auto: that of the device", "auto")
    show: bool = flag("show frames in a window: P pauses, Escape or Q ends", False)
    max_frames: int = flag("end after so many frames; 0: all", 0)
    on_bad_image: Literal["error", "skip"] = flag(
        "an unreadable or too narrow picture: stop, or skip and count", "error"
    )
    skeleton: str = flag("built-in name or YAML file of one's own keypoints", "openpose")

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        sources = [bool(value) for value in (self.images, self.video, self.source)]
        for condition, message in ((sum(sources) == 1, "give one of --images, --video and --source"),):
            if not condition:
                raise UserError(message)


ALIASES = {"model_path": "checkpoint_path", "height_size": "inference_img_size"}


class NetworkEstimator:
    """An Estimator that asks a network, as the evaluation does (spec A7)."""

    def __init__(self, found: inference.Estimator, rule: InputRule) -> None:
        self.found, self.rule = found, rule
        warm_up(found.skeleton, found.rules)

    def __call__(self, image: Image, clock: Clock) -> tuple[Floats, Floats]:
        """See `Estimator`. Raises UserError for a picture that is much longer than wide, or the other way."""
        place = self.rule.frame((image.shape[0], image.shape[1]))
        with clock.part("network"):
            maps = self.found.maps(to_input(image, place)[None])
        with clock.part("decode"):
            (people,) = self.found.people(maps, [place])
        return people.points(), people.scores


def load_estimator(config: Config, skeleton: Skeleton) -> NetworkEstimator:
    """The network of `--checkpoint_path` on the device, ready to run. Raises UserError where it is missing."""
    if not config.checkpoint_path:
        raise UserError("--checkpoint_path is needed: a file, .ckpt, .pth, .safetensors, .onnx, .xml or .om")
    options = Options("cpu" if config.cpu else config.device, provider=config.provider)
    session = inference.open_session(Path(config.checkpoint_path), options, skeleton)
    rules = inference.decode_rules(config, config.original_decode)
    rule = InputRule(config.inference_img_size, session.fixed_size)
    return NetworkEstimator(inference.Estimator(session, skeleton, rules), rule)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    config = cli.parse(Config, {}, argv, ALIASES, prepare=join_images)
    config.check()
    try:
        skeleton = load(config.skeleton)
    except SkeletonError as error:
        raise UserError(f"--skeleton: {error}") from error
    source = open_source(config.images or config.video or config.source, config.on_bad_image)
    run(config, source, skeleton, load_estimator(config, skeleton))


if __name__ == "__main__":
    cli.run(main)
