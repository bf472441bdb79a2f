# SPDX-License-Identifier: Apache-2.0
"""Samples through the data pipeline, targets included, one process: a plain pipeline against ours."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import common.coco.images
import common.coco.mini.dataset
import common.coco.reader
from AlphaPose import data
from AlphaPose.config import Config
from AlphaPose.data import TrainSamples, labelled_people
from AlphaPose.test import plain_data
from common.skeleton import COCO
from common.test import pairs
from common.topdown.heatmaps import encode

import numpy as np

TITLE = "Data pipeline: milliseconds a person, 256 x 192, targets included, one process and one thread"
SLOW = False
BATCH = 32
SHARED = Path(__file__).parents[3] / "shared" / "data" / "coco-mini"


def samples(kept_images: int) -> TrainSamples:
    """Real images where they stand beside the project, else the drawn ones; the published augmentation."""
    folder = SHARED if SHARED.is_dir() else common.coco.mini.dataset.ensure()
    index = common.coco.reader.load(common.coco.images.annotation_file(folder, "train"))
    config = dataclasses.replace(Config(), kept_images=kept_images)
    return TrainSamples(labelled_people(index), common.coco.images.image_folder(folder, "train"), COCO, config)


def plain_epoch(train: TrainSamples, epoch: int) -> None:
    """Everybody once, as the original makes them."""
    for place in range(len(train)):
        plain_data.sample(train, place, np.random.default_rng((0, epoch, place)))


def our_epoch(train: TrainSamples, epoch: int) -> None:
    """Everybody once, in batches, with targets."""
    config = train.config
    preset = config.yaml.DATA_PRESET
    for first in range(0, len(train), BATCH):
        batch = data.collate([train[epoch, place] for place in range(first, min(first + BATCH, len(train)))])
        encode(batch["joints"], batch["visible"], preset.HEATMAP_SIZE, config.stride, preset.SIGMA)
        data.normalise(batch["image"])


def decoding(train: TrainSamples) -> None:
    """The part that nobody can leave out: reading the JPEGs."""
    index = train.people.index
    for row in train.people.rows.tolist():
        common.coco.images.read_image(train.folder, index.file_name(int(index.image_rows(row))))


def plain_epochs() -> Callable[[], None]:
    """In a process without our settings."""
    pairs.use_one_thread()
    train, epochs = samples(0), itertools.count()
    return lambda: plain_epoch(train, next(epochs))


def measure(runs: int) -> list[dict]:
    """The pipeline, with decoded images kept, and JPEG decoding alone."""
    fresh, keeping, epochs, plain = samples(0), samples(1000), itertools.count(), pairs.Elsewhere(plain_epochs)
    with pairs.one_thread():
        rows = [
            pairs.compare(what, plain, lambda train=train: our_epoch(train, next(epochs)), runs, len(fresh))
            for what, train in (("a person", fresh), ("a person, decoded images kept", keeping))
        ]
        jpeg = pairs.compare(
            "of it JPEG decoding (ours) / whole of ours (plain)",
            lambda: our_epoch(fresh, next(epochs)), lambda: decoding(fresh), runs, len(fresh),
        )  # fmt: skip
    return [*rows, jpeg]
