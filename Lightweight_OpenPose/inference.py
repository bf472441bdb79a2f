# SPDX-License-Identifier: Apache-2.0
"""An image -> network input -> people, as the publication validates (spec A7): what evaluation and demo share."""

from collections.abc import Callable
from dataclasses import dataclass

import common.device
from common.skeleton import Skeleton
from Lightweight_OpenPose import data
from Lightweight_OpenPose.decode import DecodeRules, MapGeometry, People, decode_batch
from Lightweight_OpenPose.model import STRIDE

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Pixels = npt.NDArray[np.uint8]
Maps = npt.NDArray[np.float32]
Network = Callable[[Tensor], list[Tensor]]
SINGLE_SCALE = (1.0,)
MULTI_SCALE = (0.5, 1.0, 1.5, 2.0)


@dataclass(frozen=True)
class Frame:
    """How an image lies in the network's input, all sizes (height, width)."""

    size_img: tuple[int, int]
    ratio: float  # input pixels an original pixel
    scaled_in: tuple[int, int]  # of the image, resized
    pad_in: tuple[int, int, int, int]  # top, left, bottom, right: grey around it

    @property
    def input_size(self) -> tuple[int, int]:
        """Of the network's input."""
        top, left, bottom, right = self.pad_in
        return self.scaled_in[0] + top + bottom, self.scaled_in[1] + left + right

    @property
    def geometry(self) -> MapGeometry:
        """The way from map cells back to the image."""
        return MapGeometry(STRIDE, self.pad_in, self.size_img)


def frame(size_img: tuple[int, int], base_height: int, scale: float = 1.0) -> Frame:
    """Scaled to `scale * base_height`, padded on all sides to a multiple of the stride, at least `base_height` wide."""
    ratio = scale * base_height / size_img[0]
    height, width = round(size_img[0] * ratio), round(size_img[1] * ratio)
    wanted = _whole_cells(base_height), _whole_cells(max(width, base_height))
    spare = wanted[0] - min(base_height, height), wanted[1] - width
    top, left = spare[0] // 2, spare[1] // 2
    return Frame(size_img, ratio, (height, width), (top, left, spare[0] - top, spare[1] - left))


def _whole_cells(length_in: int) -> int:
    return -(-length_in // STRIDE) * STRIDE


def to_input(image: Pixels, place: Frame) -> Maps:
    """(h, w, 3) uint8 BGR -> (H, W, 3) float32 network input: resized bicubically, (pixel - 128) / 256, 0 around it."""
    normalised = (image.astype(np.float32) - data.PIXEL_MEAN) * data.PIXEL_SCALE
    if place.ratio != 1:  # the ratio as it is, not that of the rounded sizes
        normalised = cv2.resize(normalised, None, fx=place.ratio, fy=place.ratio, interpolation=cv2.INTER_CUBIC)
    top, left, _, _ = place.pad_in
    padded = np.zeros((*place.input_size, 3), np.float32)
    padded[top : top + place.scaled_in[0], left : left + place.scaled_in[1]] = normalised
    return padded


@dataclass(frozen=True)
class Estimator:
    """A network with all that is needed to find people in images with it."""

    network: Network
    device: torch.device
    dtype: torch.dtype | None  # of autocast; None: float32
    skeleton: Skeleton
    rules: DecodeRules = DecodeRules()
    threads: int = 1  # that decode

    def maps(self, inputs: list[Maps]) -> tuple[Maps, Maps]:
        """Inputs of one size (H, W, 3) -> heatmaps (B, num_heatmaps, h, w), fields (B, num_fields, h, w), float32."""
        batch = torch.from_numpy(np.stack(inputs)).permute(0, 3, 1, 2)
        with torch.inference_mode(), common.device.autocast(self.device, self.dtype):
            heatmaps, fields = self.network(batch.to(self.device, non_blocking=True))[-2:]
        return heatmaps.float().cpu().contiguous().numpy(), fields.float().cpu().contiguous().numpy()

    def people(self, maps: tuple[Maps, Maps], frames: list[Frame]) -> list[People]:
        """The people of each image, in original pixels."""
        geometries = [place.geometry for place in frames]
        return decode_batch(*maps, geometries, self.skeleton, self.rules, threads=self.threads)
