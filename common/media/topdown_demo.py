# SPDX-License-Identifier: Apache-2.0
"""What the demos of top-down models add: where the boxes of people come from.

From `--boxes`, a file (`--detections`, see `common.media.detection_file`) or a detector (`--detector`, see
`common.media.detectors`); without any of these the whole image is one box.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import common.device
from common.arrays import Float64Array
from common.cli import UserError, flag
from common.coco.fields import BOX_NUMBERS
from common.media import demo
from common.media.detection_file import DetectionFile
from common.media.detectors import Boxes, Detector, open_detector
from common.media.source import Frame, Source

import numpy as np

ALIASES = {**demo.ALIASES, "detfile": "detections"}


@dataclass(frozen=True)
class TopDownFlags(demo.DemoFlags):
    """The flags that the demo of every top-down model has."""

    boxes: str = flag("left,top,width,height[;...] in each image, pixels", "")
    detections: str = flag("boxes from a file: JSON, or people.jsonl of another demo", "")
    detector: str = flag("who finds the people: a network of torchvision, such as fasterrcnn_resnet50_fpn", "")
    min_score: float | None = flag("detected boxes below it are not taken; empty: as suits the detector", None)
    max_overlap: float = flag("of a detector's boxes those that share more with a surer one are not taken", 0.6)
    posebatch: int = flag("people that the network sees at once", 80, least=1, most=10**6)

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        super().check()
        if sum(map(bool, (self.boxes, self.detections, self.detector))) > 1:
            raise UserError("give one of --boxes, --detections and --detector")


def find_boxes(flags: TopDownFlags) -> tuple[Source, Detector]:
    """The frames, and who finds the people in them. Raises UserError where one of them is missing or unusable."""
    if flags.detections:
        file = DetectionFile(flags.detections, flags.min_score or 0.0)
        source = demo.find_source(flags, () if flags.images or flags.source else file.images())
        file.check(source)
        return source, file
    source = demo.find_source(flags)
    if flags.boxes:
        return source, FixedBoxes(read_boxes(flags.boxes))
    device = common.device.resolve(flags.device_name)
    return source, open_detector(flags.detector, flags.min_score, flags.max_overlap, device)


class FixedBoxes:
    """A Detector that gives each frame the same boxes."""

    def __init__(self, boxes_img: Float64Array) -> None:
        self.boxes_img = boxes_img

    def __call__(self, frames: Sequence[Frame]) -> list[Boxes]:
        """Raises UserError where a box lies outside of a frame."""
        for frame in frames:
            height, width = frame.image.shape[:2]
            left, top, box_width, box_height = self.boxes_img.T
            outside = (left >= width) | (top >= height) | (left + box_width <= 0) | (top + box_height <= 0)
            if outside.any():
                box = self.boxes_img[outside][0].tolist()
                raise UserError(f"{frame.name}: the box {box} is outside of its {width} x {height}")
        count = len(self.boxes_img)
        return [Boxes(self.boxes_img, np.ones(count), [None] * count) for _ in frames]


def read_boxes(words: str) -> Float64Array:
    """(N, 4) of `--boxes`. Raises UserError."""
    try:
        boxes = [[float(number) for number in box.split(",")] for box in words.split(";") if box.strip()]
        found = np.array(boxes, np.float64).reshape(-1, BOX_NUMBERS)
    except ValueError as error:
        raise UserError(f"--boxes={words}: left,top,width,height[;left,top,width,height...]") from error
    if not (len(found) and np.isfinite(found).all() and (found[:, 2:] > 0).all()):
        raise UserError(f"--boxes={words}: boxes must be finite, with a width and a height above 0")
    return found
