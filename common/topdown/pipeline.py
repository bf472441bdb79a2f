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
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from common import distributed
from common.arrays import Float32Array, Float64Array, FloatArray, Int64Array, UInt8Array
from common.cli import ImageError, UserError
from common.coco.evaluate import Detections, EvaluationSet, Protocol, table
from common.coco.images import warp_image
from common.parallel import in_order
from common.runtime.clock import Clock
from common.runtime.session import Session
from common.topdown import crops, heatmaps
from common.topdown.crops import PersonBoxes
from common.topdown.heatmaps import Peaks

import numpy as np
import torch
from torch import Tensor

READERS = 4
IMAGES_AHEAD = 4  # of each reader
DECODERS = 2  # one waits for memory most of the time
PREPARED, DECODE_BEHIND = 1, DECODERS  # batches made ready, and decoded, while the network works
STAGES = ("read", "crop", "network", "decode")
AnyDetections = TypeVar("AnyDetections", bound=Detections)


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


# rows (N,) as of ImageBoxes, and keypoints (N, num_maps, 3) x, y in original pixels, score
BoxKeypoints = tuple[Int64Array, Float32Array]
_Person = tuple[int, UInt8Array, FloatArray, FloatArray]  # row, crop (H, W, 3) BGR, its centre and size in the image
# rows, centres and sizes, and the crops or their maps; for a flip test also those of the mirrored crops
_Batch = tuple[Int64Array, FloatArray, FloatArray, list[Float32Array]]


def estimate(
    images: Iterable[ImageBoxes],
    network: TopDownNetwork,
    batch_size: int,
    on_bad: Callable[[ImageError], None] | None = None,
    readers: int = READERS,
    clock: Clock | None = None,
) -> BoxKeypoints:
    """The rows of all boxes, in the order of the images, and their keypoints.

    An unreadable image is passed to `on_bad`, in a thread, and has no keypoints; without it ImageError is raised.
    Raises UserError for a box without a crop, and for NaN. Network and `images` run in the calling thread. `clock`:
    what STAGES take is added to it.
    """
    stages = _Stages(network, Clock() if clock is None else clock, on_bad)
    with ThreadPoolExecutor(readers) as read, ThreadPoolExecutor(1) as prepare, ThreadPoolExecutor(DECODERS) as decode:
        cuts = in_order(read, stages.cut, images, IMAGES_AHEAD * readers)
        batches = _batches(cuts, network.fixed_batch or batch_size)
        maps = map(stages.through_network, in_order(prepare, stages.prepare, batches, PREPARED))
        found = list(in_order(decode, stages.decode, maps, DECODE_BEHIND))
    nothing = np.zeros(0, np.int64), np.zeros((0, network.num_maps, 3), np.float32)
    rows, keypoints = map(np.concatenate, zip(nothing, *found, strict=True))
    return rows, keypoints


def estimate_images(
    images: Sequence[UInt8Array], boxes_img: Sequence[Float64Array], network: TopDownNetwork, batch_size: int
) -> list[Float32Array]:
    """Of each image (h, w, 3) uint8 BGR the keypoints of its boxes (n, 4): (n, num_maps, 3). Crops go together."""
    seen = (
        ImageBoxes(lambda image=image: image, boxes, np.arange(len(boxes)))  # type: ignore[misc]
        for image, boxes in zip(images, boxes_img, strict=True)
    )
    _, keypoints = estimate(seen, network, batch_size)
    return np.split(keypoints, np.cumsum([len(boxes) for boxes in boxes_img])[:-1]) if len(images) else []


def network_inputs(images: Iterable[ImageBoxes], network: TopDownNetwork) -> Iterator[Float32Array]:
    """The network inputs of `estimate`, (B, 3, H, W) float32, call after call; memory for one call.

    With a flip test the mirrored crops too. Raises ImageError, and UserError as `estimate`.
    """
    stages = _Stages(network, Clock())
    for people in _batches(map(stages.cut, images), network.fixed_batch or 1):
        yield from stages.prepare(people)[-1]


def images_of(validation: EvaluationSet, boxes: PersonBoxes, part: slice = slice(None)) -> Iterator[ImageBoxes]:
    """The images that have boxes, or some of them."""
    for image, rows in boxes.by_image()[part]:
        yield ImageBoxes(functools.partial(validation.read, image), boxes.boxes_img[rows], rows)


def _batches(cuts: Iterable[list[_Person]], size: int) -> Iterator[list[_Person]]:
    people = itertools.chain.from_iterable(cuts)
    while batch := list(itertools.islice(people, size)):
        yield batch


@dataclass(frozen=True)
class _Stages:
    network: TopDownNetwork
    clock: Clock
    on_bad: Callable[[ImageError], None] | None = None

    def cut(self, boxes: ImageBoxes) -> list[_Person]:
        """The people of an image."""
        try:
            with self.clock.part("read"):
                image = boxes.read()
        except ImageError as problem:
            if self.on_bad is None:
                raise
            self.on_bad(problem)
            return []
        size_in = self.network.size_in
        with self.clock.part("crop"):
            centres, sizes = crops.fit_boxes(boxes.boxes_img, size_in, self.network.padding)
            places = map(crops.Crop, centres, sizes)
            pixels = (warp_image(image, crops.image_to_crop(one, size_in), size_in) for one in places)
            return list(zip(boxes.rows.tolist(), pixels, centres, sizes, strict=True))

    def prepare(self, people: list[_Person]) -> _Batch:
        with self.clock.part("crop"):
            rows, pixels, centres, sizes = map(np.stack, zip(*people, strict=True))
            missing = max(0, (self.network.fixed_batch or 0) - len(rows))
            inputs = self.network.normalise(np.concatenate([pixels, *[pixels[-1:]] * missing]))
            mirrored = [] if self.network.flip is None else [np.ascontiguousarray(inputs[..., ::-1])]
            return rows, centres, sizes, [inputs, *mirrored]

    def through_network(self, batch: _Batch) -> _Batch:
        with self.clock.part("network"):
            return *batch[:3], list(map(self.network.forward, batch[3]))

    def decode(self, batch: _Batch) -> BoxKeypoints:
        (rows, centres, sizes, arrays), network = batch, self.network
        with self.clock.part("decode"):
            maps, *mirrored = (torch.from_numpy(np.require(maps[: len(rows)], requirements="W")) for maps in arrays)
            if network.flip is not None:
                maps = heatmaps.merge_flip(maps, mirrored[0], network.flip, network.shift)
            cells, scores = network.decode(maps)
            joints = heatmaps.cells_to_image(cells, centres, sizes, (maps.shape[2], maps.shape[3]))
            keypoints = np.concatenate([joints, scores.cpu().numpy()[..., None]], axis=-1, dtype=np.float32)
            if not np.isfinite(keypoints).all():
                raise UserError("the network's result has NaN or infinity in it; look at its weights")
            return rows, keypoints


@dataclass(frozen=True)
class Evaluation(Generic[AnyDetections]):
    """The results of an evaluation. People and metrics by name: those that count, first, and of each lambda alone."""

    people: dict[str, AnyDetections]
    metrics: dict[str, dict[str, float]]
    boxes: PersonBoxes  # whose images could be read
    num_boxes: int
    seconds: dict[str, float]  # of this rank: STAGES (side by side), evaluation; total
    skipped: list[str]  # a line an unreadable image

    @property
    def detections(self) -> AnyDetections:
        """The people that count."""
        return next(iter(self.people.values()))

    @property
    def total(self) -> dict[str, float]:
        """Their metrics."""
        return next(iter(self.metrics.values()))

    @property
    def ms_a_box(self) -> dict[str, float]:
        """Milliseconds of each part; they run side by side: their sum is more than the total."""
        return {name: 1000 * seconds / max(1, self.num_boxes) for name, seconds in self.seconds.items()}

    def lines(self, protocol: Mapping[str, Any], tables: Sequence[str] = ()) -> list[str]:
        """For the log: the `protocol`, without which numbers cannot be compared, `tables`, COCO's, and the speed."""
        return [
            *(f"note: {line}" for line in self.boxes.notes),
            *(f"skipped: {line}" for line in self.skipped),
            "protocol: " + ", ".join(f"{name} {value}" for name, value in protocol.items()),
            *tables,
            table(self.total),
            f"ms a box ({self.num_boxes}): " + ", ".join(f"{name} {ms:.2f}" for name, ms in self.ms_a_box.items()),
        ]


def evaluate(
    estimator: Any,
    validation: EvaluationSet,
    boxes: PersonBoxes,
    people_of: Callable[[Float32Array, PersonBoxes], dict[str, AnyDetections]],
    rules: Protocol = "coco",
    skip_bad: bool = False,
    readers: int = READERS,
) -> Evaluation[AnyDetections]:
    """AP of a PoseEstimator; every rank takes its share of the images and gets the whole result.

    `people_of`: keypoints (N, num_maps, 3) and their boxes -> people by name. Raises ImageError for an unreadable
    image, unless `skip_bad`: then its boxes are left out. Raises UserError for a network that gives NaN.
    """
    network, clock = estimator.network, Clock(*STAGES, "evaluation", "total")
    with clock.part("total"):
        share, problems = slice(distributed.rank(), None, distributed.world_size()), list[ImageError]()
        images, on_bad = images_of(validation, boxes, share), problems.append if skip_bad else None
        mine = estimate(images, network, estimator.batch_size, on_bad, readers, clock)
        keypoints = np.zeros((len(boxes), network.num_maps, 3), np.float32)
        is_read, skipped = np.zeros(len(boxes), np.bool_), list[str]()
        for (rows, values), lines in distributed.gather_objects((mine, sorted(map(str, problems)))):
            keypoints[rows], is_read[rows] = values, True
            skipped += lines
        with clock.part("evaluation"):
            read = boxes.select(is_read)
            people = people_of(keypoints[is_read], read)
            counted, sigmas = people.items() if distributed.is_main() else (), estimator.skeleton.sigmas
            metrics = distributed.broadcast_object(
                {name: validation.average_precision(found, sigmas, rules) for name, found in counted}
            )
    return Evaluation(people, metrics, read, len(boxes), dict(clock), skipped)
