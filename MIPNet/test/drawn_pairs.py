# SPDX-License-Identifier: Apache-2.0
"""A small data set of two people in one box, in COCO's format, drawn: every joint of both is known exactly.

In each image one person stands behind another one, and the box of the one in front, padded as a network sees it,
holds both. Box, area and joints are those of the whole person, hidden parts too. Of the annotations there are three
files a split: everybody; those in front alone (`_front`); those behind alone (`_behind`).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.arrays import Float64Array, Int64Array, UInt8Array
from common.coco.mini import figures, scenes
from common.coco.mini.dataset import FIRST_IMAGE_ID, JPEG_QUALITY, PERSON_CATEGORY, SPLITS
from common.coco.mini.figures import Brush
from common.coco.mini.scenes import MARGIN, Scene
from common.skeleton import COCO
from common.topdown.crops import PADDING

import cv2
import numpy as np

BEHIND, FRONT = "behind", "front"
APART = (0.16, 0.30)  # between their hips from side to side, as a part of their height
FEWEST_SEEN = 7  # joints of the one behind that are not hidden: with fewer nobody could find the person
LEAST_OVERLAP = 0.45  # of the two boxes, intersection over union
HIDDEN, SEEN = 1, 2  # COCO's v


@dataclass(frozen=True)
class Person:
    """A drawn person: joints (17, 3) x, y, v; box left, top, width, height; pixels of the silhouette."""

    joints_img: Int64Array
    box_img: tuple[float, float, float, float]
    area: float

    def annotation(self, number: int, image_id: int) -> dict[str, Any]:
        """As COCO has it."""
        same = {"category_id": PERSON_CATEGORY, "iscrowd": 0, "segmentation": [], "num_keypoints": COCO.num_keypoints}
        place = {"bbox": list(self.box_img), "area": self.area, "keypoints": self.joints_img.ravel().tolist()}
        return {"id": number, "image_id": image_id, **same, **place}


def draw_pair(random: np.random.Generator) -> tuple[UInt8Array, Person, Person]:
    """A picture (h, w, 3) uint8 BGR, who is behind, who is in front; drawn anew until one box holds both."""
    while True:
        image, behind, front = _compose(random)
        seen = np.count_nonzero(behind.joints_img[:, 2] == SEEN)
        if seen >= FEWEST_SEEN and _holds(front, behind) and overlap(front, behind) >= LEAST_OVERLAP:
            return image, behind, front


def overlap(one: Person, other: Person) -> float:
    """Intersection over union of their boxes."""
    a, b = np.array(one.box_img), np.array(other.box_img)
    sides = np.minimum(a[:2] + a[2:], b[:2] + b[2:]) - np.maximum(a[:2], b[:2])
    common = float(np.maximum(sides, 0).prod())
    return common / float(a[2:].prod() + b[2:].prod() - common)


def _holds(box_of: Person, other: Person) -> bool:
    """Whether all joints of `other` are in the padded box."""
    box = np.array(box_of.box_img)
    away = np.abs(other.joints_img[:, :2] - (box[:2] + box[2:] / 2))
    return bool((away <= box[2:] / 2 * PADDING).all())


def _compose(random: np.random.Generator) -> tuple[UInt8Array, Person, Person]:
    scene = scenes.draw_scene("empty", random)
    width, height = (int(length) for length in scene.size)
    tall, side = height * random.uniform(0.62, 0.78), random.choice((-1, 1))
    apart = side * tall * random.uniform(*APART)
    middle = np.array([width * random.uniform(0.4, 0.6), height * random.uniform(0.55, 0.65)])
    measures = {}
    for share in (0.5, -0.5):  # behind, in front
        number = _add(scene, random, tall * random.uniform(0.92, 1.05), middle + (share * apart, 0.0))
        measures[number] = _measures(scene, number)
    behind, front = (_person(scene, number, *measures[number]) for number in measures)
    return scene.canvas_img, behind, front


def _add(scene: Scene, random: np.random.Generator, tall: float, hips: Float64Array) -> int:
    """Paints a person with the hips near `hips` (x, y), inside the image."""
    pose = figures.sample_pose(random, tall)
    low, high = MARGIN - pose.min(0), scene.size - 1 - MARGIN - pose.max(0)
    joints = np.round(pose + np.clip(hips, low, np.maximum(low, high))).astype(np.int64)
    number = scene.add_number()
    palette = figures.sample_palette(random)
    figures.paint_figure(Brush(scene.canvas_img, scene.owners_img), joints, tall, palette, number)
    scene.people[number] = joints
    return number


def _measures(scene: Scene, number: int) -> tuple[tuple[float, float, float, float], float]:
    """Box and area of who was painted last, and so is seen whole."""
    mask = scene.mask([number])
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top = float(columns[0]), float(rows[0])
    return (left, top, float(columns[-1]) + 1 - left, float(rows[-1]) + 1 - top), float(mask.sum())


def _person(scene: Scene, number: int, box: tuple[float, float, float, float], area: float) -> Person:
    flags = np.maximum(scene.visibility(number), HIDDEN)
    return Person(np.concatenate([scene.people[number], flags[:, None]], axis=1), box, area)


def write(folder: Path, num_train: int, num_val: int, seed: int = 0) -> Path:
    """Draws the data set into `folder`, over what is there, and returns it."""
    for split, count in zip(SPLITS, (num_train, num_val), strict=True):
        _write_split(folder, split, count, seed)
    return folder


def annotation_file(folder: Path, split: str, who: str = "") -> Path:
    """Of everybody, of those in front or of those behind. `split`: train or val."""
    return folder / "annotations" / f"person_keypoints_{split}2017{'_' * bool(who)}{who}.json"


def _write_split(folder: Path, split: str, count: int, seed: int) -> None:
    (folder / split).mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    images: list[dict[str, Any]] = []
    people: dict[str, list[dict[str, Any]]] = {BEHIND: [], FRONT: []}
    for image_id in range(FIRST_IMAGE_ID[split], FIRST_IMAGE_ID[split] + count):
        image, *pair = draw_pair(np.random.default_rng([seed, image_id]))
        name = f"{image_id:012d}.jpg"
        encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        (folder / split / name).write_bytes(encoded.tobytes())
        images.append({"id": image_id, "file_name": name, "width": image.shape[1], "height": image.shape[0]})
        for place, (who, person) in enumerate(zip(people, pair, strict=True)):
            people[who].append(person.annotation(2 * image_id + place, image_id))
    category = {"id": PERSON_CATEGORY, "name": "person", "keypoints": list(COCO.keypoints), "skeleton": []}
    for who, chosen in {"": people[BEHIND] + people[FRONT], **people}.items():
        content = {"images": images, "annotations": chosen, "categories": [category]}
        annotation_file(folder, split.removesuffix("2017"), who).write_text(json.dumps(content))
