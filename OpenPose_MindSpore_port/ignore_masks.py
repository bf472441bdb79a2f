# SPDX-License-Identifier: Apache-2.0
"""Which people of a COCO annotation file are learned, and the masks of the others, which are excluded from the loss.

A mask is a PNG, written by `gen_ignore_mask.py` or by training where there is none. An image in which all people are
learned has no file.
"""

import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import common.coco.reader
from common import files
from common.arrays import BoolArray, UInt8Array
from common.cli import UserError
from common.coco.annotations import CocoIndex, compressed_region
from OpenPose_MindSpore_port.config import Config, LabelRules, located

import cv2
import numpy as np
from faster_coco_eval.core import mask as coco_mask

MASKED = 255
SHORTEST_POLYGON = 6  # numbers: three corners
MASK_FOLDER = "ignore_mask_train"


def learned(index: CocoIndex, rules: LabelRules) -> BoolArray:
    """(P,) which people are learned: enough labelled keypoints, a large enough area, a box, no crowd."""
    enough = (index.num_keypoints >= rules.min_keypoints) & (index.keypoints[..., 2] > 0).any(axis=1)
    has_box = (index.boxes[:, 2:] > 0).all(axis=1)
    return np.asarray(enough & has_box & (index.areas > rules.min_area) & ~index.is_crowd)


def load_learned(annotation_file: str | Path, rules: LabelRules, num_keypoints: int | None = None) -> CocoIndex:
    """The images to train on, sorted by id, with their learned people.

    `num_keypoints`: how many the skeleton has; None: as many as the file has. Raises UserError where the file is wrong
    or no person can be learned.
    """
    index = common.coco.reader.load(annotation_file, num_keypoints)
    keep = learned(index, rules)
    rows = np.unique(index.image_rows(np.flatnonzero(keep)))
    if not len(rows):
        raise UserError(
            f"{annotation_file}: no person with {rules.min_keypoints} keypoints (--min_keypoints) and an area of more "
            f"than {rules.min_area:g} px (--min_area)"
        )
    return index.select(rows[np.argsort(index.image_ids[rows])], keep)


def mask_path(folder: Path, image_id: int) -> Path:
    """The file of an image's mask."""
    return folder / f"{image_id:012d}.png"


def read(folder: Path, image_id: int, size_img: tuple[int, ...]) -> UInt8Array | None:
    """(h, w) uint8, 255 where people are not learned, original pixels; None where there is no file: no such people.

    `size_img`: (height, width) of the image. Raises UserError where the file is damaged or of another size.
    """
    path = mask_path(folder, image_id)
    if not path.exists():
        return None
    content = np.frombuffer(files.read_bytes(path), np.uint8)
    mask = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE) if content.size else None
    if mask is None or mask.shape != size_img:
        found = "damaged" if mask is None else f"{mask.shape[1]} x {mask.shape[0]} pixels"
        size = f"{size_img[1]} x {size_img[0]}"
        raise UserError(f"{path}: {found}, the image has {size}; write it again: python gen_ignore_mask.py")
    return mask  # type: ignore[return-value]


def mask_folder(config: Config, annotations: Path) -> Path:
    """The folder of ignore masks: filled if missing or empty, in output_dir if data_dir is read-only.

    Raises UserError where --maskpath_train is not there.
    """
    if config.maskpath_train:
        return located(config.data_dir, config.maskpath_train, "--maskpath_train")
    of_data = Path(config.data_dir) / MASK_FOLDER
    # a name of its own for each data set in a shared output folder
    own = Path(config.output_dir) / f"{MASK_FOLDER}_{zlib.crc32(str(annotations.resolve()).encode()):08x}"
    filled = (folder for folder in (of_data, own) if folder.is_dir() and any(folder.iterdir()))
    if found := next(filled, None):  # with an empty folder a training would learn from what is to be masked
        return found
    folder = of_data if os.access(config.data_dir, os.W_OK) else own
    write(annotations, folder, config)
    return folder


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
    if not count:  # an empty folder would be filled again by every rank, all at once
        (growing / "all_people_are_learned").touch()
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
