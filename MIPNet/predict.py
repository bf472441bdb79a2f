# SPDX-License-Identifier: Apache-2.0
"""People in an image, in three lines of Python.

from MIPNet import PoseEstimator
estimator = PoseEstimator("model_best.pth")
people = estimator("image.jpg", boxes=[[20, 30, 200, 400]])
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.arrays import FloatArray, UInt8Array
from common.media.detectors import Boxes, Detector, sound, whole_images
from common.media.source import Frame, read_upright
from common.people import People, nobody
from common.runtime.session import Options
from common.skeleton import load
from common.topdown import crops, pipeline
from MIPNet import weights
from MIPNet.evaluation import CPU_BATCH
from MIPNet.inference import LAMBDAS, estimator, fitting, open_session, recipe_of, rule_of
from MIPNet.merging import BoxPeople, MergeRules, decay_modes, merge_modes
from MIPNet.preparation import check_joints

import numpy as np
import numpy.typing as npt


class PoseEstimator:
    """A network that finds people in boxes of images: with lambda several in one box, each of them once."""

    def __init__(
        self,
        checkpoint_path: str | Path,
        options: Options | None = None,
        detector: Detector | None = None,
        lambdas: Sequence[float] = LAMBDAS,
        cfg: str = "",
        flip_test: bool = True,
        changes: dict[str, Any] | None = None,
    ) -> None:
        """`checkpoint_path`: .pth, .onnx, .xml, .om, or a published name; what it says of itself wins over `cfg`.

        `lambdas`: what a network that takes lambda is asked for in each box. `detector`: who finds the people where no
        boxes are given. `changes`: fields of the configuration that win over all. Raises UserError where the file is
        missing, damaged, or of another network.
        """
        source = weights.locate(str(checkpoint_path))
        config = recipe_of(cfg, source, {}, changes or {})
        self.skeleton, self.detector = load(config.skeleton_name), detector
        check_joints(config, self.skeleton)
        config = replace(config, flip_test=flip_test and config.flip_test)
        session, _ = open_session(source, options or Options(), config, self.skeleton, lambdas)
        rule = fitting(rule_of(config, lambdas), session, lambdas)
        self.lambdas, self.decay = rule.lambdas, config.other_decay  # no lambdas for a network without
        self.network, self.batch_size = estimator(session, rule, self.skeleton), CPU_BATCH

    def __call__(self, image: UInt8Array | str | Path, boxes: npt.ArrayLike | None = None) -> People:
        """The people in an image, (h, w, 3) uint8 BGR or a path, the best first; keypoints in its pixels.

        `boxes` (N, 4) left, top, width, height in its pixels; without them those of the detector, else the whole image.
        """
        name = str(image) if isinstance(image, (str, Path)) else "image"
        frame = Frame(name, 0, 0.0, read_upright(Path(image)) if isinstance(image, (str, Path)) else image)
        if boxes is not None:
            return self.people(frame, sound(boxes, np.ones(len(np.asarray(boxes).reshape(-1, 4))), frame.image))
        return self.people(frame, (self.detector or whole_images)([frame])[0])

    def people(self, frame: Frame, boxes: Boxes) -> People:
        """The people in the boxes of a frame."""
        if not len(boxes.scores):
            return nobody(self.skeleton)
        found = self.modes(frame.image, boxes.boxes_img)
        _, sizes = crops.fit_boxes(boxes.boxes_img, self.network.size_in, self.network.padding)
        ids, areas = np.zeros(len(found), np.int64), sizes.prod(axis=1)
        modes = [BoxPeople(ids, found[:, mode], boxes.scores, areas) for mode in range(found.shape[1])]
        modes = decay_modes(modes, self.lambdas, self.decay) if self.lambdas else modes
        merged = merge_modes(modes, self.skeleton.sigmas, MergeRules(decay=self.decay))
        lambdas = tuple(self.lambdas[mode] for mode in merged.modes) if self.lambdas else ()
        detections = merged.detections
        return People(
            self.skeleton, detections.keypoints, detections.scores, boxes.boxes_img[merged.boxes], lambdas=lambdas
        )

    def modes(self, image: UInt8Array, boxes_img: FloatArray) -> FloatArray:
        """(N, modes, K, 3) x, y in original pixels, score: what each lambda finds in each of N boxes."""
        picture = pipeline.Picture(lambda: image, boxes_img, np.arange(len(boxes_img)))
        found = [part.keypoints_img for part in pipeline.estimate([picture], self.network, self.batch_size)]
        return np.concatenate(found).reshape(len(boxes_img), -1, self.skeleton.num_keypoints, 3)
