# SPDX-License-Identifier: Apache-2.0
"""A small data set of two people in one box, in COCO's format, drawn: every joint of both is known exactly.

In each image one person is behind another, and the box of the one in front, padded as a network sees it,
holds both. Box, area and joints are those of the whole person, hidden parts too. Of the annotations there are three
files a split: all people; those in front alone (`_front`); those behind alone (`_behind`).
"""

import json
from pathlib import Path
from typing import Any

from common.arrays import Float64Array, UInt8Array
from common.coco.mini import scenes
from common.coco.mini.dataset import FIRST_IMAGE_ID, JPEG_QUALITY, SPLITS, measures
from common.coco.mini.scenes import Scene
from common.people import PERSON_CATEGORY
from common.skeleton import COCO
from common.topdown.crops import PADDING

import cv2
import numpy as np

BEHIND, FRONT = "behind", "front"
APART = (0.16, 0.30)  # between their hips from side to side, as a part of their height
FEWEST_SEEN = 7  # joints of the one behind that are not hidden: with fewer the person could not be found
LEAST_OVERLAP = 0.45  # of the two boxes, intersection over union
HIDDEN, SEEN = 1, 2  # COCO's v


def draw_pair(random: np.random.Generator) -> tuple[UInt8Array, list[dict[str, Any]]]:
    """An image (h, w, 3) uint8 BGR, and who is behind, who is in front; drawn again until one box holds both."""
    while True:
        scene = scenes.draw_scene("empty", random)
        width, height = (int(length) for length in scene.size)
        tall, side = height * random.uniform(0.62, 0.78), random.choice((-1, 1))
        apart = side * tall * random.uniform(*APART)
        middle = np.array([width * random.uniform(0.4, 0.6), height * random.uniform(0.55, 0.65)])
        shapes = [
            _add(scene, random, tall * random.uniform(0.92, 1.05), middle + (share * apart, 0.0))
            for share in (0.5, -0.5)
        ]
        joints = [np.c_[scene.people[one], np.maximum(scene.visibility(one), HIDDEN)] for one in scene.people]
        if _share_a_box(joints[0], *(np.array(shape["bbox"]) for shape in shapes)):
            return scene.canvas_img, [
                {**shape, "keypoints": one.ravel().tolist()} for shape, one in zip(shapes, joints, strict=True)
            ]


def _add(scene: Scene, random: np.random.Generator, tall: float, hips: Float64Array) -> dict[str, Any]:
    """Paints a person with the hips near `hips` (x, y), inside the image; box and area of the whole person."""
    number, joints = scenes.paint_person(scene, random, tall, hips)
    scene.people[number] = joints
    return measures(scene.mask([number]))


def _share_a_box(joints_behind: Any, behind: Any, front: Any) -> bool:
    """Whether the padded box in front (4,) holds all joints of the one behind, (17, 3), who can be seen."""
    sides = np.minimum(front[:2] + front[2:], behind[:2] + behind[2:]) - np.maximum(front[:2], behind[:2])
    both = np.maximum(sides, 0).prod()
    overlap = both / (front[2:].prod() + behind[2:].prod() - both)
    away = np.abs(joints_behind[:, :2] - (front[:2] + front[2:] / 2))
    is_seen = np.count_nonzero(joints_behind[:, 2] == SEEN) >= FEWEST_SEEN
    return bool(is_seen and (away <= front[2:] / 2 * PADDING).all() and overlap >= LEAST_OVERLAP)


def annotation_file(folder: Path, split: str, who: str = "") -> Path:
    """Of all people, of those in front or of those behind. `split`: train or val."""
    return folder / "annotations" / f"person_keypoints_{split}2017{'_' * bool(who)}{who}.json"


def write(folder: Path, num_train: int, num_val: int, seed: int = 0) -> Path:
    """Draws the data set into `folder`, over what is there, and returns it."""
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    person = {"category_id": PERSON_CATEGORY, "iscrowd": 0, "segmentation": [], "num_keypoints": COCO.num_keypoints}
    category = {"id": PERSON_CATEGORY, "name": "person", "keypoints": list(COCO.keypoints), "skeleton": []}
    for split, count in zip(SPLITS, (num_train, num_val), strict=True):
        (folder / split).mkdir(exist_ok=True)
        images, people = [], {BEHIND: [], FRONT: []}
        for image_id in range(FIRST_IMAGE_ID[split], FIRST_IMAGE_ID[split] + count):
            image, pair = draw_pair(np.random.default_rng([seed, image_id]))
            name = f"{image_id:012d}.jpg"
            cv2.imwrite(str(folder / split / name), image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            images.append({"id": image_id, "file_name": name, "width": image.shape[1], "height": image.shape[0]})
            for place, (who, shape) in enumerate(zip(people, pair, strict=True)):
                people[who].append({"id": 2 * image_id + place, "image_id": image_id, **person, **shape})
        for who, chosen in {"": people[BEHIND] + people[FRONT], **people}.items():
            content = {"images": images, "annotations": chosen, "categories": [category]}
            annotation_file(folder, split.removesuffix("2017"), who).write_text(json.dumps(content))
    return folder
