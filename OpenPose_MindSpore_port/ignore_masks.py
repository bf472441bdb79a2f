# SPDX-License-Identifier: Apache-2.0
"""Ignore masks: where people are whom nobody learns, one PNG an image; there the network may say what it likes.

Written by `gen_ignore_mask.py`, read while training (spec A6). An image of which all is learned has no file.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import common.coco.reader
from common import files
from common.arrays import BoolArray, Int32Array, UInt8Array
from common.cli import UserError
from common.coco import annotations
from common.coco.annotations import CocoIndex
from OpenPose_MindSpore_port.labels import LabelRules, TrainLabels, learned

import cv2
import numpy as np

MASKED = 255
CURE = "write it again: python gen_ignore_mask.py"


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


def missing(folder: Path, labels: TrainLabels) -> int:
    """How many images to train on have people who are not learned, but no mask: they count as background there."""
    there = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
    return sum(mask_path(folder, image_id).name not in there for image_id in labels.index.image_ids[labels.masked])


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
    """One bit a pixel: read faster than eight, and as the same 0 and 255. Whole or not at all."""
    temporary = files.unfinished_name(path)
    temporary.write_bytes(cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes())
    temporary.replace(path)


def masks(annotation_file: str | Path, index: CocoIndex, rules: LabelRules) -> Iterator[tuple[int, UInt8Array]]:
    """Image id and mask, (h, w) uint8 of 0 and 255, of each image that has one; `index` is that of the file.

    Annotations are taken in the file's order. A crowd is masked but where people before it are; somebody who is not
    learned is masked altogether, also where somebody who is learned stands in front.
    """
    keep = learned(index, rules)
    owners = index.image_rows(np.arange(len(keep)))
    crowded = np.zeros(index.num_images, bool)
    crowded[owners[index.is_crowd]] = True
    regions = _regions(annotation_file, index, ~keep | crowded[owners])
    for image in np.unique(owners[~keep]).tolist():
        people = index.people(image)
        mask = _mask(index, range(people.start, people.stop), keep, regions, index.image_sizes[image].tolist())
        if mask.any():
            yield int(index.image_ids[image]), mask * np.uint8(MASKED)


def _mask(
    index: CocoIndex, people: range, keep: BoolArray, regions: dict[int, Int32Array], size_img: list[int]
) -> UInt8Array:
    """(h, w) uint8, 1 where masked."""
    height, width = size_img
    taken, mask = np.zeros(height * width, np.uint8), np.zeros(height * width, np.uint8)
    for row in people:
        if row not in regions:
            continue
        inside = 1 - annotations.outside(regions[row])
        if index.is_crowd[row]:
            mask |= inside & ~taken
        elif not keep[row]:
            mask |= inside
        taken |= inside
    return np.ascontiguousarray(mask.reshape(width, height).T)


def _regions(annotation_file: str | Path, index: CocoIndex, wanted: BoolArray) -> dict[int, Int32Array]:
    """Row of the index -> run lengths of the person's silhouette, for the people who are wanted."""
    found = {
        row: index.runs[index.run_offsets[row] : index.run_offsets[row + 1]]
        for row in np.flatnonzero(wanted & index.is_crowd).tolist()
    }
    rows = np.flatnonzero(wanted & ~index.is_crowd)
    row_at = dict(zip(index.file_positions[rows].tolist(), rows.tolist(), strict=True))
    sizes = index.image_sizes[index.image_rows(np.arange(len(wanted)))]
    for section, elements in files.json_sections(annotation_file):
        for position, person in enumerate(elements if section == "annotations" else ()):
            if (row := row_at.get(position)) is not None:
                place = f"{annotation_file}: segmentation of annotation {index.annotation_ids[row]}"
                region = person.get("segmentation") or [common.coco.reader.corners(index.boxes[row].tolist())]
                found[row] = _run_lengths(region, *sizes[row].tolist(), place)
    return found


def _run_lengths(region: Any, height: int, width: int, place: str) -> Int32Array:
    """Run lengths of a silhouette, or of the box where there is none."""
    try:
        return annotations.run_lengths(region, height, width)
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise UserError(f"{place}: {error}. `python -m common.coco DATA_PATH` lists all that is wrong") from error
