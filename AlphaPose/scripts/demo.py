# SPDX-License-Identifier: Apache-2.0
"""The online demo as published: without a source, the first person of the validation images, drawn into ./out.jpg.

    python scripts/demo.py --cfg=configs/coco/resnet/256x192_res50_lr1e-3_1x.yaml --checkpoint=model.pth

The picture and the person's box come from DATASET.VAL of --cfg, or from --data_path (a COCO folder, or `mini`). With
--image, --indir, --list, --video, --webcam or --detfile it is `AlphaPose.demo`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import common.coco.mini.dataset
from AlphaPose import demo, recipe_file
from AlphaPose.config import Config as Recipe
from AlphaPose.config import flag
from AlphaPose.evaluation import boxes_of, load_validation
from AlphaPose.pose_finding import Seen
from common import cli
from common.media.detectors import sound
from common.media.source import Frame
from common.media.writers import PictureWriter
from common.skeleton import Skeleton

RESULT = Path("out.jpg")


@dataclass(frozen=True)
class Config(demo.Config):
    """Finds people in pictures, films and cameras, or the first person of the validation images."""

    data_path: str = flag("COCO folder, or `mini` for the embedded data set; empty: DATASET.TRAIN.ROOT of --cfg", "")


def first_person(config: Config, skeleton: Skeleton) -> Seen:
    """The first validation image with people, and the box of its first one. Raises UserError where there is none."""
    recipe = Recipe(**{**recipe_file.read(config.cfg), "cfg": config.cfg})
    root = common.coco.mini.dataset.resolve(config.data_path, recipe.data_root)
    given = Recipe(data_path=str(root), val_labels=recipe.val_labels, val_images_folder=recipe.val_images_folder)
    validation = load_validation(given, skeleton, 0)
    boxes = boxes_of(validation, None)
    row = int(boxes.image_rows[0])
    frame = Frame(validation.index.file_name(row), 0, 0.0, validation.read(row))
    return Seen([frame], [sound(boxes.boxes_img[:1], boxes.scores[:1], frame.image)])


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    config = cli.parse(Config, {}, argv, demo.ALIASES, demo.RETIRED)
    config.check()
    if demo.has_source(config):
        demo.find_people(config)
        return
    find, skeleton = demo.load_finder(config)
    seen = first_person(config, skeleton)
    (people,) = find(seen)
    PictureWriter(RESULT.parent).write(demo.draw(seen.frames[0].image, people, skeleton, config.showbox), RESULT.name)
    print(f"{RESULT}: {len(people.scores)} person in {seen.frames[0].name}")


if __name__ == "__main__":
    cli.run(main)
