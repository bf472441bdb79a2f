# SPDX-License-Identifier: Apache-2.0
"""Composes drawn images: positions of people, occlusion, background.

The kinds of scenes are those that make real images hard: overlaps, people cut off by the border, objects in front,
small people, a crowd, no people. A scene that misses the point of its kind is drawn again, so each kind is reliable.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from common.arrays import BoolArray, Float64Array, FloatArray, Int32Array, Int64Array, UInt8Array
from common.coco.mini import figures
from common.coco.mini.figures import Brush, hsv
from common.skeleton import COCO

import cv2
import numpy as np

WIDTHS, HEIGHTS = (240, 320), (192, 240)
MARGIN = 8  # pixels between a joint and the border, for people who must be inside
MIN_VISIBLE = 8  # joints of every labelled person that can be seen: a scene with fewer is drawn again
# The scenes follow each other in this order; the first six are all special cases once.
_ORDER = "pair overlap crowd cut_off object empty single trio far pair overlap single cut_off trio pair single"
SCENES = tuple(_ORDER.split())
MIN_CROWD_AREA = 800  # pixels of a crowd that can be seen
# Where people are, parts of the width, farther ones first.
PLACES = {"pair": (0.27, 0.73), "trio": (0.5, 0.2, 0.8), "cut_off": (0.3, 0.75), "crowd": (0.25,), "empty": ()}


@dataclass
class Scene:
    """An image under way: `people` are the joints (17, 2) of the labelled persons, by number in the owner map."""

    canvas_img: UInt8Array
    owners_img: Int32Array
    people: dict[int, Int64Array] = field(default_factory=dict)
    unlabelled: list[int] = field(default_factory=list)  # drawn too small for joints
    crowd: list[int] = field(default_factory=list)
    things: int = 0  # numbers in use, of people and objects

    @property
    def size(self) -> Int64Array:
        """(width, height) in pixels."""
        return np.array(self.owners_img.shape[::-1])

    def brush(self) -> Brush:
        """Paints the next thing, whose number in the owner map is `Brush.owner`, from 1."""
        self.things += 1
        return Brush(self.canvas_img, self.owners_img, self.things)

    def mask(self, numbers: Sequence[int]) -> BoolArray:
        """(h, w) bool: pixels with one of these on top."""
        return np.isin(self.owners_img, numbers)

    def visibility(self, number: int) -> Int64Array:
        """(17,) int64: 0 outside the image, 1 hidden by something else, 2 seen."""
        joints_img = self.people[number]
        inside: BoolArray = np.all((joints_img >= 0) & (joints_img < self.size), axis=1)
        x, y = np.where(inside[:, None], joints_img, 0).T
        return np.where(inside, 1 + (self.owners_img[y, x] == number), 0)


def draw_scene(kind: str, rng: np.random.Generator) -> Scene:
    """One image of a kind of `SCENES`, drawn again until it shows the point of its kind."""
    while True:
        scene = _compose(kind, rng)
        if _is_clear(scene, kind):
            return scene


def _is_clear(scene: Scene, kind: str) -> bool:
    flags = [scene.visibility(number) for number in scene.people]
    if any((flag == 2).sum() < MIN_VISIBLE for flag in flags):
        return False
    if kind == "crowd":
        return int(scene.mask(scene.crowd).sum()) >= MIN_CROWD_AREA
    typical = {"cut_off": 0, "overlap": 1, "object": 1}.get(kind)
    return typical is None or any((flag == typical).sum() >= 2 for flag in flags)


def _compose(kind: str, rng: np.random.Generator) -> Scene:
    width, height = int(rng.integers(*WIDTHS, endpoint=True)), int(rng.integers(*HEIGHTS, endpoint=True))
    scene = Scene(_background(rng, width, height), np.zeros((height, width), np.int32))
    if kind == "crowd":
        _add_crowd(scene, rng)
    if kind == "far":
        _add_far_people(scene, rng)
    tall, middle = height * rng.uniform(0.62, 0.85), rng.uniform(0.4, 0.6)
    reach = tall / width * rng.uniform(0.14, 0.2)
    places = (middle - reach, middle + reach) if kind == "overlap" else PLACES.get(kind, (middle,))
    for place, share in enumerate(places):
        hips = np.array([share * width + rng.uniform(-10, 10), height * rng.uniform(0.5, 0.75)])
        cut = kind == "cut_off" and place == 0
        size = tall * rng.uniform(0.85, 1.1) * (0.8 if kind == "trio" else 1)
        scene.people |= [paint_person(scene, rng, size, hips, cut)]
    if kind == "object":
        name = f"{rng.choice(('left', 'right'))}_{rng.choice(('wrist', 'knee', 'ankle'))}"
        _add_crate(scene, rng, scene.people[scene.things][COCO.keypoints.index(name)].astype(np.float64))
    return scene


def paint_person(
    scene: Scene, rng: np.random.Generator, height: float, hips: FloatArray, cut: bool = False
) -> tuple[int, Int64Array]:
    """Paints a person of `height` pixels with the hips near `hips` (x, y), moved inside the image unless `cut`.

    Returns the number in the owner map and the joints.
    """
    joints = figures.sample_pose(rng, height)
    low, high = MARGIN - joints.min(0), scene.size - 1 - MARGIN - joints.max(0)
    offset = np.clip(hips, low, np.maximum(low, high))
    if cut:
        axis, side = ((0, -1), (0, 1), (1, 1), (1, 1))[rng.integers(4)]  # left, right, below
        offset[axis] = (high if side > 0 else low)[axis] + side * height * rng.uniform(0.15, 0.4)
    brush, joints_img = scene.brush(), np.round(joints + offset).astype(np.int64)
    figures.paint_figure(brush, joints_img, height, figures.sample_palette(rng))
    return brush.owner, joints_img


def _add_far_people(scene: Scene, rng: np.random.Generator) -> None:
    """Two small people with joints, and one that is too small for joints."""
    for share in (0.12, 0.88):
        number, joints_img = paint_person(scene, rng, rng.uniform(40, 60), scene.size * (share, rng.uniform(0.3, 0.6)))
        scene.people[number] = joints_img
    hips = scene.size * (rng.choice((0.3, 0.7)), rng.uniform(0.2, 0.3))
    scene.unlabelled.append(paint_person(scene, rng, rng.uniform(24, 30), hips)[0])


def _add_crowd(scene: Scene, rng: np.random.Generator) -> None:
    """Two rows of tiny people close together, farther ones first."""
    count, step = int(rng.integers(4, 7)), 13.0
    corner = scene.size * (rng.uniform(0.15, 0.85), rng.uniform(0.2, 0.4)) - (count * step / 2, 0)
    for row, column in itertools.product(range(2), range(count)):
        hips = corner + ((column + 0.5 * row) * step, row * step)
        scene.crowd.append(paint_person(scene, rng, rng.uniform(22, 28), hips)[0])


def _add_crate(scene: Scene, rng: np.random.Generator, centre: Float64Array) -> None:
    """A grey box with an outline."""
    brush, colour = scene.brush(), hsv(rng.uniform(0, 360), 0.12, rng.uniform(0.4, 0.6))
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (rng.uniform(20, 28), rng.uniform(15, 22))
    brush.polygon(centre + corners, figures.darker(colour))
    brush.polygon(centre + 0.88 * corners, colour)


def _background(rng: np.random.Generator, width: int, height: int) -> UInt8Array:
    """A wall, a floor, and a texture and squares on both, low in contrast and in saturation."""
    image = np.empty((height, width, 3), np.float32)
    horizon = int(height * rng.uniform(0.45, 0.8))
    for rows in (slice(0, horizon), slice(horizon, height)):
        image[rows] = hsv(rng.uniform(60, 160), rng.uniform(0.03, 0.15), rng.uniform(0.5, 0.85))
    for cells, strength in ((6, 10), (40, 5)):
        noise = rng.uniform(-strength, strength, (cells, cells)).astype(np.float32)
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)[:, :, None]
    y, x = np.mgrid[:height, :width] // int(rng.integers(14, 30))
    image += 8.0 * ((x + y) % 2)[:, :, None]
    return np.clip(image, 0, 255).astype(np.uint8)
