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
from common.arrays import BoolArray, Int64Array
from common.coco.cache import cache_folder, made_once
from common.coco.mini import figures, scenes
from common.coco.mini.scenes import SCENES, Scene
from common.skeleton import COCO

import cv2
import numpy as np
from faster_coco_eval.core import mask as coco_mask

NUM_TRAIN, NUM_VAL = 240, 48
SPLITS = ("train2017", "val2017")
FIRST_IMAGE_ID = {"train2017": 1, "val2017": 500_001}
ANNOTATION_IDS_PER_IMAGE = 100
PERSON_CATEGORY = 1
JPEG_QUALITY = 95
CROWD_REACH = 5  # pixels that a crowd's region reaches beyond its people


def write(
    folder: str | Path,
    num_train: int = NUM_TRAIN,
    num_val: int = NUM_VAL,
    seed: int = 0,
    keypoints: Sequence[str] = COCO.keypoints,
) -> Path:
    """Draws the data set into `folder`, over what is there, and returns it.

    `keypoints` are the names, out of COCO's, that the annotations have, in this order: the images stay the same.
    Raises UserError for an unknown name or a folder that cannot be written.
    """
    unknown = [name for name in keypoints if name not in COCO.keypoints]
    if unknown or not keypoints:
        raise cli.UserError(f"keypoints {', '.join(unknown) or '(none)'}: choose from {', '.join(COCO.keypoints)}")
    folder = Path(folder)
    try:
        for split, count in zip(SPLITS, (num_train, num_val), strict=True):
            _write_split(folder, split, count, seed, tuple(keypoints))
    except OSError as error:
        raise cli.UserError(f"{folder}: cannot write the drawn data set there ({error})") from error
    return folder


def _write_split(folder: Path, split: str, count: int, seed: int, keypoints: tuple[str, ...]) -> None:
    (folder / split).mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    images, annotations = [], []
    for index in range(count):
        image_id = FIRST_IMAGE_ID[split] + index
        scene = scenes.draw_scene(SCENES[index % len(SCENES)], np.random.default_rng([seed, image_id]))
        name = f"{image_id:012d}.jpg"
        encoded = cv2.imencode(".jpg", scene.canvas_img, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        (folder / split / name).write_bytes(encoded.tobytes())
        width, height = (int(length) for length in scene.size)
        images.append({"id": image_id, "file_name": name, "width": width, "height": height, "license": 1})
        annotations += _annotations(scene, image_id, keypoints)
    content = {**_frame(keypoints), "images": images, "annotations": annotations}
    text = json.dumps(content, separators=(",", ":"))
    (folder / "annotations" / f"person_keypoints_{split}.json").write_text(text)


def _frame(keypoints: tuple[str, ...]) -> dict[str, Any]:
    """What is around images and annotations in a COCO file."""
    limbs = [[keypoints.index(a) + 1, keypoints.index(b) + 1] for a, b in COCO.limbs if {a, b} <= set(keypoints)]
    person = {"id": PERSON_CATEGORY, "name": "person", "supercategory": "person"}
    return {
        "info": {"description": "Drawn people in COCO's format", "version": "1.0", "year": 2025},
        "licenses": [{"id": 1, "name": "Apache License 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}],
        "categories": [{**person, "keypoints": list(keypoints), "skeleton": limbs}],
    }


def _annotations(scene: Scene, image_id: int, keypoints: tuple[str, ...]) -> list[dict[str, Any]]:
    """People with joints, people without, the crowd; a person who is hidden altogether gets none."""
    order = [COCO.keypoints.index(name) for name in keypoints]
    found = []
    for number in (*scene.people, *scene.unlabelled):
        mask = scene.mask([number])
        if mask.any():
            joints = np.zeros((len(order), 3), np.int64)
            if number in scene.people:
                flags = scene.visibility(number)[order]
                joints[:, :2] = scene.people[number][order] * (flags > 0)[:, None]
                joints[:, 2] = flags
            found.append({"segmentation": _polygons(mask), **_measures(mask), **_joints(joints), "iscrowd": 0})
    if scene.crowd:
        mask = _crowd_region(scene)
        none = np.zeros((len(order), 3), np.int64)
        found.append({"segmentation": _rle(mask), **_measures(mask), **_joints(none), "iscrowd": 1})
    first = image_id * ANNOTATION_IDS_PER_IMAGE
    ids = {"image_id": image_id, "category_id": PERSON_CATEGORY}
    return [{"id": first + index, **ids, **annotation} for index, annotation in enumerate(found)]


def _joints(joints: Int64Array) -> dict[str, Any]:
    return {"keypoints": joints.ravel().tolist(), "num_keypoints": int((joints[:, 2] > 0).sum())}


def _measures(mask: BoolArray) -> dict[str, Any]:
    """Area in pixels, and the box (x, y, width, height) around the outer edges of the pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y = int(columns[0]), int(rows[0])
    box = [float(value) for value in (x, y, columns[-1] + 1 - x, rows[-1] + 1 - y)]
    return {"area": float(np.count_nonzero(mask)), "bbox": box}


def _polygons(mask: BoolArray) -> list[list[float]]:
    """Outer contours, one list x, y, x, y, … a piece, in COCO's frame: pixel x reaches from x to x + 1."""
    # Doubled, so that the contour, which runs through pixel centres, keeps near the outer edge and has an area at
    # parts one pixel wide.
    doubled = np.kron(mask.astype(np.uint8), np.ones((2, 2), np.uint8))
    contours = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    return [((contour.reshape(-1) + 0.5) / 2).tolist() for contour in contours]


def _rle(mask: BoolArray) -> dict[str, Any]:
    """COCO's compressed run lengths of an (h, w) mask."""
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": rle["counts"].decode()}


def _crowd_region(scene: Scene) -> BoolArray:
    """The people of the crowd and a little around them, without the people in front of it."""
    kernel = np.ones((2 * CROWD_REACH + 1,) * 2, np.uint8)
    near = cv2.dilate(scene.mask(scene.crowd).astype(np.uint8), kernel)
    region: BoolArray = (near > 0) & ~scene.mask(list(scene.people))
    return region


def content_version() -> str:
    """Eight characters that change with the code that draws."""
    sources = [Path(module) for module in (__file__, figures.__file__, scenes.__file__)]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:8]


def ensure() -> Path:
    """The data set in its standard size and seed, kept in `cache_folder` and drawn first where it is absent."""
    return made_once(_cache_folder(), lambda folder: write(folder, NUM_TRAIN, NUM_VAL))


def _cache_folder() -> Path:
    return cache_folder(f"mini_coco-{content_version()}")


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
