# SPDX-License-Identifier: Apache-2.0
"""People in an image, in three lines of Python.

from OpenPose_MindSpore_port import PoseEstimator
estimator = PoseEstimator("0-6_30000.ckpt")
people = estimator("image.jpg")
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from common.arrays import Float32Array, Float64Array, UInt8Array
from common.bottomup import assembly
from common.bottomup.pipeline import Maps, Size, alike
from common.cli import RefusedImageError, UserError
from common.people import People
from common.runtime import metadata
from common.runtime.session import Options, Session, open_network
from common.skeleton import OPENPOSE, Skeleton, load
from OpenPose_MindSpore_port import weights
from OpenPose_MindSpore_port.config import DIRECTORY, Inference
from OpenPose_MindSpore_port.decode import decode
from OpenPose_MindSpore_port.model import NUM_STAGES, STRIDE

import cv2
import numpy as np
from torch import Tensor, nn

LONGEST_ASPECT = 16  # of long and short side: longer images are not of people, and would fill the memory
MIDDLE = np.float32(0.5)  # subtracted from values of 0 to 1
Sizes = tuple[Size, Size]  # (height, width) of the network's input, and of the image that is stretched to it


def input_size(size_img: Size, short_side_in: int) -> Size:
    """(height, width) of the input for an image: the short side as asked, the long one up to a whole map cell.

    Raises RefusedImageError for an image that is much longer than wide, or the other way.
    """
    height, width = size_img
    if max(size_img) > LONGEST_ASPECT * min(size_img):
        raise RefusedImageError(f"{width} x {height} pixels: too narrow an image; cut it to a usual shape")
    long_in = _whole_cells(round(short_side_in / (min(size_img) / max(size_img))))
    short_in = _whole_cells(short_side_in)
    return (short_in, long_in) if height < width else (long_in, short_in)


def _whole_cells(length_in: int) -> int:
    return -(-length_in // STRIDE) * STRIDE


def to_input(image: UInt8Array, size_in: Size) -> Float32Array:
    """(h, w, 3) uint8 BGR -> (3, H, W) float32 network input: resized bilinearly, pixel / 255 - 0.5."""
    if image.shape[:2] != size_in:
        image = np.asarray(cv2.resize(image, size_in[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
    return np.ascontiguousarray(image.transpose(2, 0, 1)) / np.float32(255) - MIDDLE


class LastMaps(nn.Module):
    """The network with only the maps of the last stage, which people are decoded from."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) -> (B, num_pafs, h, w), (B, num_heatmaps, h, w)."""
        pafs, heatmaps = self.network(images)
        return pafs[-1], heatmaps[-1]


def open_session(source: Path, options: Options, skeleton: Skeleton) -> Session:
    """A network file of any format (.ckpt, .pth, .onnx, .xml, .om), ready to run.

    Raises UserError, see `common.runtime.session.open_network` and `weights.load_network`.
    """
    metadata.of(source, DIRECTORY, skeleton)
    session = open_network(source, options, lambda path: LastMaps(weights.load_network(path, skeleton)).eval())
    places = {len(session.outputs) // 2 - 1: skeleton.num_pafs, -1: skeleton.num_heatmaps}
    return metadata.checked(session, DIRECTORY, places)


def metadata_of(skeleton: Skeleton) -> metadata.Metadata:
    """The metadata of an exported network."""
    rule = {
        "colours": "BGR",
        "mean": [127.5] * 3,
        "scale": [1 / 255] * 3,  # (pixel - mean) * scale
        "fit": "stretch the image: its short side to `short_side`, both up to `multiple`",
        "short_side": Inference.inference_img_size,
        "multiple": STRIDE,
        "interpolation": "bilinear",
    }
    decoder = {
        "kind": "part affinity fields",
        "pafs": NUM_STAGES - 1,
        "heatmaps": -1,
        **dataclasses.asdict(Inference()),
    }
    return metadata.of_network(DIRECTORY, skeleton, {}, input=rule, stride=STRIDE, decoder=decoder)


class PoseEstimator:
    """A network that finds people in images, as the evaluation does."""

    def __init__(
        self,
        checkpoint_path: str | Path,
        options: Options | str | None = None,
        skeleton: str | Skeleton = "",
        settings: Inference | None = None,
    ) -> None:
        """`checkpoint_path`: .ckpt, .pth, .onnx, .xml, .om, or a published name.

        `options`: device and runtime, or the name of a device: auto, npu, cuda, cpu.
        `skeleton`: empty: that of an exported network, else openpose. `settings`: of input and decoder.
        Raises UserError where the file is missing, damaged, or of another network.
        """
        source = weights.locate_checkpoint(str(checkpoint_path))
        self.skeleton = load(metadata.of(source, DIRECTORY, skeleton, "openpose")[1])
        self.session = open_session(source, Options.of(options), self.skeleton)
        self.settings, self.original = settings or Inference(), False  # `original`: people as the original finds them

    @classmethod
    def of_session(
        cls, session: Session, skeleton: Skeleton = OPENPOSE, settings: Inference | None = None, original: bool = False
    ) -> "PoseEstimator":
        """With a network that is open already, as evaluations use it."""
        made = cls.__new__(cls)
        made.session, made.skeleton, made.settings, made.original = session, skeleton, settings or Inference(), original
        return made

    def __call__(self, image: UInt8Array | str | Path) -> People:
        """The people in an image, (h, w, 3) uint8 BGR or a path; keypoints in its pixels.

        Raises UserError for what is no image, or is much longer than wide, or the other way.
        """
        return self.batch([image])[0]

    def batch(self, images: Sequence[UInt8Array | str | Path]) -> list[People]:
        """The people in each image, given as in a call; inputs of one size go through the network together."""
        from common.media.source import upright_image  # of videos and cameras too, which an evaluation does not need

        pixels = [upright_image(image) for image in images]
        sizes, found = [self.sizes((image.shape[0], image.shape[1])) for image in pixels], dict[int, People]()
        for rows in alike([size_in for size_in, _ in sizes], self.session.fixed_batch or len(images)):
            maps = self.maps(np.stack([to_input(pixels[row], sizes[row][0]) for row in rows]))
            decoded = self.people(maps, [sizes[row] for row in rows])
            found |= {row: People(self.skeleton, p.points(), p.scores) for row, p in zip(rows, decoded, strict=True)}
        return [found[row] for row in range(len(images))]

    def sizes(self, size_img: Size) -> Sizes:
        """(height, width) of the network's input for an image, and of the image; a network may fix the former."""
        return self.session.fixed_size or input_size(size_img, self.settings.inference_img_size), size_img

    def maps(self, inputs: Float32Array) -> Maps:
        """Inputs (B, 3, H, W) -> heatmaps (B, num_heatmaps, h, w), pafs (B, num_pafs, h, w) of the last stage.

        Raises UserError where the network gives other maps.
        """
        outputs = self.session.filled(inputs)  # pafs of all stages, or of the last; then as many heatmaps
        pafs, heatmaps = outputs[len(outputs) // 2 - 1], outputs[-1]
        channels = heatmaps.shape[1], pafs.shape[1]
        if channels != (self.skeleton.num_heatmaps, self.skeleton.num_pafs):
            expected = f"{self.skeleton.num_heatmaps} heatmaps and {self.skeleton.num_pafs} pafs"
            raise UserError(f"{self.session.source} gives {channels[0]} and {channels[1]} maps, not {expected}")
        return heatmaps, pafs

    def image_maps(self, image: UInt8Array) -> tuple[Float32Array, Float32Array, Float64Array]:
        """Of an image (h, w, 3): heatmaps (1, num_heatmaps, h, w), pafs, and (2, 3): x, y of a cell -> pixels."""
        size_img = image.shape[0], image.shape[1]
        heatmaps, pafs = self.maps(to_input(image, self.sizes(size_img)[0])[None])
        y, x = (side / cells for side, cells in zip(size_img, heatmaps.shape[2:], strict=True))
        return heatmaps, pafs, np.array([[x, 0, x / 2 - 0.5], [0, y, y / 2 - 0.5]])

    def people(self, maps: Maps, sizes: Sequence[Sizes]) -> list[assembly.DecodedPeople]:
        """The people of each image, in original pixels."""
        return [
            decode(heatmaps, pafs, one, self.skeleton, self.settings, self.original)
            for heatmaps, pafs, one in zip(*maps, sizes, strict=True)
        ]
