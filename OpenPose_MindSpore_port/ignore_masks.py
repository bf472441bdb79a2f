# SPDX-License-Identifier: Apache-2.0
"""Which people of a COCO annotation file are learned, and the masks of the others, which are excluded from the loss.

A mask is a PNG, written by `gen_ignore_mask.py` or by training where there is none. An image in which all people are
learned has no file.
"""

import os
import zlib
from pathlib import Path

import common.coco.reader
from common import files
from common.arrays import BoolArray, UInt8Array
from common.cli import UserError
from common.coco.annotations import CocoIndex
from OpenPose_MindSpore_port.config import Config, LabelRules, located

import cv2
import numpy as np

MASKED = 255
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
    """The folder of ignore masks: created if missing, in output_dir if data_dir is read-only.

    Raises UserError where --maskpath_train is not there.
    """
    if config.maskpath_train:
        return located(config.data_dir, config.maskpath_train, "--maskpath_train")
    of_data = Path(config.data_dir) / MASK_FOLDER
    # a name of its own for each data set in a shared output folder
    own = Path(config.output_dir) / f"{MASK_FOLDER}_{zlib.crc32(str(annotations.resolve()).encode()):08x}"
    for folder in (of_data, own):
        if folder.is_dir():
            return folder
    from OpenPose_MindSpore_port import gen_ignore_mask  # not needed if there are masks

    folder = of_data if os.access(config.data_dir, os.W_OK) else own
    gen_ignore_mask.write(annotations, folder, config)
    return folder
