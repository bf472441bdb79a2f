# SPDX-License-Identifier: Apache-2.0
"""People in boxes -> keypoints: the pipeline with which the top-down models evaluate, and find people for a demo.

    images  -> crops                threads, `READERS` at once
    crops   -> batches              of people, over the borders of images
    batches -> network inputs       a thread
            -> maps                 the calling thread
            -> keypoints in the image      threads, `DECODERS` at once

They work side by side, each some steps ahead of the next, within bounded memory. What is particular to a model is in
its `TopDownNetwork`.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from common import distributed
from common.arrays import Float32Array, Float64Array, Int64Array, UInt8Array
from common.cli import ImageError, UserError
from common.coco.evaluate import EvaluationSet
from common.coco.images import warp_image
from common.parallel import in_order
from common.runtime.clock import Clock
from common.runtime.session import Session
from common.topdown import crops, heatmaps
from common.topdown.boxes import PersonBoxes
from common.topdown.heatmaps import Peaks

import numpy as np
import torch
from torch import Tensor

READERS = 4
IMAGES_AHEAD = 4  # of each reader
DECODERS = 2  # one waits for memory most of the time
PREPARED, DECODE_BEHIND = 1, DECODERS  # batches made ready, and decoded, while the network works
STAGES = ("read", "crop", "network", "decode")


@dataclass(frozen=True)
class TopDownNetwork:
    """How the people in crops become keypoints, by one network.

    `normalise`: (B, H, W, 3) uint8 BGR -> (B, 3, H, W) float32. `forward`: (B, 3, H, W) float32 -> (B, num_maps, h, w)
    float32; a network with more than one answer (several people in a box) gives their maps one after the other.
    `decode`: such maps -> cells and scores. `flip` (num_maps,): maps of the mirrored image, see
    `heatmaps.merge_flip`; None: no flip test.
    """

    size_in: crops.Size  # height, width of the network's input
    num_maps: int
    normalise: Callable[[UInt8Array], Float32Array]
    forward: Callable[[Float32Array], Float32Array]
    decode: Callable[[Tensor], Peaks] = heatmaps.decode
    flip: Int64Array | None = None
    shift: bool = True  # of the mirrored maps
    padding: float = crops.PADDING
    fixed_batch: int | None = None  # crops that a call must have; None: any number


def maps_of(session: Session, num_maps: int) -> Callable[[Float32Array], Float32Array]:
    """`TopDownNetwork.forward` of a network with one input, whose last output is the maps; UserError for other maps."""

    def forward(inputs: Float32Array) -> Float32Array:
        maps = session(inputs)[-1]
        if maps.ndim != 4 or maps.shape[1] != num_maps:
            found = " x ".join(map(str, maps.shape))
            raise UserError(f"{session.source} gives {found} numbers, not a map for each of {num_maps} keypoints")
        return maps

    return forward


class ImageBoxes(NamedTuple):
    """An image and the boxes of people in it; `read` is called in a thread."""

    read: Callable[[], UInt8Array]  # (h, w, 3) uint8 BGR; may raise ImageError
    boxes_img: Float64Array  # (n, 4) left, top, width, height
    rows: Int64Array  # (n,) numbers by which the caller knows the boxes


class BoxKeypoints(NamedTuple):
    """The keypoints of some boxes."""

    rows: Int64Array  # (B,)
    keypoints_img: Float32Array  # (B, num_maps, 3) x, y in original pixels, score


class _Person(NamedTuple):
    row: int
    pixels: UInt8Array  # (H, W, 3) BGR
    centre_img: Any
    size_img: Any


_Batch = tuple[list[_Person], list[Float32Array]]  # with the crops, or their maps; of mirrored ones too for a flip test


def estimate(
    images: Iterable[ImageBoxes],
    network: TopDownNetwork,
    batch_size: int,
    on_bad: Callable[[ImageError], None] | None = None,
    readers: int = READERS,
    clock: Clock | None = None,
) -> Iterator[BoxKeypoints]:
    """The keypoints of all boxes, a batch at a time, in the order of the images.

    An unreadable image is passed to `on_bad`, in the calling thread, and has no keypoints; without it ImageError is
    raised. Raises UserError for a box without a crop, and for NaN. Network and `images` run in the
    calling thread. `clock`: what STAGES take is added to it.
    """
    stages = _Stages(network, clock or Clock())
    with (
        ThreadPoolExecutor(readers) as reader,
        ThreadPoolExecutor(1) as preparer,
        ThreadPoolExecutor(DECODERS) as decoder,
    ):
        cuts = in_order(reader, stages.cut, images, IMAGES_AHEAD * readers)
        batches = _batches(cuts, network.fixed_batch or batch_size, on_bad)
        prepared = in_order(preparer, stages.prepare, batches, PREPARED)
        yield from in_order(decoder, stages.decode, map(stages.through_network, prepared), DECODE_BEHIND)


def network_inputs(images: Iterable[ImageBoxes], network: TopDownNetwork) -> Iterator[Float32Array]:
    """The network inputs of `estimate`, (B, 3, H, W) float32, call after call; memory for one call.

    With a flip test the mirrored crops too. Raises ImageError, and UserError as `estimate`.
    """
    stages = _Stages(network, Clock())
    for people in _batches(map(stages.cut, images), network.fixed_batch or 1, None):
        yield from stages.prepare(people)[1]


def images_of(
    validation: EvaluationSet, boxes: PersonBoxes, rows_of_images: Iterable[tuple[int, Int64Array]]
) -> Iterator[ImageBoxes]:
    """Some images with their boxes; `rows_of_images`: as `PersonBoxes.by_image` gives them."""
    for image, rows in rows_of_images:
        yield ImageBoxes(functools.partial(validation.read, image), boxes.boxes_img[rows], rows)


def _batches(
    cuts: Iterable[list[_Person] | ImageError], size: int, on_bad: Callable[[ImageError], None] | None
) -> Iterator[list[_Person]]:
    waiting: list[_Person] = []
    for cut in cuts:
        if isinstance(cut, ImageError):
            if on_bad is None:
                raise cut
            on_bad(cut)
            continue
        waiting += cut
        while len(waiting) >= size:
            yield waiting[:size]
            waiting = waiting[size:]
    if waiting:
        yield waiting


@dataclass(frozen=True)
class _Stages:
    network: TopDownNetwork
    clock: Clock

    def cut(self, boxes: ImageBoxes) -> list[_Person] | ImageError:
        """The people of an image, or its error."""
        try:
            with self.clock.part("read"):
                image = boxes.read()
        except ImageError as problem:
            return problem
        size_in = self.network.size_in
        with self.clock.part("crop"):
            centres, sizes = crops.fit_boxes(boxes.boxes_img, size_in, self.network.padding)
            places = map(crops.Crop, centres, sizes)
            pixels = (warp_image(image, crops.image_to_crop(one, size_in), size_in) for one in places)
            return [_Person(*person) for person in zip(boxes.rows.tolist(), pixels, centres, sizes, strict=True)]

    def prepare(self, people: list[_Person]) -> _Batch:
        with self.clock.part("crop"):
            pixels = [person.pixels for person in people]
            pixels += pixels[-1:] * ((self.network.fixed_batch or 0) - len(pixels))
            inputs = self.network.normalise(np.stack(pixels))
            mirrored = [] if self.network.flip is None else [np.ascontiguousarray(inputs[..., ::-1])]
            return people, [inputs, *mirrored]

    def through_network(self, batch: _Batch) -> _Batch:
        with self.clock.part("network"):
            return batch[0], [self.network.forward(inputs) for inputs in batch[1]]

    def decode(self, batch: _Batch) -> BoxKeypoints:
        people, every, network = *batch, self.network
        with self.clock.part("decode"):
            maps, *mirrored = (torch.from_numpy(np.require(maps[: len(people)], requirements="W")) for maps in every)
            if network.flip is not None:
                maps = heatmaps.merge_flip(maps, mirrored[0], network.flip, network.shift)
            cells, scores = network.decode(maps)
            centres, sizes = np.stack([one.centre_img for one in people]), np.stack([one.size_img for one in people])
            joints = heatmaps.cells_to_image(cells, centres, sizes, (maps.shape[2], maps.shape[3]))
            keypoints = np.concatenate([joints, scores.cpu().numpy()[..., None]], axis=-1, dtype=np.float32)
            if not np.isfinite(keypoints).all():
                raise UserError("the network's result has NaN or infinity in it; look at its weights")
            return BoxKeypoints(np.array([one.row for one in people], np.int64), keypoints)


@dataclass(frozen=True)
class Estimates:
    """The keypoints of the N boxes of a data set whose images could be read, the same on every rank."""

    keypoints_img: Float32Array  # (N, num_maps, 3) x, y in original pixels, score
    boxes: PersonBoxes
    seconds: dict[str, float]  # of this rank, by STAGES, side by side
    skipped: list[str]  # a line an unreadable image


def estimate_boxes(
    network: TopDownNetwork,
    validation: EvaluationSet,
    boxes: PersonBoxes,
    batch_size: int,
    skip_bad: bool = False,
    readers: int = READERS,
) -> Estimates:
    """The keypoints of `boxes`; every rank takes its share of the images and gets the whole result.

    Raises ImageError for an unreadable image, unless `skip_bad`: then it is counted, and its boxes are left out.
    Raises UserError for a network that gives NaN.
    """
    share = boxes.by_image()[distributed.rank() :: distributed.world_size()]
    images, clock = images_of(validation, boxes, share), Clock(*STAGES)
    problems: list[ImageError] = []
    mine = list(estimate(images, network, batch_size, problems.append if skip_bad else None, readers, clock))
    keypoints = np.zeros((len(boxes), network.num_maps, 3), np.float32)
    is_found, skipped = np.zeros(len(boxes), np.bool_), list[str]()
    for parts, lines in distributed.gather_objects((mine, list(map(str, problems)))):
        skipped += lines
        for rows, values in parts:
            keypoints[rows], is_found[rows] = values, True
    return Estimates(keypoints[is_found], boxes.select(is_found), dict(clock), skipped)
