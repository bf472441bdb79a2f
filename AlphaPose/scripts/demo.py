# SPDX-License-Identifier: Apache-2.0
"""The online demo as published: without a source, the first person of the validation images, drawn into ./out.jpg.

    python scripts/demo.py --cfg=configs/coco/resnet/256x192_res50_lr1e-3_1x.yaml --checkpoint=model.pth

The image and the person's box come from DATASET.VAL of --cfg, or from --data_path (a COCO folder, or `mini`). With
--image, --indir, --list, --video, --webcam or --detfile it is `AlphaPose.demo`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import common.cli
from AlphaPose import config as settings
from AlphaPose import demo
from AlphaPose.eval import annotated_images
from common.cli import flag
from common.media.writers import ImageWriter
from common.topdown import boxes

RESULT = Path("out.jpg")


@dataclass(frozen=True)
class Config(demo.Config):
    """Finds people in images, videos and cameras, or the first person of the validation images."""

    data_path: str = flag("COCO folder, or `mini` for the embedded data set; empty: DATASET.TRAIN.ROOT of --cfg", "")


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    config = demo.parse(Config, argv)
    if config.source or config.images or config.detections:
        demo.run(config, *common.media.demo.find_boxes(config), demo.open_estimator(config))
        return
    estimator = demo.open_estimator(config)
    data = settings.Config(cfg=config.cfg, data_path=config.data_path, skeleton=estimator.config.skeleton)
    validation = annotated_images(data, "VAL")
    given = boxes.annotated(validation)
    row = int(given.image_rows[0])
    image = validation.read(row)
    people = estimator(image, given.boxes_img[:1])
    ImageWriter(RESULT.parent).write(people.draw(image, config.threshold, config.showbox), RESULT.name)
    print(f"{RESULT}: {len(people)} person in {validation.index.file_name(row)}")


if __name__ == "__main__":
    common.cli.run(main)
