# SPDX-License-Identifier: Apache-2.0
"""What the demos of top-down models add: where the boxes of people come from.

From `--boxes`, a file (`--detections`, see `common.media.detection_file`) or a detector (`--detector`, see
`common.media.detectors`); without any of these the whole image is one box.
"""

from dataclasses import dataclass

import common.device
from common.cli import UserError, flag
from common.media import demo
from common.media.detection_file import DetectionFile
from common.media.detectors import Detector, fixed_boxes, open_detector
from common.media.source import Source

ALIASES = {**demo.ALIASES, "detfile": "detections"}


@dataclass(frozen=True)
class TopDownFlags(demo.DemoFlags):
    """The flags that the demo of every top-down model has."""

    boxes: str = flag("left,top,width,height[;...] in each image, pixels", "")
    detections: str = flag("boxes from a file: JSON, or people.jsonl of another demo", "")
    detector: str = flag("detector of people: a network of torchvision, such as fasterrcnn_resnet50_fpn", "")
    min_score: float | None = flag("detected boxes below it are not taken; empty: as suits the detector", None)
    posebatch: int = flag("people that the network sees at once", 80, least=1, most=10**6)

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        super().check()
        if sum(map(bool, (self.boxes, self.detections, self.detector))) > 1:
            raise UserError("give one of --boxes, --detections and --detector")


def find_boxes(flags: TopDownFlags) -> tuple[Source, Detector]:
    """The frames, and the detector of people in them. Raises UserError where one of them is missing or unusable."""
    if flags.detections:
        file = DetectionFile(flags.detections, flags.min_score or 0.0)
        source = demo.find_source(flags, () if flags.images or flags.source else file.images())
        file.check(source)
        return source, file
    source = demo.find_source(flags)
    if flags.boxes:
        return source, fixed_boxes(flags.boxes)
    device = common.device.resolve(flags.device_name)
    return source, open_detector(flags.detector, flags.min_score, device)
