# SPDX-License-Identifier: Apache-2.0
"""Where the people of a top-down demo are: given boxes, a network of torchvision, or the whole image is one person.

`common.media.detection_file` reads boxes from a file. Lengths are original pixels.
"""

import importlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

from common.arrays import Float64Array, UInt8Array
from common.cli import UserError
from common.coco.fields import BOX_NUMBERS
from common.coco.images import upright_image
from common.media.source import Frame
from common.people import People

import numpy as np
import numpy.typing as npt
import torch

PERSON = 1  # class of torchvision's detectors
_NAMES = """fasterrcnn_resnet50_fpn fasterrcnn_resnet50_fpn_v2 fasterrcnn_mobilenet_v3_large_fpn
fasterrcnn_mobilenet_v3_large_320_fpn retinanet_resnet50_fpn retinanet_resnet50_fpn_v2 fcos_resnet50_fpn ssd300_vgg16
ssdlite320_mobilenet_v3_large maskrcnn_resnet50_fpn"""
TORCHVISION = tuple(_NAMES.split())
MIN_SCORE = 0.3  # of a box, a probability


class Boxes(NamedTuple):
    """N people of an image, the best first."""

    boxes_img: Float64Array  # (N, 4) left, top, width, height
    scores: Float64Array  # (N,)
    ids: list[Any]  # N identities of a tracking detector; None where it gave none


Detector = Callable[[Sequence[Frame]], list[Boxes]]


class BoxEstimator(ABC):
    """A `PoseEstimator` that looks for people in boxes: given ones, a detector's, else the whole image is one."""

    detector: Detector | None = None

    @abstractmethod
    def people(self, frames: Sequence[Frame], boxes: Sequence[Boxes]) -> list[People]:
        """The people in the boxes of each frame, the best first, each of them once. Raises UserError for NaN."""

    def __call__(self, image: UInt8Array | str | Path, boxes: npt.ArrayLike | None = None) -> People:
        """The people in an image, (h, w, 3) uint8 BGR or a path; keypoints in its pixels.

        `boxes` (N, 4) left, top, width, height in its pixels; without them those of the detector, else the whole image.
        Raises UserError for what is no image or no boxes, and for a network that gives NaN.
        """
        frame = _frame(image)
        found = [given_boxes(boxes, frame.image)] if boxes is not None else (self.detector or whole_images)([frame])
        return self.people([frame], found)[0]

    def batch(self, images: Sequence[UInt8Array | str | Path]) -> list[People]:
        """The people in each image, given as in a call without boxes; crops of all go through the network together."""
        frames = list(map(_frame, images))
        return self.people(frames, (self.detector or whole_images)(frames))


def _frame(image: UInt8Array | str | Path) -> Frame:
    return Frame(str(image) if isinstance(image, str | Path) else "image", 0, 0.0, upright_image(image))


def clip_boxes(
    boxes: npt.ArrayLike, scores: npt.ArrayLike, image: UInt8Array, ids: Sequence[Any] | None = None
) -> Boxes:
    """Boxes (N, 4) left, top, width, height cut at the image, without empty ones, best first."""
    given, sure = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(scores, np.float64).reshape(-1)
    size = np.array(image.shape[1::-1])
    start = np.clip(given[:, :2], 0, size)
    extent = np.clip(given[:, :2] + given[:, 2:], 0, size) - start
    rows = np.flatnonzero(np.isfinite(given).all(axis=1) & np.isfinite(sure) & (extent >= 1).all(axis=1))
    rows = rows[np.argsort(-sure[rows], kind="stable")]
    names = [None] * len(given) if ids is None else ids
    return Boxes(np.hstack([start, extent])[rows], sure[rows], [names[row] for row in rows.tolist()])


def given_boxes(boxes: npt.ArrayLike, image: UInt8Array) -> Boxes:
    """Boxes that a caller names, (N, 4) left, top, width, height, as `clip_boxes` leaves them. Raises UserError."""
    try:
        given = np.asarray(boxes, np.float64)
    except (TypeError, ValueError):  # rows of several lengths, or words
        given = np.full(1, np.nan)
    if not (given.size == 0 or (given.ndim == 2 and given.shape[1] == BOX_NUMBERS and np.isfinite(given).all())):
        raise UserError(f"boxes={str(boxes)[:80]}: (N, 4) finite numbers: left, top, width, height of each in pixels")
    return clip_boxes(given, np.ones(given.size // BOX_NUMBERS), image)


def open_detector(name: str, min_score: float | None, device: torch.device) -> Detector:
    """A network of torchvision by name; without a name the whole image is one person's, with a warning.

    Raises UserError for another name, or where torchvision is missing.
    """
    if not name:
        sys.stderr.write("warning: no --detector, --detections or --boxes: the whole image is the box of one person\n")
        return whole_images
    if name not in TORCHVISION:
        raise UserError(f"--detector={name}: take one of {', '.join(TORCHVISION)}, or name a file with --detections")
    return torchvision_detector(name, MIN_SCORE if min_score is None else min_score, device)


def whole_images(frames: Sequence[Frame]) -> list[Boxes]:
    """A Detector: the whole image as a box."""
    sizes = [frame.image.shape[1::-1] for frame in frames]
    return [Boxes(np.array([[0, 0, *size]], np.float64), np.ones(1), [None]) for size in sizes]


def fixed_boxes(words: str) -> Detector:
    """A Detector that gives each frame the boxes of `left,top,width,height[;...]`. Raises UserError for other words.

    The Detector raises UserError for a box outside of a frame.
    """
    try:
        boxes = np.array([box.split(",") for box in words.split(";") if box.strip()], np.float64)
        if boxes.shape[1:] != (BOX_NUMBERS,) or not (np.isfinite(boxes).all() and (boxes[:, 2:] > 0).all()):
            raise ValueError
    except ValueError as error:
        needed = "left,top,width,height[;left,top,width,height...], finite, a width and a height above 0"
        raise UserError(f"--boxes={words}: {needed}") from error

    def detect(frames: Sequence[Frame]) -> list[Boxes]:
        answers = [given_boxes(boxes, frame.image) for frame in frames]
        for frame, found in zip(frames, answers, strict=True):
            if len(found.scores) < len(boxes):
                width, height = frame.image.shape[1::-1]
                raise UserError(f"{frame.name}: a box of --boxes={words} is outside of its {width} x {height}")
        return answers

    return detect


def torchvision_detector(name: str, min_score: float, device: torch.device) -> Detector:
    """A Detector; frames of one call go through the network together.

    Raises UserError where torchvision or the weights of the network are missing.
    """
    other = "or name a file with --detections"
    try:
        build = getattr(importlib.import_module("torchvision.models.detection"), name)
        network = build(weights="DEFAULT").eval().to(device)
    except ImportError as error:
        package = "the package torchvision (pip install torchvision, of torch's version)"
        raise UserError(f"--detector={name} needs {package}, {other}") from error
    except (URLError, OSError, RuntimeError) as error:
        reason = f"its weights are not in {torch.hub.get_dir()}/checkpoints and cannot be fetched ({error})"
        raise UserError(f"--detector={name}: {reason}; copy them there, {other}") from error

    def detect(frames: Sequence[Frame]) -> list[Boxes]:
        inputs = [torch.from_numpy(frame.image[..., ::-1].copy()).permute(2, 0, 1).float() / 255 for frame in frames]
        with torch.inference_mode():
            answers = network([image.to(device) for image in inputs])
        found = []
        for answer, frame in zip(answers, frames, strict=True):
            corners, scores, labels = (answer[key].cpu().numpy() for key in ("boxes", "scores", "labels"))
            rows = (labels == PERSON) & (scores >= min_score)
            boxes = np.hstack([corners[rows, :2], corners[rows, 2:] - corners[rows, :2]])
            found.append(clip_boxes(boxes, scores[rows], frame.image))
        return found

    return detect
