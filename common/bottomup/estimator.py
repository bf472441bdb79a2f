# SPDX-License-Identifier: Apache-2.0
"""A network that finds all people in an image at once: image -> network input -> maps -> people."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.arrays import Float32Array, Float64Array, UInt8Array
from common.bottomup.assembly import DecodedPeople
from common.cli import RefusedImageError
from common.coco.images import Size, upright_image
from common.people import People
from common.runtime.session import Session
from common.skeleton import Skeleton

import numpy as np

Maps = tuple[Float32Array, Float32Array]  # heatmaps (num_heatmaps, h, w), pafs (num_pafs, h, w); of a batch (B, ...)
LONGEST_ASPECT = 16  # of long and short side: longer images are not of people, and would fill the memory


@dataclass(frozen=True)
class Letterbox:
    """The placement of an image in the network's input, sizes (height, width): resized, then padded."""

    size_img: Size
    scaled_in: Size  # of the resized image
    pad_in: tuple[int, int, int, int]  # top, left, bottom, right: grey around it

    @property
    def size_in(self) -> Size:
        """Of the network's input."""
        top, left, bottom, right = self.pad_in
        return self.scaled_in[0] + top + bottom, self.scaled_in[1] + left + right


class BottomUpEstimator(ABC):
    """What the `PoseEstimator` of both OpenPoses share; a model gives the abstract methods.

    An image may be seen at several scales: it then has a letterbox, and maps, of each. All but `maps` is called in
    threads.
    """

    session: Session
    skeleton: Skeleton
    stride: int  # input pixels a map cell

    @abstractmethod
    def letterboxes(self, size_img: Size) -> Sequence[Any]:
        """The placement of an image of (height, width) original pixels in the input, at each scale: `Letterbox`es."""

    @staticmethod
    @abstractmethod
    def to_input(image: UInt8Array, place: Any) -> Float32Array:
        """(h, w, 3) uint8 BGR -> (3, H, W) float32."""

    @abstractmethod
    def maps(self, inputs: Float32Array) -> Maps:
        """(B, 3, H, W) float32 -> heatmaps (B, num_heatmaps, h, w), pafs (B, num_pafs, h, w) of the last stage."""

    @abstractmethod
    def decode(self, maps: Sequence[Maps], places: Sequence[Any]) -> DecodedPeople:
        """The people of one image in original pixels, from its maps and its letterbox at each scale."""

    @abstractmethod
    def to_coco(self, people: DecodedPeople) -> tuple[Float64Array, Float64Array]:
        """(M, num_keypoints, 3) x, y in original pixels, v; (M,) scores: as COCO results have them."""

    def __call__(self, image: UInt8Array | str | Path) -> People:
        """The people in an image, (h, w, 3) uint8 BGR or a path; keypoints in its pixels.

        Raises UserError for what is no image, or is much longer than wide, or the other way.
        """
        return self.batch([image])[0]

    def batch(self, images: Sequence[UInt8Array | str | Path]) -> list[People]:
        """The people in each image, given as in a call; inputs of one size go through the network together."""
        pixels = [upright_image(image) for image in images]
        places, found = [self.letterboxes(image.shape[:2]) for image in pixels], dict[int, People]()
        for rows in alike([place.size_in for (place,) in places], self.session.fixed_batch or len(images)):
            inputs = self.inputs([pixels[row] for row in rows], [places[row] for row in rows])
            decoded = self.people(list(map(self.maps, inputs)), [places[row] for row in rows])
            found |= {row: People(self.skeleton, p.points(), p.scores) for row, p in zip(rows, decoded, strict=True)}
        return [found[row] for row in range(len(images))]

    def inputs(self, images: Sequence[UInt8Array], places: Sequence[Sequence[Any]]) -> list[Float32Array]:
        """The inputs (B, 3, H, W) of each scale; `places`: [image][scale], all images of one input size."""
        return [np.stack(list(map(self.to_input, images, scale))) for scale in zip(*places, strict=True)]

    def people(self, maps: Sequence[Maps], places: Sequence[Sequence[Any]]) -> list[DecodedPeople]:
        """The people of each image; `maps`: (B, ...) of each scale, `places`: [image][scale]."""
        of_images = zip(*(zip(*scale, strict=True) for scale in maps), strict=True)
        return list(map(self.decode, of_images, places))

    def image_maps(self, image: UInt8Array) -> tuple[Float32Array, Float32Array, Float64Array]:
        """Of an image (h, w, 3): heatmaps (1, num_heatmaps, h, w), pafs, and (2, 3): x, y of a cell -> pixels."""
        (place,) = self.letterboxes(image.shape[:2])
        heatmaps, pafs = self.maps(self.to_input(image, place)[None])
        pixels = np.divide(place.size_img, place.scaled_in)[::-1]  # of the image, an input pixel: x, y
        first = (self.stride / 2 - np.array(place.pad_in[1::-1])) * pixels - 0.5
        return heatmaps, pafs, np.column_stack((np.diag(self.stride * pixels), first))


def alike(sizes: Sequence[Hashable], most: int) -> list[list[int]]:
    """The places of equal sizes, together, in groups of at most `most`."""
    by_size: dict[Hashable, list[int]] = {}
    for place, size in enumerate(sizes):
        by_size.setdefault(size, []).append(place)
    return [places[first : first + most] for places in by_size.values() for first in range(0, len(places), most)]


def refuse_narrow(size_img: Size) -> None:
    """Raises RefusedImageError for an image that is much longer than wide, or the other way."""
    if max(size_img) > LONGEST_ASPECT * min(size_img):
        raise RefusedImageError(f"{size_img[1]} x {size_img[0]} pixels: too narrow an image; cut it to a usual shape")
