# SPDX-License-Identifier: Apache-2.0
"""People in boxes -> keypoints: the pipeline with which the top-down models evaluate, and find people for a demo.

    images  -> crops                threads, `READERS` at once
    crops   -> batches              of people, over the borders of images
    batches -> network inputs       a thread
            -> maps                 the calling thread
            -> keypoints in the image      threads, `DECODERS` at once

They work side by side, each some steps ahead of the next, within bounded memory. What a model does its own way is in
its `Estimator`.
"""

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import common.distributed
from common.arrays import Float32Array, Int64Array, UInt8Array
from common.cli import ImageError, UserError
from common.coco.evaluate import EvaluationSet
from common.coco.images import warp_image
from common.parallel import in_order
from common.runtime.session import Session
from common.topdown import crops, heatmaps
from common.topdown.boxes import PersonBoxes
from common.topdown.heatmaps import Peaks

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Clock = dict[str, float]

READERS = 4
IMAGES_AHEAD = 4  # of each reader
DECODERS = 2  # one waits for memory most of the time
PREPARED, DECODE_BEHIND = 1, DECODERS  # batches made ready, and decoded, while the network works
STAGES = ("read", "crop", "network", "decode")


@dataclass(frozen=True)
class Estimator:
    """How the people in crops become keypoints, by one network.

    `normalise`: (B, H, W, 3) uint8 BGR -> (B, 3, H, W) float32. `forward`: (B, 3, H, W) float32 -> (B, num_maps, h, w)
    float32; a network with more than one answer (several people in a box) gives their maps one after the other.
    `decode`: such maps -> cells and scores. `flip` (num_maps,): maps of the mirrored picture, see
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
    """`Estimator.forward` of a network with one input, whose last output is the maps; UserError for other maps."""

    def forward(inputs: Float32Array) -> Float32Array:
        maps = session(inputs)[-1]
        if maps.ndim != 4 or maps.shape[1] != num_maps:
            found = " x ".join(map(str, maps.shape))
            raise UserError(f"{session.source} gives {found} numbers, not a map for each of {num_maps} keypoints")
        return maps

    return forward


class Picture(NamedTuple):
    """An image and where people are looked for in it; `read` is called in a thread."""

    read: Callable[[], UInt8Array]  # (h, w, 3) uint8 BGR; may raise ImageError
    boxes_img: npt.NDArray[np.float64]  # (n, 4) left, top, width, height
    rows: Int64Array  # (n,) numbers by which the caller knows the boxes


@dataclass(frozen=True)
class Found:
    """The keypoints of some boxes, `rows` (B,): (B, num_maps, 3) float32 x, y in original pixels, score."""

    rows: Int64Array
    keypoints_img: npt.NDArray[np.float32]
    seconds: Clock  # by STAGES, what these took


class _Person(NamedTuple):
    row: int
    pixels: UInt8Array  # (H, W, 3) BGR
    centre_img: npt.NDArray[Any]
    size_img: npt.NDArray[Any]


class _Cut(NamedTuple):
    """The people of an image, or what is wrong with it."""

    people: list[_Person]
    seconds: Clock
    problem: ImageError | None = None


@dataclass
class _Batch:
    people: list[_Person] = field(default_factory=list)
    seconds: Clock = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    inputs: list[Float32Array] = field(default_factory=list)  # crops, and mirrored crops for a flip test
    maps: list[Float32Array] = field(default_factory=list)  # of each of them


def estimate(
    pictures: Iterable[Picture],
    estimator: Estimator,
    batch_size: int,
    on_bad: Callable[[ImageError], None] | None = None,
    readers: int = READERS,
) -> Iterator[Found]:
    """The keypoints of all boxes, a batch at a time, in the order of the pictures.

    An unreadable image is given to `on_bad`, in the calling thread, and has no keypoints; without it ImageError is
    raised. Raises BoxError for a box that nothing can be cropped of. Network and `pictures` run in the calling thread.
    """
    size = estimator.fixed_batch or batch_size
    with (
        ThreadPoolExecutor(readers) as reader,
        ThreadPoolExecutor(1) as preparer,
        ThreadPoolExecutor(DECODERS) as decoder,
    ):
        cuts = in_order(reader, lambda picture: _cut(picture, estimator), pictures, IMAGES_AHEAD * readers)
        batches = _batches(cuts, size, on_bad or _refuse)
        prepared = in_order(preparer, lambda batch: _prepare(batch, estimator), batches, PREPARED)
        through = (_through_network(batch, estimator) for batch in prepared)
        yield from in_order(decoder, lambda batch: _decode(batch, estimator), through, DECODE_BEHIND)


def network_inputs(pictures: Iterable[Picture], estimator: Estimator) -> Iterator[Float32Array]:
    """What `estimate` would hand to the network, (B, 3, H, W) float32, call after call; memory for one call.

    With a flip test the mirrored crops too. Raises ImageError and BoxError.
    """
    cuts = (_cut(picture, estimator) for picture in pictures)
    for batch in _batches(cuts, estimator.fixed_batch or 1, _refuse):
        yield from _prepare(batch, estimator).inputs


def pictures_of(
    validation: EvaluationSet, boxes: PersonBoxes, images: Iterable[tuple[int, Int64Array]]
) -> Iterator[Picture]:
    """The pictures of some images and their boxes, as `PersonBoxes.by_image` gives them."""
    return (Picture(functools.partial(validation.read, image), boxes.boxes_img[rows], rows) for image, rows in images)


def _refuse(problem: ImageError) -> None:
    raise problem


def _cut(picture: Picture, estimator: Estimator) -> _Cut:
    began = time.perf_counter()
    try:
        image = picture.read()
    except ImageError as problem:
        return _Cut([], {"read": time.perf_counter() - began}, problem)
    read = time.perf_counter()
    centres, sizes = crops.fit_boxes(picture.boxes_img, estimator.size_in, estimator.padding)
    people = []
    for row, centre, size in zip(picture.rows.tolist(), centres, sizes, strict=True):
        matrix = crops.image_to_crop(crops.Crop(centre, size), estimator.size_in, image.shape[1])
        people.append(_Person(row, warp_image(image, matrix, estimator.size_in), centre, size))
    return _Cut(people, {"read": read - began, "crop": time.perf_counter() - read})


def _batches(cuts: Iterable[_Cut], size: int, on_bad: Callable[[ImageError], None]) -> Iterator[_Batch]:
    batch = _Batch()
    for cut in cuts:
        if cut.problem:
            on_bad(cut.problem)
        for stage, seconds in cut.seconds.items():
            batch.seconds[stage] += seconds
        for person in cut.people:
            batch.people.append(person)
            if len(batch.people) == size:
                yield batch
                batch = _Batch()
    if batch.people:
        yield batch


def _prepare(batch: _Batch, estimator: Estimator) -> _Batch:
    began = time.perf_counter()
    pixels = [person.pixels for person in batch.people]
    pixels += pixels[-1:] * ((estimator.fixed_batch or 0) - len(pixels))
    inputs = estimator.normalise(np.stack(pixels))
    batch.inputs = [inputs] if estimator.flip is None else [inputs, np.ascontiguousarray(inputs[..., ::-1])]
    batch.seconds["crop"] += time.perf_counter() - began
    return batch


def _through_network(batch: _Batch, estimator: Estimator) -> _Batch:
    began = time.perf_counter()
    batch.maps = [estimator.forward(inputs) for inputs in batch.inputs]
    batch.inputs = []
    batch.seconds["network"] = time.perf_counter() - began
    return batch


def _decode(batch: _Batch, estimator: Estimator) -> Found:
    began = time.perf_counter()
    people = batch.people
    maps, *mirrored = (torch.from_numpy(np.require(maps[: len(people)], requirements="W")) for maps in batch.maps)
    if estimator.flip is not None:
        maps = heatmaps.merge_flip(maps, mirrored[0], estimator.flip, estimator.shift)
    cells, scores = estimator.decode(maps)
    centres, sizes = np.stack([one.centre_img for one in people]), np.stack([one.size_img for one in people])
    joints = heatmaps.cells_to_image(cells, centres, sizes, (maps.shape[2], maps.shape[3]))
    keypoints = np.concatenate([joints, scores.cpu().numpy()[..., None]], axis=-1, dtype=np.float32)
    batch.seconds["decode"] = time.perf_counter() - began
    return Found(np.array([one.row for one in people], np.int64), keypoints, batch.seconds)


@dataclass(frozen=True)
class Estimates:
    """The keypoints of all N boxes of a data set, the same on every rank."""

    keypoints_img: npt.NDArray[np.float32]  # (N, num_maps, 3) x, y in original pixels, score; 0 where not found
    found: npt.NDArray[np.bool_]  # (N,) False where the image could not be read
    seconds: Clock  # of this rank, by STAGES, side by side
    skipped: list[str]  # a line an unreadable image


def estimate_boxes(
    estimator: Estimator,
    validation: EvaluationSet,
    boxes: PersonBoxes,
    batch_size: int,
    skip_bad: bool = False,
    readers: int = READERS,
) -> Estimates:
    """The keypoints of `boxes`; every rank takes its share of the images and gets the whole result.

    Raises ImageError for an unreadable image, unless `skip_bad`: then it is counted, and its boxes are not found.
    Raises UserError for a network that gives NaN.
    """
    share = boxes.by_image()[common.distributed.rank() :: common.distributed.world_size()]
    pictures = pictures_of(validation, boxes, share)
    problems: list[ImageError] = []
    clock, mine = dict.fromkeys(STAGES, 0.0), []
    for batch in estimate(pictures, estimator, batch_size, problems.append if skip_bad else None, readers):
        mine.append((batch.rows, batch.keypoints_img))
        clock = {stage: spent + batch.seconds[stage] for stage, spent in clock.items()}
    keypoints = np.zeros((len(boxes), estimator.num_maps, 3), np.float32)
    found, skipped = np.zeros(len(boxes), np.bool_), list[str]()
    for parts, lines in common.distributed.gather_objects((mine, list(map(str, problems)))):
        skipped += lines
        for rows, values in parts:
            keypoints[rows], found[rows] = values, True
    broken = np.flatnonzero(~np.isfinite(keypoints).all(axis=(1, 2)))
    if len(broken):
        image = validation.index.image_ids[boxes.image_rows[broken[0]]]
        raise UserError(f"the network's result for image id {image} has NaN or infinity in it; look at its weights")
    return Estimates(keypoints, found, clock, skipped)
