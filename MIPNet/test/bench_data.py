# SPDX-License-Identifier: Apache-2.0
"""Samples through the data pipeline, targets included, one process: the plain pipeline of the spec against ours."""

import functools
import itertools
from collections.abc import Callable
from pathlib import Path

import common.coco.images
import common.coco.mini.dataset
import common.coco.reader
from common.skeleton import COCO
from common.test import pairs
from common.topdown.heatmaps import encode
from MIPNet import data
from MIPNet.config import parse
from MIPNet.data import TrainSamples, labelled_people
from MIPNet.test import plain_data

import numpy as np

TITLE = "Data pipeline: milliseconds a person, 384 x 288, targets included, one process and one thread"
SLOW = False
SHARED = Path(__file__).parents[3] / "shared" / "data" / "coco-mini"


def samples(*words: str) -> TrainSamples:
    """Real images where they stand beside the project, else the drawn ones; the published augmentation."""
    folder = SHARED if SHARED.is_dir() else common.coco.mini.dataset.ensure()
    index = common.coco.reader.load(common.coco.images.annotation_file(folder, "train"))
    config = parse(words)
    return TrainSamples(
        labelled_people(index, config.people_of), common.coco.images.image_folder(folder, "train"), COCO, config
    )


def plain_epoch(train: TrainSamples, epoch: int) -> None:
    """Everybody once, as the original makes them."""
    for place in range(len(train)):
        plain_data.sample(train, place, np.random.default_rng((0, epoch, place)))


def our_epoch(train: TrainSamples, epoch: int) -> None:
    """Everybody once, in batches, with targets."""
    config = train.config
    step = config.yaml.TRAIN.BATCH_SIZE_PER_GPU
    for first in range(0, len(train), step):
        places = range(first, min(first + step, len(train)))
        batch = data.collate([train[epoch, place] for place in places])
        people = [...] if train.others is None else [(slice(None), 0), (slice(None), 1)]
        for one in people:
            encode(batch["joints"][one], batch["visible"][one], config.size_map, config.stride, config.yaml.MODEL.SIGMA)
        data.normalise(batch["image"])


def decoding(train: TrainSamples) -> None:
    """The part that nobody can leave out: reading the JPEGs."""
    index = train.people.index
    for row in train.people.rows.tolist():
        common.coco.images.read_image(train.folder, index.file_name(int(index.image_rows(row))))


def plain_epochs(*words: str) -> Callable[[], None]:
    """In a process without our settings."""
    pairs.use_one_thread()
    train, epochs = samples(*words), itertools.count()
    return lambda: plain_epoch(train, next(epochs))


def measure(runs: int) -> list[dict]:
    """The pipeline, with decoded images kept, for pairs of people, and JPEG decoding alone."""
    fresh, keeping, two = samples(), samples("--kept_images=1000"), samples("--lambda")
    epochs, plain = itertools.count(), pairs.Elsewhere(plain_epochs)
    plain_two = pairs.Elsewhere(functools.partial(plain_epochs, "--lambda"))
    with pairs.one_thread():
        rows = [
            pairs.compare(what, theirs, lambda ours=ours: our_epoch(ours, next(epochs)), runs, len(ours))
            for what, theirs, ours in (
                ("a person", plain, fresh),
                ("a person, decoded images kept", plain, keeping),
                ("two people in a box", plain_two, two),
            )
        ]
        jpeg = pairs.compare(
            "of it JPEG decoding (ours) / whole of ours (plain)",
            lambda: our_epoch(fresh, next(epochs)), lambda: decoding(fresh), runs, len(fresh),
        )  # fmt: skip
    return [*rows, jpeg]
