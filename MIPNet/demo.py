# SPDX-License-Identifier: Apache-2.0
"""Finds the people in the boxes of images, videos and cameras: those of each lambda in a colour of their own.

    python demo.py --checkpoint_path=model_best.pth --images a.jpg b.jpg --detections=boxes.json
    python demo.py --checkpoint_path=model_best.pth --images a.jpg --boxes="20,30,200,400;180,40,220,390" --sweep=9
    python demo.py --checkpoint_path=model_best.pth --source=video.mp4 --detector=fasterrcnn_resnet50_fpn

`common.media.detectors` says where the boxes come from, `common.media.demo` what `output_dir` receives; also
`<name>_sweep.png` where `--sweep` asks how the answer changes while lambda goes from 0 to 1.
"""

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.cli
from common.arrays import FloatArray, UInt8Array
from common.cli import UserError, flag
from common.media import demo, drawing
from common.media.detectors import Boxes, Detector
from common.media.drawing import contact_sheet, draw_person, lambda_colour
from common.media.source import Frame
from common.people import People
from common.runtime.session import Options
from common.topdown.nms import CONFIDENT
from MIPNet.config import parse_flags
from MIPNet.predict import LAMBDAS, PoseEstimator

import numpy as np

ALIASES = {**demo.ALIASES, "check_point": "checkpoint_path", "pth_path": "checkpoint_path"}
FLAG_KEYS = {"flip_test": "TEST.FLIP_TEST", "nms": "TEST.NMS", "refinement": "TEST.REFINEMENT"}
SWEPT_BOXES = 6  # rows of a sweep
SWEPT_HEIGHT = 320  # pixels of an image in a sweep
MARGIN = 0.1  # of a box, around it in a sweep


@dataclass(frozen=True)
class Config(demo.TopDownFlags):
    """Finds the people in the boxes of images, videos and cameras. KEY VALUE words change the yaml config.

    Flags for keys: --flip_test, --nms, --refinement, as of MIPNet.eval. KEY VALUE words come before --images.
    """

    cfg: str = flag("yaml config; empty: that of the checkpoint's training, or w48_384x288_adam_lr1e-3", "")
    lambdas: tuple[float, ...] = flag("lambdas of the people in a box, for a network that takes lambda", LAMBDAS)
    sweep: int = flag("number of lambdas from 0 to 1 for each box of an image, side by side; 0: none", 0, most=101)
    threshold: float = flag("least score of a keypoint that is drawn", CONFIDENT)
    skeleton: str = flag("built-in name or YAML file of your own keypoints; empty: that of the data set", "")
    opts: tuple[Any, ...] = ()  # KEY VALUE words, which override all

    def open_estimator(self, lambdas: Sequence[float]) -> PoseEstimator:
        """The network of `--checkpoint_path`, with these lambdas. Raises UserError where it is missing."""
        options = Options(self.device_name, provider=self.provider)
        return PoseEstimator(self.checkpoint_path, options, None, lambdas, self.cfg, self.opts, self.skeleton)


class Sweep:
    """Writes `<name>_sweep.png`: a row a box, a column a lambda."""

    def __init__(self, folder: Path, estimator: PoseEstimator, detector: Detector, threshold: float) -> None:
        self.folder, self.estimator, self.detector, self.threshold = folder, estimator, detector, threshold

    def write(self, frame: Frame, people: People) -> None:
        """Runs the network for each lambda in the first boxes of a frame."""
        boxes = Boxes(*(values[:SWEPT_BOXES] for values in self.detector([frame])[0]))
        (found,) = self.estimator.find([frame.image], [boxes])
        if len(found):
            rows = [self.row(frame.image, *one) for one in zip(boxes.boxes_img, found, strict=True)]
            sheet = contact_sheet(rows, [f"{value:.2f}" for value in self.estimator.lambdas], SWEPT_HEIGHT)
            drawing.save_png(self.folder / f"{frame.index}_{Path(frame.name).stem}_sweep.png", sheet)

    def row(self, image: UInt8Array, box_img: FloatArray, keypoints_img: FloatArray) -> list[UInt8Array]:
        """The surroundings of a box (4,), once for each lambda: the person that it finds there (lambdas, K, 3)."""
        left, top = np.maximum(box_img[:2] - MARGIN * box_img[2:], 0).astype(int)
        right, bottom = np.minimum(box_img[:2] + (1 + MARGIN) * box_img[2:], image.shape[1::-1]).astype(int)
        row = []
        for lambda_, keypoints in zip(self.estimator.lambdas, keypoints_img, strict=True):
            canvas = image.copy()
            draw_person(canvas, keypoints, self.estimator.skeleton, self.threshold, lambda_colour(lambda_))
            row.append(canvas[top : max(bottom, top + 1), left : max(right, left + 1)])
        return row


def main() -> None:
    """The command line."""
    config = parse_flags(Config, demo.prepare(sys.argv[1:]), ALIASES, FLAG_KEYS)
    config.check()
    source, detector = demo.find_boxes(config)
    estimator = config.open_estimator(config.lambdas)
    estimator.batch_size = config.posebatch
    writers = []
    if config.sweep:
        if not estimator.lambdas:
            raise UserError(f"--sweep: {config.checkpoint_path} takes no lambda")
        if source.moves:
            raise UserError(f"--sweep: {config.source} is a video or camera; give images")
        swept = config.open_estimator(np.linspace(0, 1, config.sweep).tolist())
        writers.append(lambda folder, of: contextlib.nullcontext(Sweep(folder, swept, detector, config.threshold)))

    def find(frames: Sequence[Frame]) -> list[People]:
        return estimator.people(frames, detector(frames))

    demo.run(config, source, estimator.skeleton, find, names=demo.Names(writers=tuple(writers)))


if __name__ == "__main__":
    common.cli.run(main)
