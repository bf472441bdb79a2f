# SPDX-License-Identifier: Apache-2.0
"""AP of a network that finds all people in an image at once: the evaluation of the bottom-up models.

    images -> network inputs   threads, a batch each
           -> maps             the calling thread
           -> people           a thread

They work side by side, each some batches ahead of the next, within bounded memory. What is particular to a model is in
its `BottomUpNetwork`. An image may be seen at several scales: what belongs to it is then a list over the scales.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from common import distributed
from common.arrays import Float32Array, Float64Array, UInt8Array
from common.bottomup.assembly import DecodedPeople
from common.cli import ImageError
from common.coco.evaluate import Detections, EvaluationSet, concatenate, no_detections, table
from common.parallel import in_order
from common.runtime.clock import Clock
from common.skeleton import Skeleton
from common.train.log import Log

import numpy as np

Size = tuple[int, int]  # height, width
Maps = tuple[Float32Array, Float32Array]  # heatmaps (B, num_heatmaps, h, w), pafs (B, num_pafs, h, w)
Letterbox = TypeVar("Letterbox")  # how an image is placed in the network's input: the model's own type

# rows of the index, letterboxes [scale][image], inputs or maps of each scale, what could not be read
_Batch = tuple[list[int], list[tuple[Any, ...]], list[Any], list[ImageError]]

READERS, DECODE_BEHIND = 2, 1  # batches read, and decoded, while the network works
STAGES = ("read", "resize", "network", "decode")


@dataclass(frozen=True)
class BottomUpNetwork(Generic[Letterbox]):
    """How one network finds people in images.

    `letterboxes`: an image's size in original pixels -> its placement in the input, of each scale. `size_in`: the size
    of that input. `to_input`: (h, w, 3) uint8 BGR and a letterbox -> (3, H, W) float32. `maps`: (B, 3, H, W) float32 ->
    maps. `people`: the maps of each scale, and the letterboxes [scale][image] -> the people of each image. `to_coco`:
    those of an image -> (M, num_keypoints, 3) x, y in original pixels, v; (M,) scores. All but `maps` are called in
    threads.
    """

    skeleton: Skeleton
    letterboxes: Callable[[Size], Sequence[Letterbox]]
    size_in: Callable[[Letterbox], Size]
    to_input: Callable[[UInt8Array, Letterbox], Float32Array]
    maps: Callable[[Float32Array], Maps]
    people: Callable[[Sequence[Maps], Sequence[Sequence[Letterbox]]], list[DecodedPeople]]
    to_coco: Callable[[DecodedPeople], tuple[Float64Array, Float64Array]]


@dataclass
class Evaluation:
    """The results of an evaluation, and the time of each part."""

    metrics: dict[str, float]
    detections: Detections
    num_images: int
    seconds: dict[str, float]  # of this rank: STAGES (side by side), evaluation; total
    skipped: list[str] = field(default_factory=list)  # a line an unreadable image

    @property
    def ms_an_image(self) -> dict[str, float]:
        """Milliseconds of each part; they run side by side: their sum is more than the total."""
        return {name: 1000 * seconds / max(1, self.num_images) for name, seconds in self.seconds.items()}

    def log(self, log: Log, protocol: Mapping[str, Any]) -> None:
        """Logs the metrics, the `protocol` (without it two numbers cannot be compared) and the speed."""
        for line in self.skipped:
            log.line(f"skipped: {line}")
        log.line("protocol: " + ", ".join(f"{name} {value}" for name, value in protocol.items()))
        log.line(table(self.metrics))
        log.line("ms an image: " + ", ".join(f"{name} {value:.2f}" for name, value in self.ms_an_image.items()))
        log.record("evaluate", metrics=self.metrics, protocol=protocol, ms_an_image=self.ms_an_image)


def evaluate(
    network: BottomUpNetwork[Letterbox],
    validation: EvaluationSet,
    batch_size: int,
    skip_bad: bool = False,
    readers: int = READERS,
) -> Evaluation:
    """AP over all images of `validation`; every rank takes its share of them and gets the whole result.

    Raises ImageError for an unreadable image, unless `skip_bad`: then it is counted and has no people.
    """
    clock = Clock(*STAGES, "evaluation", "total")
    found, skipped = [no_detections(network.skeleton.num_keypoints)], list[str]()
    with clock.part("total"):
        stages = _Stages(network, validation, clock)
        for problems, parts in stages.run(_share(network, validation, batch_size), readers):
            if problems and not skip_bad:
                raise problems[0]
            skipped += map(str, problems)
            found += parts
        detections = concatenate(distributed.gather_objects(concatenate(found)))
        with clock.part("evaluation"):
            metrics = distributed.broadcast_object(
                validation.average_precision(detections, network.skeleton.sigmas) if distributed.is_main() else {}
            )
    skipped = [line for lines in distributed.gather_objects(skipped) for line in lines]
    return Evaluation(metrics, detections, len(validation.rows), dict(clock), skipped)


def _share(network: BottomUpNetwork[Letterbox], validation: EvaluationSet, batch_size: int) -> list[list[int]]:
    """Batches of images with the same input size at every scale, every world-size-th of them: those of this rank."""
    rows = validation.rows.tolist()
    sizes = [
        tuple(map(network.size_in, network.letterboxes((height, width))))
        for height, width in validation.index.image_sizes[rows].tolist()
    ]
    batches = [[rows[place] for place in places] for places in alike(sizes, batch_size)]
    return batches[distributed.rank() :: distributed.world_size()]


def alike(sizes: Sequence[Hashable], most: int) -> list[list[int]]:
    """The places of equal sizes, together, in groups of at most `most`."""
    by_size: dict[Hashable, list[int]] = {}
    for place, size in enumerate(sizes):
        by_size.setdefault(size, []).append(place)
    return [places[first : first + most] for places in by_size.values() for first in range(0, len(places), most)]


@dataclass(frozen=True)
class _Stages(Generic[Letterbox]):
    network: BottomUpNetwork[Letterbox]
    validation: EvaluationSet
    clock: Clock

    def run(self, shares: list[list[int]], readers: int) -> Iterator[tuple[list[ImageError], list[Detections]]]:
        """Reads ahead in threads, runs the network here, decodes in another thread."""
        with ThreadPoolExecutor(readers) as pool, ThreadPoolExecutor(1) as decoder:
            through = map(self.through_network, in_order(pool, self.read, shares, readers))
            yield from in_order(decoder, self.decode, through, DECODE_BEHIND)

    def read(self, rows: list[int]) -> _Batch:
        images, problems = dict[int, UInt8Array](), list[ImageError]()
        with self.clock.part("read"):
            for row in rows:
                try:
                    images[row] = self.validation.read(row)
                except ImageError as error:
                    problems.append(error)
        with self.clock.part("resize"):
            places = [self.network.letterboxes((image.shape[0], image.shape[1])) for image in images.values()]
            letterboxes = list(zip(*places, strict=True))
            inputs = [np.stack(list(map(self.network.to_input, images.values(), scale))) for scale in letterboxes]
        return list(images), letterboxes, inputs, problems

    def through_network(self, batch: _Batch) -> _Batch:
        rows, letterboxes, inputs, problems = batch
        with self.clock.part("network"):
            return rows, letterboxes, list(map(self.network.maps, inputs)), problems

    def decode(self, batch: _Batch) -> tuple[list[ImageError], list[Detections]]:
        rows, letterboxes, maps, problems = batch
        found = []
        with self.clock.part("decode"):
            for row, people in zip(rows, self.network.people(maps, letterboxes) if rows else (), strict=True):
                keypoints, scores = self.network.to_coco(people)
                found.append(Detections(np.full(len(scores), self.validation.index.image_ids[row]), keypoints, scores))
        return problems, found
