# SPDX-License-Identifier: Apache-2.0
"""An image -> network input -> people, as the publication validates (spec A7): what evaluation and demo share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.arrays import Float32Array, UInt8Array
from common.cli import UserError
from common.runtime.session import Options, Session, open_network
from common.skeleton import Skeleton
from Lightweight_OpenPose import data, weights
from Lightweight_OpenPose.decode import DecodeRules, MapGeometry, People, decode
from Lightweight_OpenPose.model import STRIDE

import cv2
import numpy as np

SINGLE_SCALE = (1.0,)
MULTI_SCALE = (0.5, 1.0, 1.5, 2.0)


@dataclass(frozen=True)
class Frame:
    """How an image lies in the network's input, all sizes (height, width)."""

    size_img: tuple[int, int]
    ratio: float  # input pixels an original pixel
    scaled_in: tuple[int, int]  # of the image, resized
    pad_in: tuple[int, int, int, int]  # top, left, bottom, right: grey around it
    interpolation: int = cv2.INTER_CUBIC

    @property
    def input_size(self) -> tuple[int, int]:
        """Of the network's input."""
        top, left, bottom, right = self.pad_in
        return self.scaled_in[0] + top + bottom, self.scaled_in[1] + left + right

    @property
    def geometry(self) -> MapGeometry:
        """The way from map cells back to the image."""
        return MapGeometry(STRIDE, self.pad_in, self.size_img)


@dataclass(frozen=True)
class InputRule:
    """How images of any size become network inputs, sizes (height, width) in input pixels."""

    base_height: int = 368  # validation: every image scaled to it (spec A7)
    fixed_size: tuple[int, int] | None = None  # offline inference: every image inside it (spec A9.1)

    def frame(self, size_img: tuple[int, int], scale: float = 1.0) -> Frame:
        """Where an image of this size lies."""
        return letterbox(size_img, self.fixed_size) if self.fixed_size else frame(size_img, self.base_height, scale)


def frame(size_img: tuple[int, int], base_height: int, scale: float = 1.0) -> Frame:
    """Scaled to `scale * base_height`, padded on all sides to a multiple of the stride, at least `base_height` wide."""
    ratio = scale * base_height / size_img[0]
    height, width = round(size_img[0] * ratio), round(size_img[1] * ratio)
    wanted = _whole_cells(base_height), _whole_cells(max(width, base_height))
    return _centred(size_img, ratio, (min(base_height, height), width), wanted, (height, width), cv2.INTER_CUBIC)


def letterbox(size_img: tuple[int, int], size_in: tuple[int, int]) -> Frame:
    """Scaled bilinearly to fit into `size_in`, padded on all sides to fill it (spec A9.1)."""
    ratio = min(size_in[0] / size_img[0], size_in[1] / size_img[1])
    scaled = round(size_img[0] * ratio), round(size_img[1] * ratio)
    return _centred(size_img, ratio, scaled, size_in, scaled, cv2.INTER_LINEAR)


def _centred(
    size_img: tuple[int, int], ratio: float, inner: tuple[int, int], outer: tuple[int, int],
    scaled_in: tuple[int, int], interpolation: int,
) -> Frame:  # fmt: skip
    spare = outer[0] - inner[0], outer[1] - inner[1]
    top, left = spare[0] // 2, spare[1] // 2
    return Frame(size_img, ratio, scaled_in, (top, left, spare[0] - top, spare[1] - left), interpolation)


def _whole_cells(length_in: int) -> int:
    return -(-length_in // STRIDE) * STRIDE


def to_input(image: UInt8Array, place: Frame) -> Float32Array:
    """(h, w, 3) uint8 BGR -> (3, H, W) float32 network input: (pixel - 128) / 256, resized, 0 around it."""
    normalised = (image.astype(np.float32) - data.PIXEL_MEAN) * data.PIXEL_SCALE
    if place.ratio != 1:  # the ratio as it is, not that of the rounded sizes
        normalised = cv2.resize(normalised, None, fx=place.ratio, fy=place.ratio, interpolation=place.interpolation)
    top, left, _, _ = place.pad_in
    padded = np.zeros((3, *place.input_size), np.float32)
    padded[:, top : top + place.scaled_in[0], left : left + place.scaled_in[1]] = normalised.transpose(2, 0, 1)
    return padded


def open_session(source: Path, options: Options, skeleton: Skeleton) -> Session:
    """A network file of any format as it runs fastest. Raises UserError, see `common.runtime.session.open_network`."""
    return open_network(source, options, lambda path: weights.load_network(path, skeleton))


@dataclass(frozen=True)
class Estimator:
    """A network with all that is needed to find people in images with it."""

    session: Session
    skeleton: Skeleton
    rules: DecodeRules = DecodeRules()

    def maps(self, inputs: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Inputs (B, 3, H, W) -> heatmaps (B, num_heatmaps, h, w), fields (B, num_fields, h, w), float32.

        Raises UserError where the network gives other maps.
        """
        heatmaps, fields = self.session.filled(inputs)[-2:]
        channels = heatmaps.shape[1], fields.shape[1]
        if channels != (self.skeleton.num_heatmaps, self.skeleton.num_fields):
            wanted = f"{self.skeleton.num_heatmaps} heatmaps and {self.skeleton.num_fields} fields"
            raise UserError(f"{self.session.source} gives {channels[0]} and {channels[1]} maps, not {wanted}")
        return heatmaps, fields

    def people(self, maps: tuple[Float32Array, Float32Array], frames: Sequence[Frame]) -> list[People]:
        """The people of each image, in original pixels."""
        return [
            decode(heatmaps, fields, place.geometry, self.skeleton, self.rules)
            for heatmaps, fields, place in zip(*maps, frames, strict=True)
        ]
