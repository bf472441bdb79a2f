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

import common.train.checkpoint
from AlphaPose import data, decode, keys, weights
from AlphaPose.config import DEFAULT_CFG, NETWORK, Config
from AlphaPose.model import build
from AlphaPose.people_json import untracked_ids
from AlphaPose.pose_nms import pose_nms
from common.arrays import Float32Array, UInt8Array
from common.media.detectors import Boxes, BoxEstimator, Detector
from common.media.source import Frame
from common.people import People
from common.runtime import metadata
from common.runtime.session import PYTORCH, Options, Session, open_network
from common.topdown import heatmaps, pipeline

import numpy as np
import torch
from torch import nn

DEFAULT_BATCH = 80  # people at once, as published


class PoseEstimator(BoxEstimator):
    """A network that finds people in boxes of images, and pose NMS, as the published demo does."""

    def __init__(
        self,
        checkpoint_path: str | Path,
        options: Options | str | None = None,
        detector: Detector | None = None,
        cfg: str = DEFAULT_CFG,
        skeleton: str = "",
        flip_test: bool = False,
    ) -> None:
        """`checkpoint_path`: .pth, .onnx, .xml, .om, or a published name; its own settings override `cfg`.

        `options`: device and runtime, or the name of a device: auto, npu, cuda, cpu.
        `detector`: finds the people where no boxes are given, see `common.media.detectors.open_detector`. Raises
        UserError where the file is missing, damaged, or of another network, and for a device that is not there.
        """
        source = weights.locate_checkpoint(str(checkpoint_path))
        config = load_config(cfg, source, flip_test=flip_test, skeleton=skeleton)
        self._use(open_session(source, Options.of(options), config), config)
        self.detector = detector

    @classmethod
    def of_session(cls, session: Session, config: Config, batch_size: int = DEFAULT_BATCH) -> "PoseEstimator":
        """With a network that is open already."""
        estimator = cls.__new__(cls)
        estimator._use(session, config)
        estimator.batch_size = batch_size
        return estimator

    def _use(self, session: Session, config: Config) -> None:
        self.config, self.skeleton = config, config.load_skeleton()
        self.batch_size, self.min_box_area = DEFAULT_BATCH, 0.0
        loss, count = config.yaml.LOSS, self.skeleton.num_keypoints
        regress = functools.partial(decode.regress, norm=loss.NORM_TYPE)
        self.network = pipeline.TopDownNetwork(
            size_in=session.fixed_size or config.size_in,
            num_maps=count,
            normalise=normalise_crops,
            forward=pipeline.maps_of(session, count),
            decode=regress if loss.TYPE == "L1JointRegression" else heatmaps.decode,
            flip=self.skeleton.keypoint_flip if config.flip_test else None,
            fixed_batch=session.fixed_batch,
        )

    def people(self, frames: Sequence[Frame], boxes: Sequence[Boxes]) -> list[People]:
        """The people of each frame, the best first, each of them once; their boxes are the detector's.

        Crops of all boxes go through the network together. Raises UserError for NaN.
        """
        images, places = [frame.image for frame in frames], [found.boxes_img for found in boxes]
        return list(map(self._merged, pipeline.estimate_images(images, places, self.network, self.batch_size), boxes))

    def _merged(self, keypoints: Float32Array, boxes: Boxes) -> People:
        """Each person once: pose NMS."""
        sides = boxes.boxes_img[:, 2:].max(axis=1)
        merged = pose_nms(keypoints, sides, boxes.scores, min_box_area=self.min_box_area)
        ids = [boxes.ids[pick] for pick in merged.picks]
        if all(name is None for name in ids):
            ids = untracked_ids(merged.members)
        return People(self.skeleton, merged.keypoints_img, merged.scores, boxes.boxes_img[merged.picks], tuple(ids))


def load_config(cfg: str, source: Path, opts: Sequence[Any] = (), **flags: Any) -> Config:
    """The settings that a network file belongs to. Raises UserError for an unreadable file.

    The yaml config `cfg`, overridden by a checkpoint's own settings, then by `opts`, KEY VALUE words.
    `flags` are fields of Config; an empty `skeleton` is that of the checkpoint.
    """
    exported, skeleton = metadata.of(source, NETWORK, flags.get("skeleton", ""))
    content = common.train.checkpoint.read(source) if source.suffix in PYTORCH else exported
    known = content.get("config") if isinstance(content.get("config"), dict) else {}
    flags["skeleton"] = skeleton or str(known.get("skeleton", Config.skeleton))
    return Config(cfg=cfg, opts=(*keys.KEYS.of_checkpoint(str(source), known, keys.OF_THE_NETWORK), *opts), **flags)


def open_session(source: Path, options: Options, config: Config) -> Session:
    """A network file of any format as it runs fastest. Raises UserError, see `common.runtime.session.open_network`."""
    count = config.load_skeleton().num_keypoints

    def load(path: Path) -> nn.Module:
        return weights.load_network(build(config.yaml.MODEL, count), path)

    return metadata.checked(open_network(source, options, load), NETWORK, {-1: count})


def normalise_crops(crops: UInt8Array) -> Float32Array:
    """(B, H, W, 3) uint8 BGR -> (B, 3, H, W) float32 RGB, see `data.normalise_batch`."""
    images = np.ascontiguousarray(crops[..., ::-1].transpose(0, 3, 1, 2))
    return data.normalise_batch(torch.from_numpy(images)).numpy()
