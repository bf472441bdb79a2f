# SPDX-License-Identifier: Apache-2.0
"""Training and validation: by image or by group, the same for the same names, whatever their order in the file."""

import dataclasses
import hashlib
import re
from collections import defaultdict
from pathlib import PurePosixPath

from common.cli import UserError
from tools.convert.dataset import Image

TRAIN, VAL = "train", "val"
USUAL_VAL = 0.1


def split(images: list[Image], val: float | None, group: str, seed: int) -> list[Image]:
    """Each image with its subset. `val`: the part for validation; None: the source's own, where it has one, else 0.1.

    `group`: "" by image, "folder", or a regular expression whose first group (or whole match) names the group: images
    of a group, such as the frames of a video, stay together. Raises UserError where no split is possible.
    """
    if val is None and {image.subset for image in images} >= {TRAIN, VAL}:
        return images
    val = USUAL_VAL if val is None else val
    groups: dict[str, list[int]] = defaultdict(list)
    for place, image in enumerate(images):
        groups[_group(image, group)].append(place)
    val_count = round(val * len(images)) if val else 0
    if val and len(groups) > 1:
        val_count = max(1, val_count)
    elif val and len(images) > 1:
        raise UserError(
            f"--split_by={group}: all {len(images)} images are of one group, so none is left to validate on"
        )
    chosen: set[int] = set()
    for name in sorted(groups, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest()):
        if len(chosen) >= val_count or len(chosen) + len(groups[name]) >= len(images):
            break
        chosen |= set(groups[name])
    return [dataclasses.replace(image, subset=VAL if place in chosen else TRAIN) for place, image in enumerate(images)]


def _group(image: Image, group: str) -> str:
    name = image.name.replace("\\", "/")
    if not group:
        return f"{image.subset}/{name}"
    if group == "folder":
        return str(PurePosixPath(name).parent)
    try:
        found = re.search(group, name)
    except re.error as error:
        raise UserError(f"--split_by={group}: no regular expression ({error})") from error
    if not found:
        raise UserError(f"--split_by={group}: fits nothing in the image name {name!r}")
    return found[1] if found.re.groups else found[0]


def take(images: list[Image], count: int, seed: int) -> list[Image]:
    """`count` of the images, 0: all; the same for the same names, in the order of the file."""
    if not 0 < count < len(images):
        return images
    order = sorted(images, key=lambda image: hashlib.sha256(f"{seed} {image.subset}/{image.name}".encode()).digest())
    chosen = {id(image) for image in order[:count]}
    return [image for image in images if id(image) in chosen]
