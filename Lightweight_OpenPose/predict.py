# SPDX-License-Identifier: Apache-2.0
"""People in an image, in three lines of Python.

from Lightweight_OpenPose import PoseEstimator
estimator = PoseEstimator("checkpoint_iter_370000.pth")
people = estimator("image.jpg")
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.arrays import Float32Array, Float64Array, UInt8Array
from common.bottomup import estimator
from common.bottomup.assembly import DecodedPeople
from common.bottomup.estimator import BottomUpEstimator, Maps, refuse_narrow
from common.runtime import metadata
from common.runtime.session import Options, Session, open_network
from common.skeleton import Skeleton, load
from Lightweight_OpenPose import decode, weights
from Lightweight_OpenPose.config import DIRECTORY
from Lightweight_OpenPose.data import PIXEL_MEAN, PIXEL_SCALE
from Lightweight_OpenPose.decode import DEMO_UPSAMPLING, ORIGINAL_RULES, DecodeRules, MapGeometry
from Lightweight_OpenPose.model import STRIDE

import cv2
import numpy as np

DEMO_HEIGHT = 256  # of the network's input, pixels


@dataclass(frozen=True)
class Letterbox(estimator.Letterbox):
    """The placement of an image in the network's input."""

    ratio: float  # input pixels an original pixel, exactly
    interpolation: int  # of OpenCV

    @property
    def geometry(self) -> MapGeometry:
        """The way from map cells back to the image."""
        return MapGeometry(STRIDE, self.pad_in, self.size_img)


@dataclass(frozen=True)
class InputRule:
    """How images of any size become network inputs, sizes (height, width) in input pixels."""

    base_height: int = 368  # validation and demo: every image scaled to it
    fixed_size: tuple[int, int] | None = None  # offline inference: every image inside it
    scales: tuple[float, ...] = (1.0,)  # of the base height, at each of which an evaluation sees every image

    def letterbox(self, size_img: tuple[int, int], scale: float = 1.0) -> Letterbox:
        """The placement of an image of this size: in the middle of the input.

        Scaled bilinearly to fit into `fixed_size`, else to `scale * base_height` and padded to a multiple of the
        stride, to at least `base_height` on each side.
        """
        if self.fixed_size:
            ratio = min(self.fixed_size[0] / size_img[0], self.fixed_size[1] / size_img[1])
        else:
            ratio = scale * self.base_height / size_img[0]
        height, width = round(size_img[0] * ratio), round(size_img[1] * ratio)
        height_in, width_in = self.fixed_size or (self._whole_cells(height), self._whole_cells(width))
        top, left = (height_in - height) // 2, (width_in - width) // 2
        pad_in = (top, left, height_in - height - top, width_in - width - left)
        interpolation = cv2.INTER_LINEAR if self.fixed_size else cv2.INTER_CUBIC
        return Letterbox(size_img, (height, width), pad_in, ratio, interpolation)

    def _whole_cells(self, length_in: int) -> int:
        return -(-max(length_in, self.base_height) // STRIDE) * STRIDE


def _padded(normalised: Float32Array, place: Letterbox) -> Float32Array:
    top, left, _, _ = place.pad_in
    padded = np.zeros((3, *place.size_in), np.float32)
    padded[:, top : top + place.scaled_in[0], left : left + place.scaled_in[1]] = normalised.transpose(2, 0, 1)
    return padded


def open_session(source: Path, options: Options, skeleton: Skeleton) -> Session:
    """A network file of any format as it runs fastest. Raises UserError, see `common.runtime.session.open_network`."""
    metadata.of(source, DIRECTORY, skeleton)
    session = open_network(source, options, lambda path: weights.load_network(path, skeleton))
    return metadata.checked(session, DIRECTORY, {-2: skeleton.num_heatmaps, -1: skeleton.num_pafs})


def metadata_of(skeleton: Skeleton, content: dict[str, Any], size_in: tuple[int, int] = (0, 0)) -> metadata.Metadata:
    """The metadata of an exported network.

    `content`: the checkpoint that it comes from. `size_in`: height and width of its input, 0 where any goes.
    """
    pad = "pad both sides of each axis alike with pixels of `mean`"
    if all(size_in):
        fit, size = f"scale the image into `height` x `width`, {pad}", {"height": size_in[0], "width": size_in[1]}
    else:
        fit = f"scale the image to `height`, {pad}, up to `multiple`"
        size = {"height": size_in[0] or DEMO_HEIGHT, "multiple": STRIDE}
    pixels = {"colours": "BGR", "mean": [PIXEL_MEAN] * 3, "scale": [PIXEL_SCALE] * 3}  # (pixel - mean) * scale
    rule = {**pixels, "fit": fit, **size, "interpolation": "bilinear"}
    maps = {"kind": "part affinity fields", "heatmaps": -2, "pafs": -1, "upsampling": DEMO_UPSAMPLING}
    decoder = {**maps, **dataclasses.asdict(ORIGINAL_RULES)}
    return metadata.of_network(DIRECTORY, skeleton, content, input=rule, stride=STRIDE, decoder=decoder)


class PoseEstimator(BottomUpEstimator):
    """A network that finds people in images, as the published demo does."""

    stride = STRIDE

    def __init__(
        self,
        checkpoint_path: str | Path,
        options: Options | str | None = None,
        skeleton: str | Skeleton = "",
        height: int = 0,
    ) -> None:
        """`checkpoint_path`: .pth, .onnx, .xml, .om, or a published name.

        `options`: device and runtime, or the name of a device: auto, npu, cuda, cpu.
        `skeleton`: empty: that of an exported network, else openpose.
        `height`: of the network's input, pixels; 0: that of an exported network, else 256.
        Raises UserError where the file is missing, damaged, or of another network.
        """
        source = weights.locate_checkpoint(str(checkpoint_path))
        about, own = metadata.of(source, DIRECTORY, skeleton, "openpose")
        session = open_session(source, Options.of(options), load(own))
        known = about.get("input", {}).get("height", DEMO_HEIGHT)
        self._use(session, load(own), ORIGINAL_RULES, InputRule(height or known))

    @classmethod
    def of_session(
        cls,
        session: Session,
        skeleton: Skeleton,
        rules: DecodeRules = ORIGINAL_RULES,
        input_rule: InputRule = InputRule(DEMO_HEIGHT),
    ) -> "PoseEstimator":
        """With a network that is open already; its own input size comes before that of `input_rule`."""
        made = cls.__new__(cls)
        made._use(session, skeleton, rules, input_rule)
        return made

    def _use(self, session: Session, skeleton: Skeleton, rules: DecodeRules, input_rule: InputRule) -> None:
        self.session, self.skeleton, self.rules = session, skeleton, rules
        self.input_rule = dataclasses.replace(input_rule, fixed_size=session.fixed_size or input_rule.fixed_size)
        decode.warm_up(skeleton, rules)

    def letterboxes(self, size_img: estimator.Size) -> list[Letterbox]:
        """The placement of an image. Raises RefusedImageError for one that is much longer than wide, or wider."""
        refuse_narrow(size_img)
        return [self.input_rule.letterbox(size_img)]

    @staticmethod
    def to_input(image: UInt8Array, place: Letterbox) -> Float32Array:
        """(h, w, 3) uint8 BGR -> (3, H, W) float32 network input: resized bilinearly, (pixel - 128) / 256, padded."""
        small = cv2.resize(image, place.scaled_in[::-1], interpolation=cv2.INTER_LINEAR)
        return _padded((small - np.float32(PIXEL_MEAN)) * np.float32(PIXEL_SCALE), place)

    def maps(self, inputs: Float32Array) -> Maps:
        """Inputs (B, 3, H, W) -> heatmaps (B, num_heatmaps, h, w), pafs (B, num_pafs, h, w), float32."""
        heatmaps, pafs = self.session.filled(inputs)[-2:]
        return heatmaps, pafs

    def decode(self, maps: Sequence[Maps], places: Sequence[Letterbox]) -> DecodedPeople:
        """The people in an image, in original pixels, from maps that are enlarged by 4."""
        ((heatmaps, pafs),), (place,) = maps, places
        geometry = MapGeometry.demo((heatmaps.shape[1], heatmaps.shape[2]))
        people = decode.decode(heatmaps, pafs, geometry, self.skeleton, self.rules)
        # A pixel of the enlarged map is two network pixels wide: pixel i is network pixel 2 i + 0.5. The original takes
        # 2 i, half a network pixel too far left and up.
        points_in = (people.candidates[:, :2] + 0.5) * STRIDE / DEMO_UPSAMPLING - 0.5
        points_img = (points_in - place.pad_in[1::-1]) / place.ratio
        return dataclasses.replace(people, candidates=np.hstack((points_img, people.candidates[:, 2:])))

    def to_coco(self, people: DecodedPeople) -> tuple[Float64Array, Float64Array]:
        """See `decode.to_coco`."""
        return decode.to_coco(people, self.skeleton, self.rules)


class ValidationEstimator(PoseEstimator):
    """The same network as the published validation runs it: other inputs, maps enlarged to the image, any scales."""

    def letterboxes(self, size_img: estimator.Size) -> list[Letterbox]:
        """The placement of an image at each scale."""
        return [self.input_rule.letterbox(size_img, scale) for scale in self.input_rule.scales]

    @staticmethod
    def to_input(image: UInt8Array, place: Letterbox) -> Float32Array:
        """(h, w, 3) uint8 BGR -> (3, H, W) float32 network input: (pixel - 128) / 256, resized, 0 around it."""
        normalised = (image.astype(np.float32) - PIXEL_MEAN) * PIXEL_SCALE
        if place.ratio != 1:  # the exact ratio, not that of the rounded sizes
            normalised = cv2.resize(normalised, None, fx=place.ratio, fy=place.ratio, interpolation=place.interpolation)
        return _padded(normalised, place)

    def decode(self, maps: Sequence[Maps], places: Sequence[Letterbox]) -> DecodedPeople:
        """The people in an image, in original pixels; those of several scales in the mean of their maps."""
        scales = [(*one, place.geometry) for one, place in zip(maps, places, strict=True)]
        if len(scales) > 1:
            return decode.decode_scales(scales, self.skeleton, self.rules)
        return decode.decode(*scales[0], self.skeleton, self.rules)
