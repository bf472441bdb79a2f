# SPDX-License-Identifier: Apache-2.0
"""People and heatmaps that the originals of MIPNet and AlphaPose made, for the tests of crops, targets and decoding."""

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from common.topdown.crops import Crop

import cv2
import numpy as np

PIXEL_STD = 200  # MIPNet's unit of a crop's size, in pixels
SIZES_IN = {"w48_384x288": (384, 288), "w32_256x192": (256, 192), "alphapose": (256, 192)}
SIGMAS = {"w48_384x288": 3, "w32_256x192": 2, "alphapose": 2}
STRIDE = 4
PEOPLE = 8
TAGS = list(SIZES_IN)


@cache
def arrays(shared: Path, name: str) -> dict[str, Any]:
    with np.load(shared / "golden/topdown" / f"{name}.npz") as file:
        return dict(file)


def people(shared: Path, tag: str) -> list[dict[str, Any]]:
    """The eight people of one network; sizes of crops in pixels for both projects."""
    project = "alphapose" if tag == "alphapose" else "mipnet"
    rows = []
    for i in range(PEOPLE):
        prefix = f"{i}/" if project == "alphapose" else f"{tag}/{i}/"
        found = arrays(shared, f"persons_{project}").items()
        person = {key.removeprefix(prefix): value for key, value in found if key.startswith(prefix)}
        if project == "mipnet":
            for key in ("scale", "aug_scale"):
                person[key] = person[key] * person[key].dtype.type(PIXEL_STD)
        rows.append(person)
    return rows


def image(shared: Path, person: dict[str, Any]) -> Any:
    """The person's picture, RGB."""
    path = next((shared / "data/coco-mini").glob(f"*/{person['image']}"))
    return cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)[:, :, ::-1].copy()


def augmented_crop(person: dict[str, Any], width_img: int) -> Crop:
    """The person's augmented crop in the frame of the image as it is in its file."""
    centre, flip = person["aug_center"].copy(), bool(person["aug_flip"])
    if flip:
        centre[0] = width_img - centre[0] - 1
    return Crop(centre, person["aug_scale"], float(person["aug_rotation"]), flip)


def map_size(tag: str) -> tuple[int, int]:
    height, width = SIZES_IN[tag]
    return height // STRIDE, width // STRIDE


def decode_inputs(shared: Path) -> Any:
    """The rule that makes the heatmaps of the decoding cases."""
    spec = importlib.util.spec_from_file_location("decode_inputs", shared / "golden/topdown/decode_inputs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
