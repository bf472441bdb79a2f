# SPDX-License-Identifier: Apache-2.0
"""People in an image, in three lines of Python.

from Lightweight_OpenPose import PoseEstimator, inference
estimator = PoseEstimator("checkpoint_iter_370000.pth")
people = estimator("image.jpg")
"""

from pathlib import Path

from common.arrays import Float32Array, Float64Array, UInt8Array
from common.cli import PictureError
from common.device import DeviceName
from common.media.source import read_upright
from common.people import People
from common.runtime.session import Options, Provider
from common.skeleton import Skeleton, load
from common.train import checkpoint
from Lightweight_OpenPose import inference
from Lightweight_OpenPose.config import PUBLISHED, WEIGHT_FOLDERS
from Lightweight_OpenPose.data import PIXEL_MEAN, PIXEL_SCALE
from Lightweight_OpenPose.decode import DEMO_UPSAMPLING, MapGeometry, decode, demo_to_image, warm_up
from Lightweight_OpenPose.model import STRIDE

import cv2
import numpy as np

# A pixel of the enlarged map is STRIDE / DEMO_UPSAMPLING network pixels wide, and its centre lies in their middle: map
# pixel i is network pixel 2 i + 0.5. The original takes 2 i, half a network pixel too far left and up.
CENTRE_SHIFT = 0.5 - 0.5 * DEMO_UPSAMPLING / STRIDE
LONGEST_ASPECT = 16  # of width and height: what is longer is no image of people, and would fill the memory


class PoseEstimator:
    """A network that finds people in images, as the published demo does."""

    def __init__(
        self,
        checkpoint_path: str | Path,
        device: DeviceName = "auto",
        skeleton: str | Skeleton = "openpose",
        height: int = 256,
        provider: Provider = "auto",
    ) -> None:
        """`checkpoint_path`: .pth, .onnx, .xml, .om, or a published name. `height`: of the network's input, pixels.

        Raises UserError where the file is missing, damaged, or of another network.
        """
        self.skeleton = load(skeleton) if isinstance(skeleton, str) else skeleton
        source = checkpoint.locate(str(checkpoint_path), PUBLISHED, WEIGHT_FOLDERS)
        session = inference.open_session(source, Options(device, provider=provider), self.skeleton)
        self.network, self.height = inference.Estimator(session, self.skeleton), height
        warm_up(self.skeleton, self.network.rules)

    def __call__(self, image: UInt8Array | str | Path) -> People:
        """The people in an image, (h, w, 3) uint8 BGR or a path; keypoints in its pixels.

        Raises PictureError for an image that is much longer than wide, or the other way.
        """
        pixels = read_upright(Path(image)) if isinstance(image, (str, Path)) else image
        place, heatmaps, pafs = self._maps(pixels)
        geometry = MapGeometry.demo((heatmaps.shape[2], heatmaps.shape[3]))
        people = decode(heatmaps[0], pafs[0], geometry, self.skeleton, self.network.rules)
        points = people.points()
        places = demo_to_image(points[:, :, :2] + CENTRE_SHIFT, STRIDE, place.pad_in, self.height / len(pixels))
        points[:, :, :2] = np.where(points[:, :, 2:] > 0, places, 0.0)
        return People(self.skeleton, points, people.scores)

    def image_maps(self, image: UInt8Array) -> tuple[Float32Array, Float32Array, Float64Array]:
        """Of an image (h, w, 3): heatmaps (1, num_heatmaps, h, w), pafs, and (2, 3): x, y of a cell -> pixels."""
        place, heatmaps, pafs = self._maps(image)
        pixels = len(image) / self.height  # of the image, an input pixel
        x, y = ((STRIDE / 2 - cut) * pixels - 0.5 for cut in (place.pad_in[1], place.pad_in[0]))
        return heatmaps, pafs, np.array([[STRIDE * pixels, 0, x], [0, STRIDE * pixels, y]])

    def _maps(self, image: UInt8Array) -> tuple[inference.Frame, Float32Array, Float32Array]:
        height, width = image.shape[:2]
        if max(height, width) > LONGEST_ASPECT * min(height, width):
            raise PictureError(f"{width} x {height} pixels: too narrow an image; cut it to a usual shape")
        place = inference.frame((height, width), self.height)
        return place, *self.network.maps(fast_input(image, place)[None])


def fast_input(image: UInt8Array, place: inference.Frame) -> Float32Array:
    """(h, w, 3) uint8 BGR -> (3, H, W) float32 network input: resized bilinearly, then normalised."""
    small = cv2.resize(image, place.scaled_in[::-1], interpolation=cv2.INTER_LINEAR)
    top, left, _, _ = place.pad_in
    padded = np.zeros((3, *place.input_size), np.float32)
    normalised = (small - np.float32(PIXEL_MEAN)) * PIXEL_SCALE
    padded[:, top : top + small.shape[0], left : left + small.shape[1]] = normalised.transpose(2, 0, 1)
    return padded
