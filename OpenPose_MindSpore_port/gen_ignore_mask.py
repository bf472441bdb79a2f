# SPDX-License-Identifier: Apache-2.0
"""Writes the ignore masks that training needs: masks of people who are not learned.

python gen_ignore_mask.py --train_ann <annotations>/person_keypoints_train2017.json \
    --val_ann <annotations>/person_keypoints_val2017.json --train_dir train2017 --val_dir val2017

Masks go to `ignore_mask_train` and `ignore_mask_val` beside the image folders.
"""

from dataclasses import dataclass
from pathlib import Path

import common.coco.images
from common import cli
from common.cli import UserError
from OpenPose_MindSpore_port.config import DATA_FOLDER, LabelRules, located
from OpenPose_MindSpore_port.ignore_masks import write

RETIRED = {"vis": "masks are images themselves: open the PNG"}


@dataclass(frozen=True)
class Config(LabelRules):
    """Writes the ignore masks of a COCO data set."""

    data_dir: str = cli.flag("COCO folder, or `mini`; empty: COCO_HOME or ./dataset", "")
    train_ann: str = cli.flag(
        "annotations of the training images: a path, or a name in data_dir/annotations; empty: not these",
        "person_keypoints_train2017.json",
    )
    val_ann: str = cli.flag("annotations of the validation images; empty: not these", "person_keypoints_val2017.json")
    train_dir: str = cli.flag("folder of the training images, in data_dir or a path of its own", "train2017")
    val_dir: str = cli.flag("folder of the validation images", "val2017")
    output_dir: str = cli.flag("folder for ignore_mask_train and ignore_mask_val; empty: that of the image folder", "")


def main(argv: list[str] | None = None) -> None:
    """The command of this file."""
    config = cli.parse(Config, {}, argv, aliases={"data_path": "data_dir"}, retired=RETIRED)
    data_dir = common.coco.images.data_folder(config.data_dir, str(DATA_FOLDER), DATA_FOLDER)
    if not config.train_ann and not config.val_ann:
        raise UserError("--train_ann and --val_ann are both empty: name an annotation file")
    for split, ann, images in (("train", config.train_ann, config.train_dir), ("val", config.val_ann, config.val_dir)):
        if ann:
            annotation_file = located(data_dir / "annotations", ann, f"--{split}_ann")
            beside = config.output_dir or located(data_dir, images, f"--{split}_dir").parent
            folder = Path(beside) / f"ignore_mask_{split}"
            print(f"{folder}: {write(annotation_file, folder, config)} masks")  # noqa: T201  the program's answer


if __name__ == "__main__":
    cli.run(main)
