# SPDX-License-Identifier: Apache-2.0
"""The common form of readers and writers: images, instances with keypoints, categories with their points."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
Box = tuple[float, float, float, float]  # left, top, width, height
HIDDEN, VISIBLE = 1, 2  # v of COCO; 0: not labelled
SIDES = (
    ("left", "right"),
    ("Left", "Right"),
    ("LEFT", "RIGHT"),
    ("l_", "r_"),
    ("L_", "R_"),
    ("_l", "_r"),
    ("_L", "_R"),
)


@dataclass(frozen=True)
class Category:
    """A category: its name, the names of its keypoints in their order, and its limbs."""

    name: str
    keypoints: tuple[str, ...] = ()
    limbs: tuple[tuple[str, str], ...] = ()
    flip_pairs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Named:
    """An instance as a tool wrote it: its points by name, x, y and v (0 not labelled, 1 hidden, 2 visible)."""

    category: str
    points: Mapping[str, tuple[float, float, int]]
    box: Box | None = None
    score: float | None = None
    coco: Mapping[str, Any] = field(default_factory=dict)  # area, iscrowd, segmentation, where the file has them


@dataclass(frozen=True)
class Instance:
    """One annotated person or animal. keypoints: (K, 3) float64 x, y, v in the frame of its image."""

    category: str
    keypoints: Float64Array
    box: Box | None = None
    score: float | None = None
    coco: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Image:
    """An annotated image, as its tool showed it.

    name: as the tool wrote it. size: width, height in pixels; None where the format does not say. fractions:
    coordinates are parts of width and height, not pixels. file: its path, once that is known. id: of COCO.
    """

    name: str
    size: tuple[int, int] | None
    instances: tuple[Any, ...]  # of Named from a reader, of Instance in a Dataset
    subset: str = ""
    fractions: bool = False
    file: Path | None = None
    id: int | None = None


@dataclass(frozen=True)
class Dataset:
    """All images of a source; `source` is what messages call it."""

    source: Path
    categories: dict[str, Category]
    images: list[Image]


def build(source: Path, images: Iterable[Image], known: Iterable[Category] = ()) -> Dataset:
    """Images with instances by name -> a data set with arrays. Points that no category knows are added at its end."""
    known = list(known)
    places = {one.name: {name: place for place, name in enumerate(one.keypoints)} for one in known}
    taken = []
    for image in images:
        rows = tuple(_instance(one, places.setdefault(one.category, {})) for one in image.instances)
        taken.append(dataclasses.replace(image, instances=rows))
    limbs = {one.name: one.limbs for one in known}
    flips = {one.name: one.flip_pairs for one in known}
    categories = {
        name: Category(name, tuple(names), limbs.get(name, ()), flips.get(name) or flip_pairs_of(tuple(names)))
        for name, names in places.items()
    }
    return Dataset(source, categories, [_padded(image, categories) for image in taken])


def _instance(one: Named, places: dict[str, int]) -> Instance:
    for name in one.points:
        places.setdefault(name, len(places))
    keypoints = np.zeros((len(places), 3))
    for name, (x, y, v) in one.points.items():
        if v:
            keypoints[places[name]] = x, y, v
    return Instance(one.category, keypoints, one.box, one.score, one.coco)


def _padded(image: Image, categories: Mapping[str, Category]) -> Image:
    """Every instance with all keypoints of its category: later images may have named some for the first time."""
    rows = []
    for one in image.instances:
        lacking = len(categories[one.category].keypoints) - len(one.keypoints)
        keypoints = np.pad(one.keypoints, ((0, lacking), (0, 0))) if lacking else one.keypoints
        rows.append(dataclasses.replace(one, keypoints=keypoints))
    return dataclasses.replace(image, instances=tuple(rows))


def flip_pairs_of(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Pairs of names that say left and right of the same thing: left_eye and right_eye, l_eye and r_eye, LEye, REye."""
    pairs = []
    for name in names:
        if (other := _other_side(name, names)) and (other, name) not in pairs:
            pairs.append((name, other))
    return tuple(pairs)


def _other_side(name: str, names: tuple[str, ...]) -> str:
    for left, right in SIDES:
        if left in name and (other := name.replace(left, right)) in names:
            return other
    camel = name[:1] == "L" and name[1:2].isupper() and f"R{name[1:]}" in names
    return f"R{name[1:]}" if camel else ""
