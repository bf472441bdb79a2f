# SPDX-License-Identifier: Apache-2.0
"""Halpe-FullBody: files in COCO's format without names, of 26 or 136 keypoints; the body's 26 are taken.

Its images (HICO-DET, COCO) are annotated as they are stored.
"""

import dataclasses
from pathlib import Path

from tools.convert import coco
from tools.convert.dataset import Category, Dataset, Image, Instance, flip_pairs_of
from tools.convert.keypoint_sets import SETS

BODY = SETS["halpe_26"]
FACE, HAND = 68, 21
FULL = (
    *BODY,
    *(f"face_{place}" for place in range(FACE)),
    *(f"{side}_hand_{place}" for side in ("left", "right") for place in range(HAND)),
)
LIMBS = (
    ("left_ankle", "left_knee"),
    ("left_knee", "left_hip"),
    ("right_ankle", "right_knee"),
    ("right_knee", "right_hip"),
    ("left_hip", "pelvis"),
    ("right_hip", "pelvis"),
    ("pelvis", "neck"),
    ("neck", "left_shoulder"),
    ("neck", "right_shoulder"),
    ("left_shoulder", "left_elbow"),
    ("right_shoulder", "right_elbow"),
    ("left_elbow", "left_wrist"),
    ("right_elbow", "right_wrist"),
    ("neck", "head_top"),
    ("nose", "neck"),
    ("nose", "left_eye"),
    ("nose", "right_eye"),
    ("left_eye", "left_ear"),
    ("right_eye", "right_ear"),
    ("left_ankle", "left_heel"),
    ("left_ankle", "left_big_toe"),
    ("left_ankle", "left_small_toe"),
    ("right_ankle", "right_heel"),
    ("right_ankle", "right_big_toe"),
    ("right_ankle", "right_small_toe"),
)


def read(source: Path) -> Dataset:
    """A file or a folder. Raises UserError, naming file, entry and cure."""
    dataset = coco.read(source, FULL)
    categories = {name: _body(one) for name, one in dataset.categories.items()}
    images = [_bodies(image, categories) for image in dataset.images]
    return dataclasses.replace(dataset, categories=categories, images=images)


def _body(one: Category) -> Category:
    unnamed = len(one.keypoints) in (len(BODY), len(FULL))
    return Category(one.name, BODY, LIMBS, flip_pairs_of(BODY)) if unnamed else one


def _bodies(image: Image, categories: dict[str, Category]) -> Image:
    rows = [_cut(one, len(categories[one.category].keypoints)) for one in image.instances]
    return dataclasses.replace(image, instances=tuple(rows))


def _cut(one: Instance, count: int) -> Instance:
    return dataclasses.replace(one, keypoints=one.keypoints[:count])
