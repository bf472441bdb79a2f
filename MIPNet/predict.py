# SPDX-License-Identifier: Apache-2.0
"""People in an image, in three lines of Python.

from MIPNet import PoseEstimator
estimator = PoseEstimator("model_best.pth")
people = estimator("image.jpg", boxes=[[20, 30, 200, 400]])

A network with lambda runs once for each lambda: its results are the modes. Lambda 1 finds the person of the box,
lambda 0 the other one, if there is one; a person that both find counts once. What does not depend on lambda is computed
once for all of them where the network is PyTorch's; an exported one computes all of it again.
"""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.train.checkpoint
from common.arrays import Float32Array, FloatArray, Int64Array, UInt8Array
from common.cli import UserError
from common.coco.evaluate import Detections
from common.media.detectors import Boxes, BoxEstimator, Detector
from common.media.source import Frame
from common.people import People
from common.runtime import metadata
from common.runtime.session import PYTORCH, Options, Session, open_network
from common.topdown import crops, heatmaps, nms, pipeline
from MIPNet import data, keys, weights
from MIPNet.config import DEFAULT_CFG, MODEL_FOLDER, NETWORK, Config
from MIPNet.decode import REFINE
from MIPNet.model import GatedNetwork, build, lambda_vectors

import numpy as np
import torch
from torch import Tensor, nn

LAMBDAS = (0.0, 1.0)  # the other person, and the one whose box it is
CPU_BATCH = 8  # people at once; a CPU gains nothing from more
WITHOUT_NMS = "crowdpose"  # the original suppresses no person there, which finds each person of merged modes twice


@dataclass(frozen=True)
class MergedPeople(Detections):
    """P people, image after image as the images first occur, the best of an image first."""

    modes: Int64Array  # (P,) the mode that found each, of those that are merged
    boxes: Int64Array  # (P,) the box in which
    box_scores: FloatArray  # (P,) as they counted
    keypoint_scores: FloatArray  # (P,) the mean confident keypoint; times the box score this is the person's score


class PoseEstimator(BoxEstimator):
    """A network that finds people in boxes of images: with lambda several in one box, each of them once."""

    def __init__(
        self,
        checkpoint_path: str | Path,
        options: Options | str | None = None,
        detector: Detector | None = None,
        lambdas: Sequence[float] = LAMBDAS,
        cfg: str = "",
        opts: Sequence[Any] = (),
        skeleton: str = "",
    ) -> None:
        """`checkpoint_path`: .pth, .onnx, .xml, .om, or a published name; its own settings override `cfg`.

        `options`: device and runtime, or the name of a device: auto, npu, cuda, cpu. `detector`: finds the boxes where
        none are given. `lambdas`: of the people in a box, different numbers from 0 to 1. `cfg`: yaml config; empty:
        that of the checkpoint's training. `opts`: KEY VALUE words, which override all. `skeleton`: built-in name or
        YAML file; empty: the checkpoint's, else the data set's. Raises UserError where the file is missing, damaged, or
        of another network, for a device that is not there, and for impossible lambdas.
        """
        source = weights.locate_checkpoint(str(checkpoint_path))
        config = load_config(source, cfg, opts, skeleton=skeleton)
        session, _ = open_session(source, Options.of(options), config, lambdas)
        self._use(session, config, lambdas)
        self.detector = detector

    @classmethod
    def of_session(
        cls, session: Session, config: Config, lambdas: Sequence[float] = LAMBDAS, batch_size: int = CPU_BATCH
    ) -> "PoseEstimator":
        """With a network that is open already."""
        estimator = cls.__new__(cls)
        estimator._use(session, config, lambdas)
        estimator.batch_size = batch_size
        return estimator

    def _use(self, session: Session, config: Config, lambdas: Sequence[float]) -> None:
        takes_lambda = len(session.inputs) > 1 if session.inputs else config.takes_lambda  # as exported
        are_valid = bool(lambdas) and all(0 <= value <= 1 for value in lambdas) and len(set(lambdas)) == len(lambdas)
        if takes_lambda and not are_valid:
            raise UserError(f"--lambdas={','.join(map(str, lambdas))}: different numbers from 0 to 1, such as 0,1")
        self.lambdas = tuple(lambdas) if takes_lambda else ()
        self.num_modes = max(1, len(self.lambdas))  # how many people a box may give
        self.config, self.skeleton = config, config.load_skeleton()
        self.batch_size = CPU_BATCH
        cfg, count = config.yaml, self.skeleton.num_keypoints
        flips = [self.skeleton.keypoint_flip + mode * count for mode in range(self.num_modes)]
        asked = _for_lambdas(session, self.lambdas) if len(session.inputs) > 1 else session
        self.network = pipeline.TopDownNetwork(
            size_in=session.fixed_size or config.size_in,
            num_maps=self.num_modes * count,  # mode after mode
            normalise=functools.partial(normalise_crops, color_rgb=cfg.DATASET.COLOR_RGB),
            forward=pipeline.maps_of(asked, self.num_modes * count),
            decode=functools.partial(heatmaps.decode, refine=REFINE[refinement_of(config)]),
            flip=np.concatenate(flips) if cfg.TEST.FLIP_TEST else None,
            shift=cfg.TEST.SHIFT_HEATMAP,
            padding=cfg.TEST.SCALE_THRE,
            fixed_batch=session.fixed_batch,
        )

    def people(self, frames: Sequence[Frame], boxes: Sequence[Boxes]) -> list[People]:
        """The people in the boxes of each frame; their crops go together. Raises UserError for NaN."""
        return list(map(self.merged, self.find([frame.image for frame in frames], boxes), boxes))

    def find(self, images: Sequence[UInt8Array], boxes: Sequence[Boxes]) -> list[FloatArray]:
        """For each image (N, modes, K, 3) x, y in its pixels, score: what each mode finds in each of its N boxes."""
        places = [found.boxes_img for found in boxes]
        found = pipeline.estimate_images(images, places, self.network, self.batch_size)
        shape = self.num_modes, self.skeleton.num_keypoints, 3
        return [keypoints.reshape(-1, *shape) for keypoints in found]

    def merged(self, keypoints_img: FloatArray, boxes: Boxes) -> People:
        """Each person of an image once: `keypoints_img` is what `find` gave for its boxes."""
        found = self.merge(keypoints_img, boxes.boxes_img, boxes.scores, np.zeros(len(boxes.scores), np.int64))
        lambdas = tuple(self.lambdas[mode] for mode in found.modes) if self.lambdas else ()
        return People(self.skeleton, found.keypoints, found.scores, boxes.boxes_img[found.boxes], lambdas=lambdas)

    def merge(
        self,
        keypoints_img: FloatArray,
        boxes_img: FloatArray,
        scores: FloatArray,
        image_ids: Int64Array,
        modes: Sequence[int] | None = None,
    ) -> MergedPeople:
        """Each person once, of all modes or of some. `keypoints_img` as of `find`; boxes (N, 4), scores, ids (N,).

        With lambda 0 the boxes' scores count less. Where people's scores are equal, a later mode comes first, and
        within a mode a later box. The area of a person is that of the crop.
        """
        test, chosen = self.config.yaml.TEST, list(range(self.num_modes) if modes is None else modes)
        decay = np.array([1.0 if value else test.DECAY_THRE for value in self.lambdas or (1.0,)])[chosen]
        mode, box = (axis.ravel() for axis in np.indices((len(chosen), len(boxes_img))))
        keypoints, ids = keypoints_img[:, chosen][box, mode], image_ids[box]
        box_scores, keypoint_scores = scores[box] * decay[mode], nms.confident_mean(keypoints[..., 2], test.IN_VIS_THRE)
        totals = keypoint_scores * box_scores
        if nms_of(self.config, len(chosen)) == "oks":
            _, sizes = crops.fit_boxes(boxes_img, self.network.size_in, self.network.padding)
            areas, sigmas = sizes.prod(axis=1)[box], self.skeleton.sigmas
            rows = nms.oks_nms(keypoints, areas, totals, sigmas, test.OKS_THRE, ids)
        else:
            rows = np.concatenate(nms.by_image(totals, ids, last_first=True))
        columns = (ids, keypoints, totals, mode, box, box_scores, keypoint_scores)
        return MergedPeople(*(values[rows] for values in columns))


def refinement_of(config: Config) -> str:
    """How peaks are refined: a key of `decode.REFINE`."""
    return config.yaml.TEST.REFINEMENT if config.yaml.TEST.POST_PROCESS else "none"


def nms_of(config: Config, modes: int) -> str:
    """How people found in `modes` modes are suppressed: none or oks."""
    if config.yaml.TEST.NMS != "recipe":
        return config.yaml.TEST.NMS
    return "none" if config.data_set == WITHOUT_NMS and modes == 1 else "oks"


def load_config(source: Path | None, cfg: str, opts: Sequence[Any] = (), **flags: Any) -> Config:
    """The settings that a network file belongs to. Raises UserError for an unreadable file.

    The yaml config `cfg` (empty: the one that the checkpoint was trained with, else the published one), above it what
    a checkpoint says of its own network, above that `opts`, KEY VALUE words. `flags` are fields of Config.
    """
    exported, skeleton = metadata.of(source, NETWORK, flags.get("skeleton", "")) if source else ({}, "")
    content = common.train.checkpoint.read(source) if source and source.suffix in PYTORCH else exported
    known = content.get("config") if isinstance(content.get("config"), dict) else {}
    read = keys.OF_THE_NETWORK if cfg else keys.OF_THE_NETWORK + keys.OF_THE_DATA_SET
    own = keys.KEYS.of_checkpoint(str(source), known, read)
    trained_with = str(known.get("cfg", ""))  # may be gone, or on another machine
    if not any((folder / trained_with).is_file() for folder in (Path(), MODEL_FOLDER)):
        trained_with = DEFAULT_CFG
    flags["skeleton"] = skeleton or flags.get("skeleton") or str(known.get("skeleton", ""))
    return Config(cfg=cfg or trained_with, opts=(*own, *opts), **flags)


def open_session(
    source: Path, options: Options, config: Config, lambdas: Sequence[float] = LAMBDAS
) -> tuple[Session, str]:
    """A network file of any format as it runs fastest, and what loading it reported (empty where there is nothing).

    Raises UserError, see `common.runtime.session.open_network`.
    """
    count, reports = config.load_skeleton().num_keypoints, []

    def load(path: Path) -> nn.Module:
        network = build(config.yaml.MODEL, count)
        reports.append(weights.load_checkpoint(network, path))
        return for_inference(network, lambdas)

    session = metadata.checked(open_network(source, options, load), NETWORK, {-1: count}, inputs=2)
    return session, "".join(reports)


def normalise_crops(crops: UInt8Array, color_rgb: bool = True) -> Float32Array:
    """(B, H, W, 3) uint8 BGR -> (B, 3, H, W) float32, see `data.normalise_batch`; `color_rgb`: channels R, G, B."""
    images = np.ascontiguousarray((crops[..., ::-1] if color_rgb else crops).transpose(0, 3, 1, 2))
    return data.normalise_batch(torch.from_numpy(images)).numpy()


def _for_lambdas(session: Session, lambdas: Sequence[float]) -> Session:
    """Wraps an exported network that takes lambda: takes images alone, and returns the maps of all lambdas."""

    def forward(arrays: Sequence[Float32Array]) -> list[Float32Array]:
        return [np.concatenate([session(*with_lambda(arrays[0], value))[-1] for value in lambdas], axis=1)]

    return dataclasses.replace(session, inputs=session.inputs[:1], forward=forward)


def with_lambda(images: Float32Array, value: float) -> tuple[Float32Array, Float32Array]:
    """The inputs of an exported network with lambda: images (B, 3, H, W), and (B, 2) the lambda vector of each."""
    return images, lambda_vectors(torch.full((len(images),), value)).numpy()


class AskedForLambdas(nn.Module):
    """A network that runs for several lambdas; its trunk runs once."""

    def __init__(self, network: nn.Module, lambdas: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("vectors", lambda_vectors(torch.tensor(lambdas)))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, modes * num_joints, h, w)."""
        features = self.network.trunk(images)
        rows = len(images)
        return torch.cat([self.network.head(features, vector.expand(rows, -1)) for vector in self.vectors], dim=1)


def for_inference(network: GatedNetwork, lambdas: Sequence[float]) -> nn.Module:
    """The network with the requested modes; one without lambda has one."""
    return AskedForLambdas(network, lambdas) if network.uses_lambda else network
