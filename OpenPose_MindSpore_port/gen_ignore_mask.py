# SPDX-License-Identifier: Apache-2.0
"""Writes the ignore masks that training needs: masks of people who are not learned.

python gen_ignore_mask.py --train_ann <annotations>/person_keypoints_train2017.json \
    --val_ann <annotations>/person_keypoints_val2017.json --train_dir train2017 --val_dir val2017

Masks go to `ignore_mask_train` and `ignore_mask_val` beside the image folders.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import common.coco.images
import common.coco.reader
from common import cli
from OpenPose_MindSpore_port import ignore_masks
from OpenPose_MindSpore_port.config import DATA_FOLDER, LabelRules, located

import cv2
import numpy as np

TINT = (0, 0, 255)  # BGR of what is masked, in images


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
    vis: bool = cli.flag("also write images with the masks in red, to ignore_mask_*_vis", False)


def main(argv: list[str] | None = None) -> None:
    """The command of this file."""
    config = cli.parse(Config, {}, argv, aliases={"data_path": "data_dir"})
    config = dataclasses.replace(
        config, data_dir=str(common.coco.images.data_folder(config.data_dir, str(DATA_FOLDER), DATA_FOLDER))
    )
    if not config.train_ann and not config.val_ann:
        raise cli.UserError("--train_ann and --val_ann are both empty: name an annotation file")
    for split, ann, images in (("train", config.train_ann, config.train_dir), ("val", config.val_ann, config.val_dir)):
        if ann:
            _write(config, split, ann, images)


def _write(config: Config, split: str, ann: str, images: str) -> None:
    """Where `output_dir` says where masks go, images are needed for --vis alone."""
    annotation_file = located(Path(config.data_dir) / "annotations", ann, f"--{split}_ann")
    needs_images = config.vis or not config.output_dir
    image_folder = located(config.data_dir, images, f"--{split}_dir") if needs_images else Path(images)
    folder = Path(config.output_dir or image_folder.parent) / f"ignore_mask_{split}"
    written, with_people = ignore_masks.write(annotation_file, folder, config)
    print(f"{folder}: {written} masks, for {with_people} images with people")  # noqa: T201  the program's answer
    if config.vis:
        _write_pictures(annotation_file, image_folder, folder)


def _write_pictures(annotation_file: Path, images: Path, folder: Path) -> None:
    pictures = folder.with_name(f"{folder.name}_vis")
    pictures.mkdir(exist_ok=True)
    index = common.coco.reader.load(annotation_file)
    for row, image_id in enumerate(index.image_ids.tolist()):
        image = common.coco.images.read_image(images, index.file_name(row))
        mask = ignore_masks.read(folder, image_id, image.shape[:2])
        if mask is not None:
            image[mask > 0] = image[mask > 0] // 2 + np.array(TINT, np.uint8) // 2
            cv2.imwrite(str(pictures / f"{image_id:012d}.jpg"), image)


if __name__ == "__main__":
    cli.run(main)
