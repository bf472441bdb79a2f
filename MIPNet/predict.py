# SPDX-License-Identifier: Apache-2.0
"""People in an image, in three lines of Python.

from MIPNet import PoseEstimator
estimator = PoseEstimator("model_best.pth")
people = estimator("image.jpg", boxes=[[20, 30, 200, 400]])

A network with lambda is asked once for each lambda: its answers are the modes. What does not depend on lambda is
computed once for all of them where the network is PyTorch's; an exported one computes all of it again.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from common.arrays import Float32Array, FloatArray, Int64Array, UInt8Array
from common.cli import UserError, leaves
from common.media.detectors import Detector, given_boxes, whole_images
from common.media.source import Frame, upright_image
from common.people import People, no_people
from common.runtime import metadata
from common.runtime.session import Options, Session, open_network
from common.topdown import crops, heatmaps, pipeline
from MIPNet import data, keys, weights
from MIPNet.config import MODEL_FOLDER, NETWORK, Config
from MIPNet.decode import REFINE, Refinement
from MIPNet.merging import BoxPeople, MergedPeople, MergeRules, merge_modes
from MIPNet.model import GatedNetwork, build, lambda_vectors

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

LAMBDAS = (0.0, 1.0)  # the other person, and the one whose box it is
LARGEST_LAMBDA = 1.0
CPU_BATCH = 8  # people at once; a CPU gains nothing from more
Nms = Literal["none", "oks", "soft"]
WITHOUT_NMS = "crowdpose"  # the original suppresses no person there, which finds each person of merged modes twice


class PoseEstimator:
    """A network that finds people in boxes of images: with lambda several in one box, each of them once."""

    def __init__(
        self,
        checkpoint_path: str | Path,
        options: Options | str | None = None,
        detector: Detector | None = None,
        lambdas: Sequence[float] = LAMBDAS,
        cfg: str = "",
        opts: Sequence[Any] = (),
    ) -> None:
        """Opens a network file.

        Args:
            checkpoint_path: .pth, .onnx, .xml, .om, or a published name; what it says of itself wins over `cfg`.
            options: device and runtime, or the name of a device: auto, npu, cuda, cpu.
            detector: what finds the boxes where none are given.
            lambdas: what a network that takes lambda is asked for in each box, different numbers from 0 to 1.
            cfg: yaml config; empty: that of the checkpoint's training.
            opts: KEY VALUE words, which win over all, such as ("TEST.FLIP_TEST", False).

        Raises:
            UserError: the file is missing, damaged, or of another network; no such device; lambdas out of range.
        """
        source = weights.locate_checkpoint(str(checkpoint_path))
        config = weights.load_config(source, cfg, opts)
        session, _ = open_session(source, Options.of(options), config, lambdas)
        self._use(session, config, lambdas)
        self.detector = detector

    @classmethod
    def of_session(cls, session: Session, config: Config, lambdas: Sequence[float] = LAMBDAS) -> "PoseEstimator":
        """With a network that is open already."""
        estimator = cls.__new__(cls)
        estimator._use(session, config, lambdas)
        return estimator

    def _use(self, session: Session, config: Config, lambdas: Sequence[float]) -> None:
        takes_lambda = len(session.inputs) > 1 if session.inputs else config.takes_lambda  # an exported file tells
        if takes_lambda:
            check_lambdas(lambdas)
        self.lambdas = tuple(lambdas) if takes_lambda else ()
        self.config, self.skeleton, self.detector = config, config.load_skeleton(), None
        self.network, self.batch_size = self._pipeline(session), CPU_BATCH

    @property
    def num_modes(self) -> int:
        """How many people a box may give."""
        return max(1, len(self.lambdas))

    def _pipeline(self, session: Session) -> pipeline.TopDownNetwork:
        """The network as `common.topdown.pipeline` wants it: mode after mode, each with a map a keypoint."""
        cfg, count = self.config.yaml, self.skeleton.num_keypoints
        height, width = session.inputs[0].shape[2:] if session.inputs else (None, None)
        flips = [self.skeleton.keypoint_flip + mode * count for mode in range(self.num_modes)]
        return pipeline.TopDownNetwork(
            size_in=(height or self.config.size_in[0], width or self.config.size_in[1]),
            num_maps=self.num_modes * count,
            normalise=functools.partial(normalise_crops, color_rgb=cfg.DATASET.COLOR_RGB),
            forward=_forward(session, self.lambdas, count),
            decode=functools.partial(heatmaps.decode, refine=REFINE[refinement_of(self.config)]),
            flip=np.concatenate(flips) if cfg.TEST.FLIP_TEST else None,
            shift=cfg.TEST.SHIFT_HEATMAP,
            padding=cfg.TEST.SCALE_THRE,
            fixed_batch=session.fixed_batch,
        )

    def __call__(self, image: UInt8Array | str | Path, boxes: npt.ArrayLike | None = None) -> People:
        """The people in an image, (h, w, 3) uint8 BGR or a path, the best first; keypoints in its pixels.

        `boxes` (N, 4) left, top, width, height in its pixels; without them those of the detector, else the whole image.
        Raises UserError for what is no image or no boxes.
        """
        pixels = upright_image(image)
        if boxes is None:
            (found,) = (self.detector or whole_images)([Frame("image", 0, 0.0, pixels)])
        else:
            found = given_boxes(boxes, pixels)
        return self.people(pixels, found.boxes_img, found.scores)

    def people(
        self, image: UInt8Array, boxes_img: FloatArray, scores: FloatArray, found: FloatArray | None = None
    ) -> People:
        """The people in N boxes of an image, whose scores are (N,); `found`: what `find` gave, where it was called.

        Raises UserError for a network that gives NaN.
        """
        if not len(scores):
            return no_people(self.skeleton)
        found = self.find(image, boxes_img) if found is None else found
        merged = self.merge(self.box_people(found, boxes_img, scores, np.zeros(len(found), np.int64)), "oks")
        lambdas = tuple(self.lambdas[mode] for mode in merged.modes) if self.lambdas else ()
        found = merged.detections
        return People(self.skeleton, found.keypoints, found.scores, boxes_img[merged.boxes], lambdas=lambdas)

    def batch(self, images: Sequence[UInt8Array | str | Path]) -> list[People]:
        """The people in each image, which is given as in a call, in the boxes of the detector, else the whole image.

        Their crops go together.
        """
        pixels = [upright_image(image) for image in images]
        boxes = (self.detector or whole_images)([Frame("image", row, 0.0, image) for row, image in enumerate(pixels)])
        found = self._find(pixels, [places.boxes_img for places in boxes])
        return [
            self.people(image, places.boxes_img, places.scores, keypoints)
            for image, places, keypoints in zip(pixels, boxes, found, strict=True)
        ]

    def find(self, image: UInt8Array, boxes_img: FloatArray) -> FloatArray:
        """(N, modes * K, 3) x, y in original pixels, score: what each mode finds in each of N boxes."""
        return self._find([image], [boxes_img])[0]

    def _find(self, images: Sequence[UInt8Array], boxes: Sequence[FloatArray]) -> list[FloatArray]:
        pictures = [
            pipeline.ImageBoxes(functools.partial(np.asarray, image), places, np.arange(len(places)))
            for image, places in zip(images, boxes, strict=True)
            if len(places)
        ]
        parts = pipeline.estimate(pictures, self.network, self.batch_size)
        nobody_found = np.zeros((0, self.network.num_maps, 3), np.float32)
        found = np.concatenate([nobody_found, *(part.keypoints_img for part in parts)])
        ends = np.cumsum([len(places) for places in boxes])
        return [found[end - len(places) : end] for places, end in zip(boxes, ends, strict=True)]

    def box_people(
        self, keypoints_img: FloatArray, boxes_img: FloatArray, scores: FloatArray, image_ids: Int64Array
    ) -> BoxPeople:
        """What `find` gave for N boxes, with their scores and images, (N,), as it is merged.

        Areas are those of the crops; with lambda 0 the boxes' scores count less.
        """
        _, sizes = crops.fit_boxes(boxes_img, self.network.size_in, self.network.padding)
        by_mode = keypoints_img.reshape(len(boxes_img), self.num_modes, self.skeleton.num_keypoints, 3).swapaxes(0, 1)
        factors = [1.0 if value else self.config.yaml.TEST.DECAY_THRE for value in self.lambdas or (1.0,)]
        return BoxPeople(image_ids, by_mode, np.outer(factors, scores), sizes.prod(axis=1))

    def merge(self, people: BoxPeople, nms: Nms) -> MergedPeople:
        """Each person once."""
        test = self.config.yaml.TEST
        threshold = None if nms == "none" else test.OKS_THRE
        return merge_modes(people, self.skeleton.sigmas, MergeRules(test.IN_VIS_THRE, threshold, nms == "soft"))


def refinement_of(config: Config) -> Refinement:
    """How peaks are refined."""
    test = config.yaml.TEST
    if test.REFINEMENT != "recipe":
        return test.REFINEMENT
    return "quarter" if test.POST_PROCESS else "none"


def nms_of(config: Config, modes: int) -> Nms:
    """How evaluations suppress people who were found by that many modes."""
    test = config.yaml.TEST
    if test.NMS != "recipe":
        return test.NMS
    if test.SOFT_NMS:
        return "soft"
    return "none" if config.data_set == WITHOUT_NMS and modes == 1 else "oks"


def check_lambdas(lambdas: Sequence[float]) -> None:
    """Raises UserError for none, for one twice, and for one that is not from 0 to 1."""
    sound_ones = all(0 <= value <= LARGEST_LAMBDA for value in lambdas)
    if not (lambdas and sound_ones and len(set(lambdas)) == len(lambdas)):
        raise UserError(f"--lambdas={','.join(map(str, lambdas))}: different numbers from 0 to 1, such as 0,1")


def open_session(
    source: Path, options: Options, config: Config, lambdas: Sequence[float] = LAMBDAS
) -> tuple[Session, str]:
    """A network file of any format as it runs fastest, and what loading it reported (empty where there is nothing).

    Raises UserError, see `common.runtime.session.open_network`.
    """
    reports = []

    def load(path: Path) -> nn.Module:
        network = build(config.yaml.MODEL, config.load_skeleton().num_keypoints)
        reports.append(weights.load_checkpoint(network, path))
        return for_inference(network, lambdas)

    session, count = open_network(source, options, load), config.load_skeleton().num_keypoints
    return metadata.checked(session, NETWORK, {-1: count}, inputs=2), "".join(reports)


def metadata_of(config: Config, content: dict[str, Any]) -> metadata.Metadata:
    """What an exported network says of itself, and of `content`, the checkpoint that it comes from."""
    cfg, test, brightest = config.yaml, config.yaml.TEST, data.BRIGHTEST
    rule = {
        "colours": "RGB" if cfg.DATASET.COLOR_RGB else "BGR",
        "mean": [brightest * mean for mean in data.CHANNEL_MEANS],
        "scale": [1 / (brightest * deviation) for deviation in data.CHANNEL_DEVIATIONS],
        "fit": "box: grow it by `padding` and to the input's shape, warp it bilinearly; 0 beyond the image",
        "padding": test.SCALE_THRE,
    }
    lambdas = LAMBDAS if config.takes_lambda else ()
    decoder = {
        "kind": "heatmaps",
        "refinement": refinement_of(config),
        "flip_test": test.FLIP_TEST,
        "shift_flipped": test.SHIFT_HEATMAP,
        "lambdas": lambdas,
        "suppression": nms_of(config, max(1, len(lambdas))),
        "oks_threshold": test.OKS_THRE,
    }
    known = {key: value for key, value in leaves(cfg) if key in keys.OF_THE_NETWORK | keys.DATA_SET}
    cfg_file = Path(config.cfg)
    inside = cfg_file.is_relative_to(MODEL_FOLDER)
    known["cfg"] = str(cfg_file.relative_to(MODEL_FOLDER) if inside else cfg_file)
    return metadata.of_network(
        NETWORK, config.load_skeleton(), content, input=rule, stride=config.stride, decoder=decoder, config=known
    )


def normalise_crops(crops: UInt8Array, color_rgb: bool = True) -> Float32Array:
    """(B, H, W, 3) uint8 BGR -> (B, 3, H, W) float32: what `data.normalise_batch` makes, made for threads on a CPU."""
    inputs = np.empty((len(crops), 3, *crops.shape[1:3]), np.float32)
    means, deviations = np.float32(data.CHANNEL_MEANS), np.float32(data.CHANNEL_DEVIATIONS)
    factors, shifts = 1 / (np.float32(data.BRIGHTEST) * deviations), means / deviations
    for pixels, planes in zip(crops, inputs, strict=True):
        for channel in range(len(planes)):
            found = pixels[..., -1 - channel if color_rgb else channel]
            np.multiply(found, factors[channel], out=planes[channel], dtype=np.float32)
            planes[channel] -= shifts[channel]
    return inputs


def _forward(session: Session, lambdas: Sequence[float], num_keypoints: int) -> Callable[[Float32Array], Float32Array]:
    """The maps of all modes: at once, or one by one from a network that takes lambda as its second input."""
    if len(session.inputs) <= 1:
        return pipeline.maps_of(session, max(1, len(lambdas)) * num_keypoints)
    modes = [pipeline.maps_of(_with_lambda(session, value), num_keypoints) for value in lambdas]
    return lambda images: np.concatenate([mode(images) for mode in modes], axis=1)


def _with_lambda(session: Session, value: float) -> Session:
    """A session that is given images alone, as its second input is known."""
    return Session(session.source, session.runtime, lambda arrays: session(*with_lambda(arrays[0], value)))


def with_lambda(images: Float32Array, value: float) -> tuple[Float32Array, Float32Array]:
    """The inputs of an exported network with lambda: images (B, 3, H, W), and (B, 2) the lambda vector of each."""
    return images, lambda_vectors(torch.full((len(images),), value)).numpy()


class AskedForLambdas(nn.Module):
    """A network that answers for each of some lambdas; its trunk runs once."""

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
    """The network with the modes that are asked for; one without lambda has one."""
    return AskedForLambdas(network, lambdas) if network.uses_lambda else network
