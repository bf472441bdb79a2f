# SPDX-License-Identifier: Apache-2.0
"""An image -> network input -> people, as the original evaluates (spec A7): what evaluation, export and demo share."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.arrays import Float32Array, UInt8Array
from common.cli import PictureError, UserError
from common.runtime.session import Options, Session, open_network
from common.skeleton import Skeleton
from OpenPose_MindSpore_port import weights
from OpenPose_MindSpore_port.config import Inference
from OpenPose_MindSpore_port.decode import ORIGINAL_RULES, DecodeRules, People, decode
from OpenPose_MindSpore_port.model import STRIDE, OpenPose

import cv2
import numpy as np
from torch import Tensor, nn

LONGEST_ASPECT = 16  # of long and short side: what is longer is no picture of people, and would fill the memory
MIDDLE = np.float32(0.5)  # subtracted from values of 0 to 1


@dataclass(frozen=True)
class Frame:
    """How an image lies in the network's input, sizes (height, width): stretched to fill it, nothing around it."""

    size_img: tuple[int, int]
    size_in: tuple[int, int]


@dataclass(frozen=True)
class InputRule:
    """How images of any size become network inputs."""

    short_side_in: int = 368  # input pixels
    fixed_in: tuple[int, int] | None = None  # (height, width) of a network that takes no other; pictures are stretched

    def frame(self, size_img: tuple[int, int]) -> Frame:
        """Where an image of (height, width) lies: the short side as asked, the long one up to a whole cell (spec A7).

        Raises PictureError for an image that is much longer than wide, or the other way.
        """
        height, width = size_img
        if self.fixed_in:
            return Frame(size_img, self.fixed_in)
        if max(size_img) > LONGEST_ASPECT * min(size_img):
            raise PictureError(f"{width} x {height} pixels: too narrow a picture; cut it to a usual shape")
        long_in = whole_cells(round(self.short_side_in / (min(size_img) / max(size_img))))
        short_in = whole_cells(self.short_side_in)
        return Frame(size_img, (short_in, long_in) if height < width else (long_in, short_in))


def whole_cells(length_in: int) -> int:
    """The next multiple of the stride."""
    return -(-length_in // STRIDE) * STRIDE


def to_input(image: UInt8Array, place: Frame) -> Float32Array:
    """(h, w, 3) uint8 BGR -> (3, H, W) float32 network input: resized bilinearly, pixel / 255 - 0.5."""
    if image.shape[:2] != place.size_in:
        image = np.asarray(cv2.resize(image, place.size_in[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
    return np.ascontiguousarray(image.transpose(2, 0, 1)) / np.float32(255) - MIDDLE


class AllMaps(nn.Module):
    """The network with the outputs of an exported one: fields of all stages, then heatmaps of all stages (spec A11)."""

    def __init__(self, network: OpenPose) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) -> 6 x (B, num_fields, h, w), 6 x (B, num_heatmaps, h, w)."""
        fields, heatmaps = self.network(images)
        return (*fields, *heatmaps)


class LastMaps(AllMaps):
    """The network with the maps of the last stage alone: those that people are found in."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) -> (B, num_fields, h, w), (B, num_heatmaps, h, w)."""
        fields, heatmaps = self.network(images)
        return fields[-1], heatmaps[-1]


def runnable(network: OpenPose) -> nn.Module:
    """The network's last maps in evaluation mode."""
    return LastMaps(network).eval()


def open_session(source: Path, options: Options, skeleton: Skeleton) -> Session:
    """A network file of any format (.ckpt, .pth, .safetensors, .onnx, .xml, .om), ready to run.

    Raises UserError, see `common.runtime.session.open_network` and `weights.load_network`.
    """

    return open_network(source, options, lambda path: runnable(weights.load_network(path, skeleton)))


@dataclass(frozen=True)
class Estimator:
    """A network with all that is needed to find people in images with it."""

    session: Session
    skeleton: Skeleton
    rules: DecodeRules = DecodeRules()

    def maps(self, inputs: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Inputs (B, 3, H, W) -> heatmaps (B, num_heatmaps, h, w), fields (B, num_fields, h, w) of the last stage.

        Raises UserError where the network gives other maps.
        """
        outputs = self.session.filled(inputs)  # fields of all stages, or of the last; then as many heatmaps
        fields, heatmaps = outputs[len(outputs) // 2 - 1], outputs[-1]
        channels = heatmaps.shape[1], fields.shape[1]
        if channels != (self.skeleton.num_heatmaps, self.skeleton.num_fields):
            wanted = f"{self.skeleton.num_heatmaps} heatmaps and {self.skeleton.num_fields} fields"
            raise UserError(f"{self.session.source} gives {channels[0]} and {channels[1]} maps, not {wanted}")
        return heatmaps, fields

    def people(self, maps: tuple[Float32Array, Float32Array], frames: Sequence[Frame]) -> list[People]:
        """The people of each image, in original pixels."""
        return [
            decode(heatmaps, fields, place.size_in, place.size_img, self.skeleton, self.rules)
            for heatmaps, fields, place in zip(*maps, frames, strict=True)
        ]


def decode_rules(config: Inference, original: bool = False) -> DecodeRules:
    """The decoder's rules with the numbers of the published configuration; `original`: as the original finds people."""
    return dataclasses.replace(
        ORIGINAL_RULES if original else DecodeRules(),
        smoothing_sigma=config.gaussian_sigma,
        heatmap_threshold=config.heatmap_peak_thresh,
        num_samples=config.n_integ_points,
        samples_to_exceed=config.n_integ_points_thresh,
        min_limb_score=config.inner_product_thresh,
        limb_length_ratio=config.limb_length_ratio,
        length_penalty=config.length_penalty_value,
        min_points=config.n_subset_limbs_thresh,
        min_person_score=config.subset_score_thresh,
    )
