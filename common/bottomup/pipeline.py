# SPDX-License-Identifier: Apache-2.0
"""AP of a network that finds all people in an image at once: the evaluation of the bottom-up models.

    images -> network inputs   threads, a batch each
           -> maps             the calling thread
           -> people           a thread

They work side by side, each some batches ahead of the next, within bounded memory.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from common import distributed
from common.arrays import UInt8Array
from common.bottomup.estimator import BottomUpEstimator, alike
from common.cli import ImageError
from common.coco.evaluate import Detections, EvaluationSet, concatenate, no_detections, table
from common.parallel import in_order
from common.runtime.clock import Clock
from common.train.log import Log

import numpy as np

# rows of the index, letterboxes [image][scale], inputs or maps of each scale, what could not be read
_Batch = tuple[list[int], list[Any], list[Any], list[ImageError]]

READERS, DECODE_BEHIND = 2, 1  # batches read, and decoded, while the network works
STAGES = ("read", "resize", "network", "decode")


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
    estimator: BottomUpEstimator,
    validation: EvaluationSet,
    batch_size: int,
    skip_bad: bool = False,
    readers: int = READERS,
) -> Evaluation:
    """AP over all images of `validation`; every rank takes its share of them and gets the whole result.

    Raises ImageError for an unreadable image, unless `skip_bad`: then it is counted and has no people.
    """
    clock = Clock(*STAGES, "evaluation", "total")
    found, skipped = [no_detections(estimator.skeleton.num_keypoints)], list[str]()
    with clock.part("total"):
        stages = _Stages(estimator, validation, clock)
        for problems, parts in stages.run(_share(estimator, validation, batch_size), readers):
            if problems and not skip_bad:
                raise problems[0]
            skipped += map(str, problems)
            found += parts
        detections = concatenate(distributed.gather_objects(concatenate(found)))
        with clock.part("evaluation"):
            metrics = distributed.broadcast_object(
                validation.average_precision(detections, estimator.skeleton.sigmas) if distributed.is_main() else {}
            )
    skipped = [line for lines in distributed.gather_objects(skipped) for line in lines]
    return Evaluation(metrics, detections, len(validation.rows), dict(clock), skipped)


def _share(estimator: BottomUpEstimator, validation: EvaluationSet, batch_size: int) -> list[list[int]]:
    """Batches of images with the same input size at every scale, every world-size-th of them: those of this rank."""
    rows = validation.rows.tolist()
    sizes = [
        tuple(place.size_in for place in estimator.letterboxes((height, width)))
        for height, width in validation.index.image_sizes[rows].tolist()
    ]
    batches = [[rows[place] for place in places] for places in alike(sizes, batch_size)]
    return batches[distributed.rank() :: distributed.world_size()]


@dataclass(frozen=True)
class _Stages:
    estimator: BottomUpEstimator
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
            places = [self.estimator.letterboxes(image.shape[:2]) for image in images.values()]
            return list(images), places, self.estimator.inputs(list(images.values()), places), problems

    def through_network(self, batch: _Batch) -> _Batch:
        rows, places, inputs, problems = batch
        with self.clock.part("network"):
            return rows, places, list(map(self.estimator.maps, inputs)), problems

    def decode(self, batch: _Batch) -> tuple[list[ImageError], list[Detections]]:
        rows, places, maps, problems = batch
        found = []
        with self.clock.part("decode"):
            for row, people in zip(rows, self.estimator.people(maps, places), strict=True):
                keypoints, scores = self.estimator.to_coco(people)
                found.append(Detections(np.full(len(scores), self.validation.index.image_ids[row]), keypoints, scores))
        return problems, found
