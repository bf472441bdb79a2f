# SPDX-License-Identifier: Apache-2.0
"""Finds people in pictures, films and cameras: draws them, follows them, and writes where their keypoints are.

    python demo.py --checkpoint_path=model_best.pth --images a.jpg b.jpg
    python demo.py --checkpoint_path=model_best.pth --video film.mp4 --height_size 256 --track 1 --smooth 1 --cpu
    python demo.py --checkpoint_path=model_best.pth --source=folder_or_file_or_camera_number --output_dir=demo_output

`output_dir` receives annotated pictures, or a film (mp4), and `people.jsonl`: one line of JSON a frame, written at
once, so that what is there stays valid whenever the program ends; `common.media.people_json` describes a line.

Ctrl-C ends after the frame at hand, with film and `people.jsonl` whole; a second one ends at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from common import cli
from common.cli import PictureError, UserError
from common.device import DeviceName
from common.media.demo import run
from common.media.demo_parts import Clock, join_images
from common.media.source import Image, open_source
from common.media.tracking import Floats
from common.runtime.session import Options, Provider
from common.skeleton import Skeleton, SkeletonError, load
from common.train import checkpoint
from Lightweight_OpenPose import inference, weights
from Lightweight_OpenPose.config import PUBLISHED, WEIGHT_FOLDERS, flag
from Lightweight_OpenPose.data import PIXEL_MEAN, PIXEL_SCALE
from Lightweight_OpenPose.decode import DEMO_UPSAMPLING, MapGeometry, decode, demo_to_image, warm_up
from Lightweight_OpenPose.model import STRIDE

import cv2
import numpy as np

# A pixel of the enlarged map is STRIDE / DEMO_UPSAMPLING network pixels wide, and its centre lies in their middle: map
# pixel i is network pixel 2 i + 0.5. The original takes 2 i, half a network pixel too far left and up (spec, BUGS 4).
CENTRE_SHIFT = 0.5 - 0.5 * DEMO_UPSAMPLING / STRIDE
LONGEST_ASPECT = 16  # of width and height: what is longer is no picture of people, and would fill the memory


@dataclass(frozen=True)
class Config:
    """Finds people in pictures, films and cameras."""

    checkpoint_path: str = flag("trained weights, or an exported network: .pth, .onnx, .xml, .om", "")
    images: tuple[str, ...] = flag("pictures, with blanks or commas between them", ())
    video: str = flag("a film, or the number of a camera", "")
    source: str = flag("a picture, a folder of pictures, a film, or the number of a camera", "")
    output_dir: str = flag("folder for annotated pictures or the film, and people.jsonl", "demo_output")
    height_size: int = flag("height of the network's input, pixels", 256, least=1, most=4096)
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
        if sum(map(bool, (self.images, self.video, self.source))) != 1:
            raise UserError("give one of --images, --video and --source")


class NetworkEstimator:
    """An Estimator that asks a network, the fast way of the original (spec A8, infer_fast)."""

    def __init__(self, found: inference.Estimator, height_size: int) -> None:
        self.found, self.height_size = found, height_size
        warm_up(found.skeleton, found.rules)

    def __call__(self, image: Image, clock: Clock) -> tuple[Floats, Floats]:
        """See `Estimator`. Raises PictureError for a picture that is much longer than wide, or the other way."""
        height, width = image.shape[:2]
        if max(height, width) > LONGEST_ASPECT * min(height, width):
            raise PictureError(f"{width} x {height} pixels: too narrow a picture; cut it to a usual shape")
        place = inference.frame((height, width), self.height_size)
        with clock.part("network"):
            heatmaps, fields = self.found.maps(fast_input(image, place)[None])
        with clock.part("decode"):
            geometry = MapGeometry.demo((heatmaps.shape[2], heatmaps.shape[3]))
            people = decode(heatmaps[0], fields[0], geometry, self.found.skeleton, self.found.rules)
            points = people.points()
            places = demo_to_image(points[:, :, :2] + CENTRE_SHIFT, STRIDE, place.pad_in, self.height_size / height)
            points[:, :, :2] = np.where(points[:, :, 2:] > 0, places, 0.0)
        return points, people.scores


def fast_input(image: Image, place: inference.Frame) -> inference.Maps:
    """(h, w, 3) uint8 BGR -> (3, H, W) float32 network input: resized bilinearly, then normalised (spec A8)."""
    small = cv2.resize(image, place.scaled_in[::-1], interpolation=cv2.INTER_LINEAR)
    top, left, _, _ = place.pad_in
    padded = np.zeros((3, *place.input_size), np.float32)
    normalised = (small - np.float32(PIXEL_MEAN)) * PIXEL_SCALE
    padded[:, top : top + small.shape[0], left : left + small.shape[1]] = normalised.transpose(2, 0, 1)
    return padded


def load_estimator(config: Config, skeleton: Skeleton) -> NetworkEstimator:
    """The network of `--checkpoint_path` on the device, ready to run. Raises UserError where it is missing."""
    if not config.checkpoint_path:
        raise UserError(f"--checkpoint_path is needed: a file, or one of {', '.join(PUBLISHED)}")
    options = Options("cpu" if config.cpu else config.device, provider=config.provider)
    source = checkpoint.locate(config.checkpoint_path, PUBLISHED, WEIGHT_FOLDERS)
    session = weights.open_session(source, options, skeleton)
    return NetworkEstimator(inference.Estimator(session, skeleton), config.height_size)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    config = cli.parse(Config, {}, argv, prepare=join_images)
    config.check()
    try:
        skeleton = load(config.skeleton)
    except SkeletonError as error:
        raise UserError(f"--skeleton: {error}") from error
    source = open_source(config.images or config.video or config.source, config.on_bad_image)
    run(config, source, skeleton, load_estimator(config, skeleton))


if __name__ == "__main__":
    cli.run(main)
