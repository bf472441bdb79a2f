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
from common.bottomup.assembly import DecodedPeople
from common.bottomup.estimator import BottomUpEstimator, Letterbox, Maps, Size, refuse_narrow
from common.runtime import metadata
from common.runtime.session import Options, Session, open_network
from common.skeleton import OPENPOSE, Skeleton, load
from OpenPose_MindSpore_port import decode, weights
from OpenPose_MindSpore_port.config import DIRECTORY, Inference
from OpenPose_MindSpore_port.model import NUM_STAGES, STRIDE

import cv2
import numpy as np
from torch import Tensor, nn

MIDDLE = np.float32(0.5)  # subtracted from values of 0 to 1


def input_size(size_img: Size, short_side_in: int) -> Size:
    """(height, width) of the input for an image: the short side as asked, the long one up to a whole map cell.

    Raises RefusedImageError for an image that is much longer than wide, or the other way.
    """
    refuse_narrow(size_img)
    long_in = _whole_cells(round(short_side_in / (min(size_img) / max(size_img))))
    short_in = _whole_cells(short_side_in)
    return (short_in, long_in) if size_img[0] < size_img[1] else (long_in, short_in)


def _whole_cells(length_in: int) -> int:
    return -(-length_in // STRIDE) * STRIDE


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


class PoseEstimator(BottomUpEstimator):
    """A network that finds people in images, as the evaluation does."""

    stride = STRIDE

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
        own = load(metadata.of(source, DIRECTORY, skeleton, "openpose")[1])
        self._use(open_session(source, Options.of(options), own), own, settings)

    @classmethod
    def of_session(
        cls, session: Session, skeleton: Skeleton = OPENPOSE, settings: Inference | None = None, original: bool = False
    ) -> "PoseEstimator":
        """With a network that is open already; `original`: people as the original finds them."""
        made = cls.__new__(cls)
        made._use(session, skeleton, settings, original)
        return made

    def _use(self, session: Session, skeleton: Skeleton, settings: Inference | None, original: bool = False) -> None:
        self.session, self.skeleton = session, skeleton
        self.settings, self.original = settings or Inference(), original

    def letterboxes(self, size_img: Size) -> list[Letterbox]:
        """The image stretched to the network's own input size, else to `input_size`."""
        size_in = self.session.fixed_size or input_size(size_img, self.settings.inference_img_size)
        return [Letterbox(size_img, size_in, pad_in=(0, 0, 0, 0))]

    @staticmethod
    def to_input(image: UInt8Array, place: Letterbox) -> Float32Array:
        """(h, w, 3) uint8 BGR -> (3, H, W) float32 network input: resized bilinearly, pixel / 255 - 0.5."""
        stretched = cv2.resize(image, place.size_in[::-1], interpolation=cv2.INTER_LINEAR)
        return np.ascontiguousarray(stretched.transpose(2, 0, 1)) / np.float32(255) - MIDDLE

    def maps(self, inputs: Float32Array) -> Maps:
        """Inputs (B, 3, H, W) -> heatmaps (B, num_heatmaps, h, w), pafs (B, num_pafs, h, w) of the last stage."""
        outputs = self.session.filled(inputs)  # pafs of all stages, or of the last; then as many heatmaps
        return outputs[-1], outputs[len(outputs) // 2 - 1]

    def decode(self, maps: Sequence[Maps], places: Sequence[Letterbox]) -> DecodedPeople:
        """The people in an image, in original pixels."""
        ((heatmaps, pafs),), (place,) = maps, places
        sizes = place.size_in, place.size_img
        return decode.decode(heatmaps, pafs, sizes, self.skeleton, self.settings, self.original)

    def to_coco(self, people: DecodedPeople) -> tuple[Float64Array, Float64Array]:
        """See `decode.to_coco`."""
        return decode.to_coco(people, self.skeleton, self.original)
