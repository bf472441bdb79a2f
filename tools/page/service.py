# SPDX-License-Identifier: Apache-2.0
"""What the worker process answers: its methods are the calls of `worker.Worker`."""

import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from common.arrays import UInt8Array
from common.cli import ImageError, UserError
from common.coco import images
from common.coco.mini.scenes import SCENES, draw_scene
from common.media.source import Frame
from common.media.tracking import Tracker
from common.media.writers import people_line
from tools.page.models import Boxes, Model, OpenModel
from tools.page.overlay import heat_overlay, paf_overlay
from tools.page.security import RefusedError

import cv2
import numpy as np

STARTS = (b"\xff\xd8", b"\x89PNG", b"BM", b"RIFF")  # JPEG, PNG, BMP, WebP
KINDS = "JPEG, PNG, WebP or BMP"
MOST_SESSIONS = 8  # of cameras whose people are followed
MAX_MISSED = 10  # frames for which a person may be lost and keep the id
SAMPLES, FIRST_SAMPLE = 6, 500_001  # images of the validation part of the drawn data set, which no training saw


class Service:
    """The opened models, and the people that cameras follow."""

    def __init__(self, openers: Sequence[OpenModel]) -> None:
        self.models = [open_model() for open_model in openers]
        self.trackers: OrderedDict[str, Tracker] = OrderedDict()

    def about(self) -> list[dict[str, Any]]:
        """What the page knows of each model."""
        return [self._about(model) for model in self.models]

    def _about(self, model: Model) -> dict[str, Any]:
        skeleton = model.skeleton
        learned = {*skeleton.points}
        return {
            "name": model.spec.directory,
            "file": model.spec.file.rsplit("/", 1)[-1],
            "command": model.spec.command,
            "points": skeleton.points,
            "keypoints": skeleton.keypoints,
            "colours": dict(skeleton.colours),
            "drawn": [limb for limb in skeleton.drawn_limbs if set(limb) <= learned],
            "limbs": [] if model.takes_boxes else skeleton.limbs,
            "boxes": model.takes_boxes,
            "detector": model.spec.detector,
            "lambda": model.takes_lambda,
        }

    def samples(self) -> list[bytes]:
        """Drawn people as JPEG."""
        kinds = [kind for kind in dict.fromkeys(SCENES) if kind != "empty"]
        numbers = [SCENES.index(kind) for kind in kinds[:SAMPLES]]
        return [sample(number) for number in numbers]

    def people(self, content: bytes, name: str, numbers: Sequence[int], boxes: Boxes) -> list[dict[str, Any]]:
        """The people of one image by each of some models: their line of people.jsonl, and seconds."""
        image, answers = decoded(content), []
        for number in numbers:
            people, seconds = self._model(number).people(image, boxes)
            line = people_line(Frame(name, 0, 0.0, image), people)
            answers.append({"model": number, "seconds": seconds, "line": line})
        return answers

    def overlay(self, content: bytes, number: int, kind: str, channel: int | None, boxes: Boxes) -> bytes:
        """Heatmaps or part affinity fields over an image, PNG."""
        image, model = decoded(content), self._model(number)
        maps = model.maps(image, boxes)
        size = image.shape[0], image.shape[1]
        if kind == "pafs" and maps.pafs is None:
            raise UserError(f"{model.spec.directory} has no part affinity fields: it looks for people in boxes.")
        wide = maps.heatmaps.shape[1] if kind == "heatmaps" or maps.pafs is None else maps.pafs.shape[1] // 2
        if channel is not None and not 0 <= channel < wide:
            raise UserError(f"There is no map {channel}: take one of 0 to {wide - 1}.")
        drawn = paf_overlay(maps, size, channel) if kind == "pafs" else heat_overlay(maps, size, channel)
        return cv2.imencode(".png", drawn)[1].tobytes()

    def sweep(self, content: bytes, number: int, boxes: Boxes) -> dict[str, Any]:
        """See `Model.sweep`."""
        return self._model(number).sweep(decoded(content), boxes)

    def camera(self, content: bytes, number: int, session: str, time_s: float, smooth: bool) -> dict[str, Any]:
        """The people of a camera's next frame, with their ids; `session`: which camera."""
        image, model = decoded(content), self._model(number)
        people, seconds = model.people(image)
        key = f"{number} {smooth} {session}"
        tracker = self.trackers.pop(key, None) or Tracker(model.skeleton, smooth, max_missed=MAX_MISSED)
        self.trackers[key] = tracker
        while len(self.trackers) > MOST_SESSIONS:
            self.trackers.popitem(last=False)
        people = tracker.update(people, time_s)
        return {"seconds": seconds, "line": people_line(Frame("camera", 0, time_s, image), people)}

    def _model(self, number: int) -> Model:
        if not 0 <= number < len(self.models):
            raise UserError(f"There is no model {number}.")
        return self.models[number]


def decoded(content: bytes) -> UInt8Array:
    """(h, w, 3) uint8 BGR of a file's bytes, upright. Raises ImageError, or RefusedError for too many pixels."""
    if content.startswith(b"GIF8"):
        raise ImageError("A GIF may move: save the image you mean as PNG, or the animation as a video.")
    if not content.startswith(STARTS):
        raise ImageError(f"This is not an image of a kind that is read: {KINDS}.")
    try:
        image = images.decode(np.frombuffer(content, np.uint8), "turn")
    except cv2.error as error:
        most = int(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"])
        raise RefusedError(413, f"This image has more than {most / 1e6:g} million pixels: make it smaller.") from error
    if image is None:
        raise ImageError(f"This image is damaged or cut short: save it again as {KINDS}.")
    return image


def sample(number: int) -> bytes:
    """A drawn image, JPEG."""
    scene = draw_scene(SCENES[number], np.random.default_rng([0, FIRST_SAMPLE + number]))
    return cv2.imencode(".jpg", scene.canvas_img, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
