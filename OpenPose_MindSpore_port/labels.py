# SPDX-License-Identifier: Apache-2.0
"""Who of a COCO annotation file is learned, and which images need an ignore mask because of the others (spec A6)."""

from dataclasses import dataclass
from pathlib import Path

import common.coco.reader
from common.arrays import BoolArray
from common.cli import UserError
from common.coco.annotations import CocoIndex

import numpy as np


@dataclass(frozen=True)
class LabelRules:
    """Who is learned; the others are masked. Names and values of the published configuration."""

    min_keypoints: int = 5
    min_area: float = 1024.0  # px^2 of the segmentation, original pixels; a larger one is needed


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


def build(annotation_file: str | Path, rules: LabelRules, num_keypoints: int | None = None) -> TrainLabels:
    """The labels of an annotation file. `num_keypoints`: how many the skeleton has; None: as many as the file has.

    Raises UserError where the file is wrong or nobody can be learned.
    """
    index = common.coco.reader.load(annotation_file, num_keypoints)
    keep = learned(index, rules)
    rows = np.unique(index.image_rows(np.flatnonzero(keep)))
    rows = rows[np.argsort(index.image_ids[rows])]
    if not len(rows):
        raise UserError(
            f"{annotation_file}: nobody with {rules.min_keypoints} keypoints (--min_keypoints) and an area of more "
            f"than {rules.min_area:g} px (--min_area)"
        )
    others = np.bincount(index.image_rows(np.flatnonzero(~keep)), minlength=index.num_images)
    return TrainLabels(index.select(rows, keep), others[rows] > 0)
