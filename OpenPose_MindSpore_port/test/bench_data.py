# SPDX-License-Identifier: Apache-2.0
"""Samples through the data pipeline, targets included, one process: the plain pipeline of the spec against ours."""

import functools
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import common.coco.images
import common.coco.mini.dataset
from common.skeleton import OPENPOSE
from common.test import pairs
from OpenPose_MindSpore_port import data, ignore_masks, labels
from OpenPose_MindSpore_port.augmentation import Augmentation, draw
from OpenPose_MindSpore_port.data import TrainSamples
from OpenPose_MindSpore_port.labels import LabelRules
from OpenPose_MindSpore_port.targets import TargetRules, encode
from OpenPose_MindSpore_port.test import plain_data

import numpy as np

TITLE = "Data pipeline: milliseconds a sample, 368 x 368, targets included, one process and one thread"
SLOW = False
BATCH = 10
SHARED = Path(__file__).parents[3] / "shared" / "data" / "coco-mini"


def samples(masks: Path) -> TrainSamples:
    """Real images where they stand beside the project, else the drawn ones; ignore masks are written to `masks`."""
    folder = SHARED if SHARED.is_dir() else common.coco.mini.dataset.ensure()
    annotation_file = common.coco.images.annotation_file(folder, "train")
    ignore_masks.write(annotation_file, masks, LabelRules())
    return TrainSamples(
        labels.build(annotation_file, LabelRules()), common.coco.images.image_folder(folder, "train"), masks, OPENPOSE,
        Augmentation(), 0, False,
    )  # fmt: skip


def plain_epoch(train: TrainSamples, epoch: int) -> None:
    """Every sample once, as the original makes it."""
    index = train.labels.index
    for number in range(len(train)):
        people = index.people(number)
        drawn = draw(train.augmentation, people.stop - people.start, np.random.default_rng((0, epoch, number)))
        plain_data.sample(train, number, drawn, train.skeleton)


def our_epoch(train: TrainSamples, epoch: int) -> None:
    """Every sample once, in batches, with its targets."""
    for first in range(0, len(train), BATCH):
        batch = data.collate([train[epoch, index] for index in range(first, min(first + BATCH, len(train)))])
        encode(batch["points"], (batch["usable"].shape[2], batch["usable"].shape[3]), train.skeleton, TargetRules())
        data.normalise(batch["image"])


def decoding(train: TrainSamples) -> None:
    """The part that nobody can leave out: reading the JPEGs."""
    for index in range(len(train)):
        common.coco.images.read_image(train.folder, train.labels.index.file_name(index))


def plain_epochs(masks: Path) -> Callable[[], None]:
    """In a process without our settings."""
    pairs.use_one_thread()
    train, epochs = samples(masks), itertools.count()
    return lambda: plain_epoch(train, next(epochs))


def measure(runs: int) -> list[dict]:
    """The pipeline, and JPEG decoding alone."""
    with tempfile.TemporaryDirectory() as folder, pairs.one_thread():
        train, epochs = samples(Path(folder)), itertools.count()
        plain = pairs.Elsewhere(functools.partial(plain_epochs, Path(folder)))
        whole = pairs.compare("a sample", plain, lambda: our_epoch(train, next(epochs)), runs, len(train))
        jpeg = pairs.compare(
            "of it JPEG decoding (ours) / whole of ours (plain)",
            lambda: our_epoch(train, next(epochs)), lambda: decoding(train), runs, len(train),
        )  # fmt: skip
    return [whole, jpeg]
