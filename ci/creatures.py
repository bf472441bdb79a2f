# SPDX-License-Identifier: Apache-2.0
"""Fifty drawn images of a creature with five points, annotated as CVAT exports them: the data of docs/own_keypoints.md.

    python ci/creatures.py FOLDER [--num 50] [--seed 0] [--corrected]

writes FOLDER/images/*.png and FOLDER/annotations.xml. Two mistakes are planted, as people make them: in the first
MISTAKES images left and right are exchanged, and one point is outside its image; --corrected is without them.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from common import cli, files
from common.arrays import Float64Array, UInt8Array

import cv2
import numpy as np

POINTS = ("left_ear", "right_ear", "left_eye", "right_eye", "nose")
# of a creature of size 1 that looks at the camera: its left is on the right of the picture
PLACES = np.array([(0.36, -0.5), (-0.36, -0.5), (0.17, -0.08), (-0.17, -0.08), (0.0, 0.2)])
COLOURS = ((60, 220, 60), (220, 60, 220), (40, 160, 255), (255, 160, 40), (240, 240, 240))
FUR, BACKGROUND = (70, 80, 95), (150, 140, 130)
SIZE = 256, 192  # width, height of an image
MISTAKES = 2
LABEL = "creature"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Draw creatures with five points, annotated as CVAT exports them.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--num", type=int, default=50, help="images [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="another number draws others [%(default)s]")
    parser.add_argument("--corrected", action="store_true", help="without the planted mistakes")
    flags = parser.parse_args()
    write(flags.folder, flags.num, flags.seed, flags.corrected)


def write(folder: Path, num: int = 50, seed: int = 0, corrected: bool = False) -> None:
    """Draws `num` images into `folder`, and their annotations."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    lines = list(_head())
    for number in range(num):
        name, rng = f"creature_{number:03d}.png", np.random.default_rng([seed, number])
        image, creatures = draw(rng, 1 + number % 2)
        cv2.imwrite(str(folder / "images" / name), image)
        lines.append(f'  <image id="{number}" name="{name}" width="{SIZE[0]}" height="{SIZE[1]}">')
        for creature in creatures:
            lines += _skeleton(creature if corrected else _mistaken(creature, number))
        lines.append("  </image>")
    files.write_atomically(folder / "annotations.xml", "\n".join([*lines, "</annotations>", ""]).encode())


def draw(rng: np.random.Generator, count: int) -> tuple[UInt8Array, list[Float64Array]]:
    """An image, (192, 256, 3) uint8 BGR, of creatures side by side, and the points of each, (5, 2) pixels."""
    image = np.full((SIZE[1], SIZE[0], 3), BACKGROUND, np.uint8)
    image = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
    creatures = []
    for place in range(count):
        size = rng.uniform(60, 90)
        centre = (SIZE[0] * (place + 0.5) / count + rng.uniform(-12, 12), SIZE[1] / 2 + rng.uniform(-25, 25))
        angle = rng.uniform(-0.3, 0.3)
        turn = np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
        points = np.array(centre) + size * PLACES @ turn.T
        _paint(image, points, size, angle)
        creatures.append(points)
    return image, creatures


def _paint(image: UInt8Array, points: Float64Array, size: float, angle: float) -> None:
    middle = points[2:].mean(axis=0)
    spots = [(int(round(x)), int(round(y))) for x, y in points]
    for ear in spots[:2]:
        cv2.line(image, ear, (int(middle[0]), int(middle[1])), FUR, max(4, int(size * 0.14)), cv2.LINE_AA)
    axes = int(size * 0.38), int(size * 0.42)
    cv2.ellipse(image, (int(middle[0]), int(middle[1])), axes, np.degrees(angle), 0, 360, FUR, -1, cv2.LINE_AA)
    for spot, colour in zip(spots, COLOURS, strict=True):
        cv2.circle(image, spot, max(3, int(size * 0.075)), colour, -1, cv2.LINE_AA)


def _mistaken(points: Float64Array, number: int) -> Float64Array:
    """The points as they are annotated: with the planted mistakes."""
    points = points.copy()
    if number < MISTAKES:
        points = points[[1, 0, 3, 2, 4]]
    elif number == MISTAKES:
        points[0, 1] = -15
    return points


def _head() -> Iterator[str]:
    yield '<?xml version="1.0" encoding="utf-8"?>'
    yield "<annotations>\n  <version>1.1</version>\n  <meta><task><name>creatures</name><labels>"
    yield f"    <label><name>{LABEL}</name><type>skeleton</type><svg>{_drawing()}</svg></label>"
    for point in POINTS:
        yield f"    <label><name>{point}</name><type>points</type><parent>{LABEL}</parent></label>"
    yield "  </labels></task></meta>"


def _drawing() -> str:
    """The skeleton as CVAT keeps it, XML as text: every point joined to the nose."""
    nodes = [
        f'<circle data-type="element node" data-node-id="{place}" data-label-name="{name}"></circle>'
        for place, name in enumerate(POINTS, 1)
    ]
    pairs = ((5, 3), (5, 4), (3, 1), (4, 2))
    edges = [f'<line data-type="edge" data-node-from="{a}" data-node-to="{b}"></line>' for a, b in pairs]
    return "".join(nodes + edges).replace("<", "&lt;").replace(">", "&gt;")


def _skeleton(points: Float64Array) -> Iterator[str]:
    yield f'    <skeleton label="{LABEL}" source="manual" z_order="0">'
    for name, (x, y) in zip(POINTS, points, strict=True):
        place = f'outside="0" occluded="0" points="{x:.2f},{y:.2f}"'
        yield f'      <points label="{name}" source="manual" {place}></points>'
    yield "    </skeleton>"


if __name__ == "__main__":
    cli.run(main)
