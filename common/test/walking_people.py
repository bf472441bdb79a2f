# SPDX-License-Identifier: Apache-2.0
"""What tests of bottom-up demos share: drawn videos of people who walk, and what a run left behind."""

import json
import math
from pathlib import Path

from common.media.demo import DemoFlags, run
from common.media.source import open_source
from common.media.writers import VideoWriter
from common.people import People
from common.skeleton import OPENPOSE

import cv2
import numpy as np

SCHEMA = Path(__file__).parents[2] / "docs/people.schema.json"
WIDTH, HEIGHT = 320, 240
COLOURS = {"blue": (255, 40, 40), "green": (40, 255, 40), "red": (40, 40, 255)}
ANGLE = np.linspace(0, 2 * np.pi, OPENPOSE.num_points, endpoint=False)
STANDING = {
    "nose": (0, -0.42),
    "neck": (0, -0.3),
    "shoulder": (0.12, -0.3),
    "elbow": (0.17, -0.14),
    "wrist": (0.2, 0.02),
    "hip": (0.08, 0.02),
    "knee": (0.1, 0.25),
    "ankle": (0.1, 0.46),
    "eye": (0.03, -0.45),
    "ear": (0.06, -0.43),
}


def figure(x: float, y: float) -> np.ndarray:
    return np.stack([x + 12 * np.cos(ANGLE), y + 30 * np.sin(ANGLE), np.full(len(ANGLE), 0.9)], 1)


def standing(x: float, y: float, height: float) -> np.ndarray:
    """(num_points, 3) in original pixels: a person of the OpenPose skeleton, seen from the front."""
    across = {"left": 1, "right": -1}
    sides = [(across.get(name.split("_")[0], 0), STANDING[name.split("_")[-1]]) for name in OPENPOSE.points]
    return np.array([(x + height * side * dx, y + height * dy, 1.0) for side, (dx, dy) in sides])


def places(step: int) -> dict[str, tuple[int, int]]:
    """Three who walk: two pass each other, one comes down."""
    return {"blue": (40 + 4 * step, 70), "green": (280 - 4 * step, 130), "red": (160, 180 + step // 4)}


def scene(step: int) -> np.ndarray:
    image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    for name, (x, y) in places(step).items():
        cv2.rectangle(image, (x - 8, y - 8), (x + 8, y + 8), COLOURS[name], -1)
    return image


def find_squares(image):
    """An estimator that really looks: a person around each square, in an order that changes with the picture."""
    people = []
    for colour in COLOURS.values():
        rows, columns = np.nonzero(cv2.inRange(image, np.subtract(colour, 90.0), np.add(colour, 90.0)))
        if len(rows) > 50:
            people.append(figure(columns.mean(), rows.mean()))
    order = np.random.default_rng(int(image.sum()) % 1000).permutation(len(people))
    points = np.array([people[index] for index in order]).reshape(-1, OPENPOSE.num_points, 3)
    return People(OPENPOSE, points, 10.0 + order)


def video_of(path: Path, steps: int) -> Path:
    with VideoWriter(path, 25.0) as video:
        for step in range(steps):
            video.write(scene(step))
    return path


def run_demo(folder: Path, source, estimate=find_squares, on_bad_image="error", group=1, **flags) -> list[dict]:
    """The lines that a run leaves in the folder `out`."""
    flags = DemoFlags(output_dir=str(folder / "out"), **{"max_missed": 0, **flags})
    opened = open_source(source, on_bad_image)
    run(flags, opened, OPENPOSE, lambda frames: [estimate(frame.image) for frame in frames], group)
    return lines_of(folder / "out")


def lines_of(folder: Path) -> list[dict]:
    """Those of people.jsonl; each has what docs/people.schema.json asks for, and nothing else."""
    lines = [json.loads(line) for line in (folder / "people.jsonl").read_text().splitlines()]
    for line in lines:
        check_schema(line, json.loads(SCHEMA.read_text()))
    return lines


def check_schema(value, schema: dict) -> None:
    """The part of JSON Schema that the file uses."""
    kinds = {"object": dict, "array": list, "string": str, "null": type(None), "integer": int, "number": (int, float)}
    named = schema.get("type", list(kinds))
    assert any(isinstance(value, kinds[kind]) for kind in ([named] if isinstance(named, str) else named)), value
    assert value == schema.get("const", value)
    if isinstance(value, dict):
        assert set(schema.get("required", ())) <= set(value), value
        for key, item in value.items():
            check_schema(item, schema.get("properties", {}).get(key) or schema["additionalProperties"])
    if isinstance(value, list):
        assert schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf), value
        for item in value:
            check_schema(item, schema["items"])


def count_frames(path: Path) -> int:
    return sum(1 for _ in open_source(path).frames())


def centre(person: dict) -> tuple[float, float]:
    x, y, width, height = person["box"]
    return x + (width - 1) / 2, y + (height - 1) / 2
