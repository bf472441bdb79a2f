# SPDX-License-Identifier: Apache-2.0
"""Training labels: which people of a COCO annotation file are trained on."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from common.cli import UserError
from common.coco.annotations import CocoIndex
from common.coco.reader import load

import numpy as np
import numpy.typing as npt

MIN_KEYPOINTS = 5  # of COCO's 17: a person with fewer is not a sample
MIN_KEYPOINTS_OF = 17
MIN_AREA_IMG = 32 * 32  # px^2 of the segmentation
MIN_CENTRE_DISTANCE = 0.3  # of the width of an accepted person's box: a nearer one is not a sample


@dataclass(frozen=True)
class TrainLabels:
    """S samples, each a main person of `index`, which holds the images with people, their people and crowds."""

    index: CocoIndex  # images in the order in which the annotation file first names one of their people
    main: npt.NDArray[np.int32]  # (S,) the row of each sample's person in the index

    def __len__(self) -> int:
        return len(self.main)

    @cached_property
    def images(self) -> npt.NDArray[np.int64]:
        """(S,) the image row of each sample."""
        return self.index.image_rows(self.main)

    def others(self, sample: int) -> npt.NDArray[np.int64]:
        """(O,) the rows of the other people in a sample's image, crowds left out, in the file's order."""
        people = self.index.people(int(self.images[sample]))
        rows: npt.NDArray[np.int64] = np.flatnonzero(~self.index.is_crowd[people]) + people.start
        return rows[rows != self.main[sample]]


def build(annotation_file: str | Path, num_keypoints: int | None = None) -> TrainLabels:
    """The labels of an annotation file. `num_keypoints`: how many the skeleton has; None: as many as the file has.

    Rules: specification of the original's `prepare_train_labels.py`. People are those with at least one keypoint who
    are no crowd; a sample needs `min_keypoints` of them, an area of 32 x 32 px, and a box centre that is not close to
    that of an earlier sample of the image. Raises UserError where the file is wrong or there are no people to train on.
    """
    index = load(annotation_file, num_keypoints)
    is_person = (index.num_keypoints > 0) & ~index.is_crowd
    rows = np.flatnonzero(is_person)
    rows = rows[np.argsort(index.file_positions[rows])]
    owners, first = np.unique(index.image_rows(rows), return_index=True)
    index = index.select(owners[np.argsort(first)], is_person | index.is_crowd)
    main = np.fromiter(_main_people(index), np.int32)
    if not len(main):
        needed = min_keypoints(index.keypoints.shape[1])
        raise UserError(f"{annotation_file}: no person with {needed} keypoints and an area of {MIN_AREA_IMG} px")
    return TrainLabels(index, main)


def min_keypoints(num_keypoints: int) -> int:
    """How many labelled keypoints a sample needs: 5 of 17 as in the original, of fewer the same share, rounded up."""
    return min(MIN_KEYPOINTS, -(-MIN_KEYPOINTS * num_keypoints // MIN_KEYPOINTS_OF))


def _main_people(index: CocoIndex) -> Iterator[int]:
    enough = min_keypoints(index.keypoints.shape[1])
    large = (index.num_keypoints >= enough) & (index.areas >= MIN_AREA_IMG) & ~index.is_crowd
    large &= (index.boxes[:, 2:] > 0).all(axis=1)  # the height of the box gives the scale of the crop
    centres = index.boxes[:, :2] + index.boxes[:, 2:] / 2
    reaches = MIN_CENTRE_DISTANCE * index.boxes[:, 2]
    candidates = np.flatnonzero(large)
    image, accepted = -1, list[int]()
    for row, owner in zip(candidates.tolist(), index.image_rows(candidates).tolist(), strict=True):
        if owner != image:
            image, accepted = owner, []
        if accepted and (np.linalg.norm(centres[accepted] - centres[row], axis=1) < reaches[accepted]).any():
            continue
        accepted.append(row)
        yield row
