# SPDX-License-Identifier: Apache-2.0
"""Who of a COCO annotation file is learned, and the masks of the others, which are excluded from the loss.

A mask is a PNG, written by `gen_ignore_mask.py` or by training where there is none. An image of which everybody is
learned has no file.
"""

import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import common.coco.images
import common.coco.reader
from common import files
from common.arrays import BoolArray, Int32Array, UInt8Array
from common.cli import UserError
from common.coco import annotations
from common.coco.annotations import CocoIndex
from OpenPose_MindSpore_port.config import Config, LabelRules, located

import cv2
import numpy as np

MASKED = 255
MASK_FOLDER = "ignore_mask_train"
EVERYBODY_WRITES = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
CURE = "write it again: python gen_ignore_mask.py"


def learned(index: CocoIndex, rules: LabelRules) -> BoolArray:
    """(P,) who of an index is learned: enough labelled keypoints, a large enough area, a box, no crowd."""
    enough = (index.num_keypoints >= rules.min_keypoints) & (index.keypoints[..., 2] > 0).any(axis=1)
    has_box = (index.boxes[:, 2:] > 0).all(axis=1)
    return np.asarray(enough & has_box & (index.areas > rules.min_area) & ~index.is_crowd)


@dataclass(frozen=True)
class TrainLabels:
    """The images to train on, sorted by id, with those of their people who are learned."""

    index: CocoIndex
    masked: BoolArray  # (I,) which images have other people, too: an ignore mask says where

    def __len__(self) -> int:
        return self.index.num_images


def build_labels(annotation_file: str | Path, rules: LabelRules, num_keypoints: int | None = None) -> TrainLabels:
    """The labels of an annotation file. `num_keypoints`: how many the skeleton has; None: as many as the file has.

    Raises UserError where the file is wrong or nobody can be learned.
    """
    index = common.coco.reader.load(annotation_file, num_keypoints)
    keep = learned(index, rules)
    rows = np.unique(index.image_rows(np.flatnonzero(keep)))
    rows = rows[np.argsort(index.image_ids[rows])]
    if not len(rows):
        raise UserError(
            f"{annotation_file}: no person with {rules.min_keypoints} keypoints (--min_keypoints) and an area of more "
            f"than {rules.min_area:g} px (--min_area)"
        )
    others = np.bincount(index.image_rows(np.flatnonzero(~keep)), minlength=index.num_images)
    return TrainLabels(index.select(rows, keep), others[rows] > 0)


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
    if mask is None:
        raise UserError(f"{path}: cut short, damaged or no image ({content.size} bytes); {CURE}")
    if mask.shape != size_img:
        raise UserError(f"{path}: of {_words(mask.shape)} pixels, the image has {_words(size_img)}; {CURE}")
    return mask  # type: ignore[return-value]


def _words(size: tuple[int, ...]) -> str:
    return f"{size[1]} x {size[0]}"


def write(annotation_file: str | Path, folder: Path, rules: LabelRules) -> tuple[int, int]:
    """Writes the masks of an annotation file, and removes those that it does not give.

    Returns how many images have a mask, and how many have people. Raises UserError where the annotations are wrong or
    the folder cannot be written.
    """
    index = common.coco.reader.load(annotation_file)
    with_people = np.flatnonzero(np.diff(index.person_offsets))
    written = set[int]()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for image_id, mask in masks(annotation_file, index, rules):
            _write(mask_path(folder, image_id), mask)
            written.add(image_id)
        for image_id in set(index.image_ids[with_people].tolist()) - written:
            mask_path(folder, image_id).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; free space or name another folder (--output_dir)") from error
    return len(written), len(with_people)


def _write(path: Path, mask: UInt8Array) -> None:
    """One bit a pixel, whole or not at all; not synchronised with the disk: there are 64,000 of COCO."""
    growing = files.unfinished_name(path)
    growing.write_bytes(cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes())
    growing.replace(path)


def masks(annotation_file: str | Path, index: CocoIndex, rules: LabelRules) -> Iterator[tuple[int, UInt8Array]]:
    """Image id and mask, (h, w) uint8 of 0 and 255, of each image that has one; `index` is that of the file.

    Annotations are taken in the file's order. A crowd is masked but where people before it are; somebody who is not
    learned is masked altogether, also where somebody who is learned stands in front.
    """
    keep = learned(index, rules)
    images = index.image_rows(np.arange(len(keep)))
    regions = _regions(annotation_file, index, ~keep | np.isin(images, images[index.is_crowd]))
    for image in np.unique(images[~keep]).tolist():
        height, width = index.image_sizes[image].tolist()
        mask, occupied = np.zeros((2, height * width), np.uint8)
        people = index.people(image)
        for row in range(people.start, people.stop):
            if row in regions:
                inside = 1 - annotations.outside(regions[row])
                mask |= inside & ~occupied if index.is_crowd[row] else inside * np.uint8(not keep[row])
                occupied |= inside
        if mask.any():
            yield int(index.image_ids[image]), np.ascontiguousarray(mask.reshape(width, height).T) * np.uint8(MASKED)


def _regions(annotation_file: str | Path, index: CocoIndex, chosen: BoolArray) -> dict[int, Int32Array]:
    """Row of the index -> run lengths of the person's silhouette, or of the box where there is none."""
    people, found = files.read_json(annotation_file)["annotations"], dict[int, Int32Array]()
    for row in np.flatnonzero(chosen).tolist():
        segmentation = people[index.file_positions[row]].get("segmentation")
        size = index.image_sizes[index.image_rows(row)].tolist()
        try:
            found[row] = annotations.run_lengths(segmentation, index.boxes[row].tolist(), *size)
        except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
            place = f"{annotation_file}: segmentation of annotation {index.annotation_ids[row]}"
            raise UserError(f"{place}: {error}. `python -m common.coco DATA_PATH` lists all faults") from error
    return found


def mask_folder(config: Config, annotations: Path, labels: TrainLabels) -> Path:
    """Where the ignore masks are: made there whole or not at all, in output_dir where data_dir is read-only.

    Raises UserError where --maskpath_train is not there.
    """
    if config.maskpath_train:
        return located(config.data_dir, config.maskpath_train, "--maskpath_train")
    of_data = Path(config.data_dir) / MASK_FOLDER
    # the name tells data sets apart that share an output folder
    own = Path(config.output_dir) / f"{MASK_FOLDER}_{zlib.crc32(str(annotations.resolve()).encode()):08x}"
    for folder in (of_data, own):
        if folder.is_dir():
            return folder
    folder = of_data if _is_writable(Path(config.data_dir)) else own
    if not labels.masked.any():
        return folder
    files.remove_unfinished(folder.parent)
    growing = files.unfinished_name(folder)
    write(annotations, growing, config)
    try:
        growing.replace(folder)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; name another place with --maskpath_train") from error
    return folder


def _is_writable(folder: Path) -> bool:
    """Whether one may write there; a folder that nobody may write into is left alone, also by the superuser."""
    return os.access(folder, os.W_OK) and bool(folder.stat().st_mode & EVERYBODY_WRITES)


def mask_notes(masks: Path, labels: TrainLabels) -> list[str]:
    """A line about images whose other people have no mask; a few have none because nothing is masked."""
    there = {entry.name for entry in os.scandir(masks)} if masks.is_dir() else set()
    count = sum(mask_path(masks, image_id).name not in there for image_id in labels.index.image_ids[labels.masked])
    if not count:
        return []
    return [
        f"note: {count} images have people who are not learned and no mask in {masks}: they count as background, "
        "unless learned people hide them (python gen_ignore_mask.py writes masks)"
    ]
