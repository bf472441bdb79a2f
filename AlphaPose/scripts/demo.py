# SPDX-License-Identifier: Apache-2.0
"""The online demo as published: without a source, the first person of the validation images, drawn into ./out.jpg.

    python scripts/demo.py --cfg=configs/coco/resnet/256x192_res50_lr1e-3_1x.yaml --checkpoint=model.pth

The image and the person's box come from DATASET.VAL of --cfg, or from --data_path (a COCO folder, or `mini`). With
--image, --indir, --list, --video, --webcam or --detfile it is `AlphaPose.demo`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import common.media.demo
from AlphaPose import config as settings
from AlphaPose import demo
from AlphaPose.eval import annotated_images, boxes_of
from common import cli
from common.cli import flag
from common.media import topdown_demo
from common.media.detectors import Boxes, clip_boxes
from common.media.source import Frame
from common.media.writers import ImageWriter

RESULT = Path("out.jpg")


@dataclass(frozen=True)
class Config(demo.Config):
    """Finds people in images, videos and cameras, or the first person of the validation images."""

    data_path: str = flag("COCO folder, or `mini` for the embedded data set; empty: DATASET.TRAIN.ROOT of --cfg", "")


def first_person(config: Config, skeleton: str) -> tuple[Frame, Boxes]:
    """The first validation image with people, and the box of its first one. Raises UserError where there is none."""
    run = settings.Config(cfg=config.cfg, data_path=config.data_path, skeleton=skeleton)
    validation = annotated_images(run, "VAL")
    boxes = boxes_of(validation)
    row = int(boxes.image_rows[0])
    frame = Frame(validation.index.file_name(row), 0, 0.0, validation.read(row))
    return frame, clip_boxes(boxes.boxes_img[:1], boxes.scores[:1], frame.image)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    config = cli.parse(Config, {}, argv, demo.ALIASES, demo.RETIRED, prepare=common.media.demo.prepare)
    config.check()
    config = demo.with_list(config)
    if config.source or config.images or config.detections:
        demo.run(config, *topdown_demo.find_boxes(config), demo.open_estimator(config))
        return
    estimator = demo.open_estimator(config)
    frame, box = first_person(config, estimator.config.skeleton)
    (people,) = estimator.people([frame], [box])
    drawn = people.draw(frame.image, config.threshold, config.showbox)
    ImageWriter(RESULT.parent).write(drawn, RESULT.name)
    print(f"{RESULT}: {len(people)} person in {frame.name}")


if __name__ == "__main__":
    cli.run(main)
