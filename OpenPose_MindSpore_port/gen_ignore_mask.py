# SPDX-License-Identifier: Apache-2.0
"""Writes the ignore masks that training needs: masks of people who are not learned.

python gen_ignore_mask.py --train_ann <annotations>/person_keypoints_train2017.json \
    --val_ann <annotations>/person_keypoints_val2017.json --train_dir train2017 --val_dir val2017

Masks go to `ignore_mask_train` and `ignore_mask_val` beside the image folders.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.coco.images
import common.coco.reader
from common import cli, files
from common.arrays import UInt8Array
from common.cli import UserError
from common.coco.annotations import CocoIndex, compressed_region
from OpenPose_MindSpore_port.config import DATA_FOLDER, LabelRules, located
from OpenPose_MindSpore_port.ignore_masks import MASKED, learned, mask_path

import cv2
import numpy as np
from faster_coco_eval.core import mask as coco_mask

SHORTEST_POLYGON = 6  # numbers: three corners
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


def write(annotation_file: str | Path, folder: Path, rules: LabelRules) -> int:
    """Writes the masks of an annotation file, all or none, in place of a folder of older ones; returns how many.

    Raises UserError where the annotations are wrong, OSError where the folder cannot be written.
    """
    index, count = common.coco.reader.load(annotation_file), 0
    files.remove_unfinished(folder.parent)
    growing = files.unfinished_name(folder)
    growing.mkdir(parents=True)
    for image_id, mask in masks(annotation_file, index, rules):
        content = cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_BILEVEL, 1])[1]
        mask_path(growing, image_id).write_bytes(content.tobytes())
        count += 1
    if folder.is_dir():
        shutil.rmtree(folder)
    growing.replace(folder)
    return count


def masks(annotation_file: str | Path, index: CocoIndex, rules: LabelRules) -> Iterator[tuple[int, UInt8Array]]:
    """Image id and mask, (h, w) uint8 of 0 and 255, of each image that has one; `index` is that of the file.

    Annotations are taken in the file's order. A crowd is masked except where earlier people are; a person who is not
    learned is masked completely, even where a learned one is in front.
    """
    keep, people = learned(index, rules), files.read_json(annotation_file)["annotations"]
    for image in np.unique(index.image_rows(np.flatnonzero(~keep))).tolist():
        size: list[int] = index.image_sizes[image].tolist()
        mask, occupied = np.zeros((2, *size), np.uint8)
        rows = range(*index.people(image).indices(len(keep)))
        for row in rows if index.is_crowd[rows].any() else [row for row in rows if not keep[row]]:
            try:
                inside = _inside(people[index.file_positions[row]].get("segmentation"), index.boxes[row].tolist(), size)
            except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
                place = f"{annotation_file}: segmentation of annotation {index.annotation_ids[row]}"
                raise UserError(f"{place}: {error}. `python -m common.coco DATA_PATH` lists all faults") from error
            mask |= inside & ~occupied if index.is_crowd[row] else inside * np.uint8(not keep[row])
            occupied |= inside
        if mask.any():
            yield int(index.image_ids[image]), mask * np.uint8(MASKED)


def _inside(segmentation: Any, box: list[float], size: list[int]) -> UInt8Array:
    """(h, w) uint8, 1 inside a person's silhouette, or in the box where there is none."""
    if not (segmentation and isinstance(segmentation, list)):
        return coco_mask.decode({"size": size, "counts": compressed_region(segmentation, box, *size)})
    if min(map(len, segmentation)) < SHORTEST_POLYGON or not np.isfinite(np.concatenate(segmentation)).all():
        raise ValueError("a polygon is not a list x, y, x, y, x, y...")
    moved = [np.clip(np.reshape(polygon, (-1, 2)), 0, size[::-1]).ravel().tolist() for polygon in segmentation]
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(moved, *size)))


if __name__ == "__main__":
    cli.run(main)
