# SPDX-License-Identifier: Apache-2.0
"""People in an image, in three lines of Python.

from AlphaPose import PoseEstimator
estimator = PoseEstimator("fast_res50_256x192.pth")
people = estimator("image.jpg", boxes=[[20, 30, 200, 400]])
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from AlphaPose import weights
from AlphaPose.config import DEFAULT_CFG
from AlphaPose.inference import estimator, open_session, recipe_of, rule_of
from AlphaPose.people_json import untracked_ids
from AlphaPose.pose_nms import pose_nms
from common.arrays import UInt8Array
from common.cli import UserError
from common.media.detectors import Boxes, Detector, sound, whole_images
from common.media.source import Frame, read_upright
from common.people import People, nobody
from common.runtime.session import Options
from common.skeleton import load
from common.topdown import pipeline

import numpy as np
import numpy.typing as npt


class PoseEstimator:
    """A network that finds people in boxes of images, and pose NMS, as the published demo does."""

    def __init__(
        self,
        checkpoint_path: str | Path,
        options: Options | None = None,
        detector: Detector | None = None,
        cfg: str = DEFAULT_CFG,
        skeleton: str = "",
        flip_test: bool = False,
    ) -> None:
        """`checkpoint_path`: .pth, .onnx, .xml, .om, or a published name; what it says of itself wins over `cfg`.

        `detector`: who finds the people where no boxes are given, see `common.media.detectors.open_detector`. Raises
        UserError where the file is missing, damaged, or of another network.
        """
        source = weights.locate(str(checkpoint_path))
        own = {"skeleton": skeleton} if skeleton else {}
        config = recipe_of(cfg, source, flip_test=flip_test, **own)
        self.skeleton, self.detector = load(config.skeleton), detector
        session = open_session(source, options or Options(), config, self.skeleton)
        self.network = estimator(session, rule_of(config), self.skeleton)
        self.batch_size, self.min_box_area = 80, 0.0

    def __call__(self, image: UInt8Array | str | Path, boxes: npt.ArrayLike | None = None) -> People:
        """The people in an image, (h, w, 3) uint8 BGR or a path; keypoints in its pixels.

        `boxes` (N, 4) left, top, width, height in its pixels; without them those of the detector, else the whole image.
        """
        name = str(image) if isinstance(image, (str, Path)) else "image"
        frame = Frame(name, 0, 0.0, read_upright(Path(image)) if isinstance(image, (str, Path)) else image)
        if boxes is not None:
            found = sound(boxes, np.ones(len(np.asarray(boxes).reshape(-1, 4))), frame.image)
        else:
            (found,) = (self.detector or whole_images)([frame])
        (people,) = self.people([frame], [found])
        return people

    def people(self, frames: Sequence[Frame], boxes: Sequence[Boxes]) -> list[People]:
        """The people of each frame, the surest first; their boxes are the detector's.

        Crops of all boxes go through the network together. Raises UserError for NaN.
        """
        counts = [len(found.scores) for found in boxes]
        owners = np.repeat(np.arange(len(counts)), counts)
        places = np.concatenate([found.boxes_img for found in boxes])
        keypoints = np.zeros((len(owners), self.network.num_maps, 3), np.float32)
        rows = [np.flatnonzero(owners == place) for place in range(len(counts))]
        pictures = [
            pipeline.Picture(functools.partial(_pixels, frame), places[mine], mine)
            for frame, mine in zip(frames, rows, strict=True)
            if len(mine)
        ]
        for found in pipeline.estimate(pictures, self.network, self.batch_size):
            keypoints[found.rows] = found.keypoints_img
        if not np.isfinite(keypoints).all():
            frame = frames[int(owners[~np.isfinite(keypoints).all((1, 2))][0])]
            raise UserError(f"{frame.name}: the network's result has NaN or infinity in it; look at its weights")
        return [self._merged(keypoints[mine], found) for mine, found in zip(rows, boxes, strict=True)]

    def _merged(self, keypoints: Any, boxes: Boxes) -> People:
        """Each person once: pose NMS."""
        if not len(boxes.scores):
            return nobody(self.skeleton)
        corners = np.hstack([boxes.boxes_img[:, :2], boxes.boxes_img[:, :2] + boxes.boxes_img[:, 2:]])
        merged = pose_nms(keypoints, corners, boxes.scores, min_box_area=self.min_box_area)
        given = [boxes.ids[pick] for pick in merged.picks]
        ids = given if any(name is not None for name in given) else untracked_ids(merged.members)
        found = merged.boxes_img.astype(np.float64)
        found[:, 2:] -= found[:, :2]
        return People(self.skeleton, merged.keypoints_img, merged.scores, found, tuple(ids))


def _pixels(frame: Frame) -> UInt8Array:
    return frame.image
