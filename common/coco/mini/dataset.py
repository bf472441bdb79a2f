# SPDX-License-Identifier: Apache-2.0
"""A small data set in COCO's format, drawn: no download, and every joint is known exactly.

    python -m common.coco.mini FOLDER [--num_train 240] [--num_val 48] [--seed 0]

writes `train2017/`, `val2017/` and `annotations/person_keypoints_{train,val}2017.json`. The scenes hold what real
images hold: people of several sizes, overlaps, limbs outside the image (v=0), hidden joints (v=1), a crowd region with
run lengths, a person too small for joints, an image without people. The first nine images of a split have all of these.
Everything follows from the seed. A joint at (x, y) is in the middle of pixel x, y.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import cli
from common.arrays import BoolArray
from common.coco.cache import cache_folder, made_once
from common.coco.mini import figures, scenes
from common.coco.mini.scenes import SCENES, Scene
from common.people import PERSON_CATEGORY
from common.skeleton import COCO

import cv2
import numpy as np
from faster_coco_eval.core import mask as coco_mask

NUM_TRAIN, NUM_VAL = 240, 48
SPLITS = ("train2017", "val2017")
FIRST_IMAGE_ID = {"train2017": 1, "val2017": 500_001}
ANNOTATION_IDS_PER_IMAGE = 100
JPEG_QUALITY = 95
CROWD_REACH = 11  # pixels across of what counts as near a crowd
CROWD = 0  # in place of a person's number


def write(folder: str | Path, num_train: int = NUM_TRAIN, num_val: int = NUM_VAL, seed: int = 0) -> Path:
    """Draws the data set into `folder`, overwriting files, and returns it. Raises UserError if it cannot."""
    folder = Path(folder)
    try:
        for split, count in zip(SPLITS, (num_train, num_val), strict=True):
            _write_split(folder, split, count, seed)
    except OSError as error:
        raise cli.UserError(f"{folder}: cannot write the drawn data set there ({error})") from error
    return folder


def _write_split(folder: Path, split: str, count: int, seed: int) -> None:
    (folder / split).mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    images, annotations = [], []
    for index in range(count):
        image_id = FIRST_IMAGE_ID[split] + index
        scene = scenes.draw_scene(SCENES[index % len(SCENES)], np.random.default_rng([seed, image_id]))
        name = f"{image_id:012d}.jpg"
        encoded = cv2.imencode(".jpg", scene.canvas_img, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        (folder / split / name).write_bytes(encoded.tobytes())
        width, height = scene.size.tolist()
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        annotations += _annotations(scene, image_id)
    limbs = [[COCO.keypoints.index(end) + 1 for end in limb] for limb in COCO.limbs]
    person = {"id": PERSON_CATEGORY, "name": "person", "keypoints": COCO.keypoints, "skeleton": limbs}
    text = json.dumps({"images": images, "annotations": annotations, "categories": [person]}, separators=(",", ":"))
    (folder / "annotations" / f"person_keypoints_{split}.json").write_text(text)


def _annotations(scene: Scene, image_id: int) -> list[dict[str, Any]]:
    """People with joints, people without, the crowd; a fully hidden person gets none."""
    regions = {number: scene.mask([number]) for number in (*scene.people, *scene.unlabelled)}
    if scene.crowd:  # its people with a margin, without those in front of it
        near = cv2.dilate(scene.mask(scene.crowd).astype(np.uint8), np.ones((CROWD_REACH,) * 2, np.uint8))
        regions[CROWD] = np.asarray((near > 0) & ~scene.mask(list(scene.people)))
    found: list[dict[str, Any]] = []
    for number, mask in regions.items():
        joints = np.zeros((COCO.num_keypoints, 3), np.int64)
        if number in scene.people:
            joints[:, 2] = scene.visibility(number)
            joints[:, :2] = scene.people[number] * (joints[:, 2:] > 0)
        if mask.any():
            one = {"id": image_id * ANNOTATION_IDS_PER_IMAGE + len(found), "image_id": image_id, **measures(mask)}
            one |= {"keypoints": joints.ravel().tolist(), "num_keypoints": int((joints[:, 2] > 0).sum())}
            region: Any = _polygons(mask)
            if number == CROWD:  # COCO's compressed run lengths
                encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
                region = {"size": list(mask.shape), "counts": encoded["counts"].decode()}
            one |= {"category_id": PERSON_CATEGORY, "iscrowd": int(number == CROWD), "segmentation": region}
            found.append(one)
    return found


def measures(mask: BoolArray) -> dict[str, Any]:
    """Area in pixels, and the box (x, y, width, height) around the outer edges of the pixels of an (h, w) mask."""
    box = cv2.boundingRect(mask.astype(np.uint8))
    return {"area": float(np.count_nonzero(mask)), "bbox": list(map(float, box))}


def _polygons(mask: BoolArray) -> list[list[float]]:
    """Outer contours, one list x, y, x, y, … a piece, in COCO's frame: pixel x reaches from x to x + 1."""
    # Doubled, so that the contour, which runs through pixel centres, keeps near the outer edge and has an area at
    # parts one pixel wide.
    doubled = np.kron(mask.astype(np.uint8), np.ones((2, 2), np.uint8))
    contours = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    return [((contour.reshape(-1) + 0.5) / 2).tolist() for contour in contours]


def ensure() -> Path:
    """The data set in its standard size and seed, drawn unless the cache has it from the same code."""
    sources = b"".join(Path(module).read_bytes() for module in (__file__, figures.__file__, scenes.__file__))
    return made_once(cache_folder(f"mini_coco-{hashlib.sha256(sources).hexdigest()[:8]}"), write)


def main(argv: Sequence[str] | None = None) -> None:
    """The command of this module."""
    parser = argparse.ArgumentParser(description="Draw a small data set of people in COCO's format.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--num_train", type=int, default=NUM_TRAIN, help="training images [%(default)s]")
    parser.add_argument("--num_val", type=int, default=NUM_VAL, help="validation images [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="another number draws other images [%(default)s]")
    flags = parser.parse_args(argv)
    if min(flags.num_train, flags.num_val, flags.seed) < 0:
        raise cli.UserError("--num_train, --num_val and --seed cannot be negative")
    write(flags.folder, flags.num_train, flags.num_val, flags.seed)
    print(f"drew {flags.num_train} + {flags.num_val} images in {flags.folder}")  # noqa: T201  the program's answer
