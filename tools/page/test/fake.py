# SPDX-License-Identifier: Apache-2.0
"""Networks for the tests of the page: they find a person at every red mark of an image, and obey its first pixel."""

import os
import struct
import time
import zlib
from dataclasses import dataclass

from common.media.detectors import clip_boxes, whole_images
from common.media.source import Frame
from common.people import People
from common.skeleton import COCO
from common.train import published
from tools.models import Spec
from tools.page.models import Model

import cv2
import numpy as np

RED, SLOW, DIES, FAILS, ENDLESS = (0, 0, 255), (0, 255, 0), (255, 0, 0), (0, 255, 255), (255, 0, 255)  # BGR
SLOW_S, ENDLESS_S, LEAST_AREA = 0.7, 60.0, 20  # seconds, pixels
ACROSS = {"left": 14, "right": -14}
ROWS = {"eye": -6, "ear": -3, "shoulder": 14, "elbow": 30, "wrist": 46, "hip": 50, "knee": 70, "ankle": 92}
OFFSETS = np.array(
    [[0, 0] if name == "nose" else [ACROSS[name.split("_")[0]], ROWS[name.split("_")[1]]] for name in COCO.keypoints]
)
SPECS = [Spec("Lightweight_OpenPose", "fake.pth"), Spec("MIPNet", "fake.onnx")]


def picture(places=((100, 60),), width=320, height=240, first=(128, 128, 128)) -> np.ndarray:
    image = np.full((height, width, 3), 128, np.uint8)
    for x, y in places:
        cv2.rectangle(image, (x - 4, y - 4), (x + 4, y + 4), RED, -1)
    image[:8, :8] = first
    return image


def png(*words, **more) -> bytes:
    return cv2.imencode(".png", picture(*words, **more))[1].tobytes()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def huge_png(width: int = 10_000, height: int = 10_001) -> bytes:
    """100 megapixels of one bit."""
    size = chunk(b"IHDR", struct.pack(">II", width, height) + b"\x01\x00\x00\x00\x00")
    rows = zlib.compress(bytes((1 + width // 8) * height), 1)
    return b"\x89PNG\r\n\x1a\n" + size + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def animated_gif() -> bytes:
    """Two frames of one pixel."""
    frame = bytes.fromhex("21f904000a000000 2c00000000010001000002024401 00")
    return b"GIF89a" + bytes.fromhex("01000100800000 000000ffffff") + 2 * frame + b";"


@dataclass(frozen=True)
class Network:
    forward: object


def marks(image: np.ndarray) -> np.ndarray:
    first = image[2, 2].astype(int)
    is_near = [np.abs(first - colour).max() < 60 for colour in (SLOW, DIES, FAILS, ENDLESS)]
    if is_near[0] or is_near[3]:
        time.sleep(SLOW_S if is_near[0] else ENDLESS_S)
    if is_near[1]:
        os._exit(1)
    if is_near[2]:
        raise ValueError("first pixel")
    red = (image[..., 2] > 180) & (image[..., :2].max(axis=2) < 90)
    _, _, sizes, centres = cv2.connectedComponentsWithStats(np.uint8(red))
    return centres[1:][sizes[1:, cv2.CC_STAT_AREA] > LEAST_AREA]


class BottomUp:
    def __init__(self) -> None:
        self.skeleton, self.session = COCO, Network(marks)

    def __call__(self, image: np.ndarray) -> People:
        return found(self.session.forward(image))

    def image_maps(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        heat = np.zeros((1, COCO.num_heatmaps, *image.shape[:2]), np.float32)
        for x, y in np.rint(marks(image)).astype(int):
            heat[0, :, y - 5 : y + 6, x - 5 : x + 6] = 1
        return heat, np.ones((1, COCO.num_pafs, *image.shape[:2]), np.float32), np.eye(3)[:2]


class TopDown:
    """Lambda moves the person to the right, 10 pixels from 0 to 1."""

    def __init__(self, lambdas=(0.0, 1.0)) -> None:
        self.skeleton, self.network, self.detector, self.lambdas = COCO, Network(marks), None, tuple(lambdas)

    def __call__(self, image: np.ndarray, boxes=None) -> People:
        frame = Frame("image", 0, 0.0, image)
        places = whole_images([frame])[0] if boxes is None else clip_boxes(boxes, np.ones(len(boxes)), image)
        return self.merged(self.find_in(image, places.boxes_img), places)

    def find(self, images, boxes) -> list[np.ndarray]:
        return [self.find_in(image, of_image.boxes_img) for image, of_image in zip(images, boxes, strict=True)]

    def find_in(self, image: np.ndarray, boxes_img: np.ndarray) -> np.ndarray:
        marked = self.network.forward(image)
        people = np.zeros((len(boxes_img), len(self.lambdas), COCO.num_points, 3))
        for row, (left, top, width, height) in enumerate(boxes_img):
            inside = ((marked > (left, top)) & (marked < (left + width, top + height))).all(axis=1)
            for mode, value in enumerate(self.lambdas):
                people[row, mode] = found(marked[inside][:1] + (10 * value, 0)).keypoints[0] if inside.any() else 0
        return people

    def merged(self, keypoints: np.ndarray, boxes) -> People:
        people = keypoints[:, -1]
        return People(COCO, people, boxes.scores, boxes.boxes_img, lambdas=(1.0,) * len(people))


def found(places: np.ndarray) -> People:
    keypoints = np.ones((len(places), COCO.num_points, 3))
    keypoints[..., :2] = places[:, None] + OFFSETS
    return People(COCO, keypoints, np.ones(len(places)))


def open_kept(spec: Spec) -> Model:
    """As `open_fake`, where the file of weights is there."""
    published.locate(spec.file, spec.directory, ())
    return open_fake(spec)


def open_fake(spec: Spec) -> Model:
    if spec.directory == "MIPNet":
        return Model(spec, TopDown(), lambda: TopDown(np.linspace(0, 1, 11)))
    return Model(spec, BottomUp())
