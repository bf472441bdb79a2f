# SPDX-License-Identifier: Apache-2.0
"""Samples through the data pipeline, targets included, one process: a plain pipeline against ours."""

import itertools
from collections.abc import Callable
from pathlib import Path

import common.coco.images
import common.coco.mini.dataset
from common.skeleton import OPENPOSE
from common.test import pairs
from common.train.loader import EpochBatches, Plan, stream
from Lightweight_OpenPose import data, labels
from Lightweight_OpenPose.config import Config
from Lightweight_OpenPose.data import Augmentation, TrainSamples
from Lightweight_OpenPose.targets import encode
from Lightweight_OpenPose.test import plain_data

import numpy as np
import torch

TITLE = "Data pipeline: milliseconds a sample, 368 x 368, targets included, one process and one thread"
SLOW = False
BATCH = 8
SHARED = Path(__file__).parents[3] / "shared" / "data" / "coco-mini"


def samples() -> TrainSamples:
    """Real images where they stand beside the project, else the drawn ones."""
    folder = SHARED if SHARED.is_dir() else common.coco.mini.dataset.ensure()
    config = Config()
    augmentation = Augmentation(
        config.net_input_size, config.person_height, config.scale_min, config.scale_max, config.rotation,
        config.shift, config.flip,
    )  # fmt: skip
    prepared = labels.build(common.coco.images.annotation_file(folder, "train"))
    return TrainSamples(prepared, common.coco.images.image_folder(folder, "train"), OPENPOSE, augmentation, 0, False)


def plain_epoch(train: TrainSamples, epoch: int) -> None:
    """Every sample once, as the original makes it."""
    for index in range(len(train)):
        drawn = plain_data.draw(np.random.default_rng((0, epoch, index)), train.augmentation)
        plain_data.sample(train.labels, index, train.folder, train.skeleton, train.augmentation, drawn)


def our_epoch(train: TrainSamples, epoch: int) -> None:
    """Every sample once, in batches, with its targets."""
    rules = Config().target_rules
    for first in range(0, len(train), BATCH):
        batch = data.collate([train[epoch, index] for index in range(first, min(first + BATCH, len(train)))])
        cells = batch["mask"].shape[2], batch["mask"].shape[3]
        encode(batch["points"], cells, train.skeleton, rules)
        data.normalise(batch["image"])


def decoding(train: TrainSamples) -> None:
    """The part that nobody can leave out: reading the JPEGs."""
    for index in range(len(train)):
        common.coco.images.read_image(train.folder, train.labels.index.file_name(int(train.labels.images[index])))


def plain_epochs() -> Callable[[], None]:
    """In a process without our settings."""
    pairs.use_one_thread()
    train, epochs = samples(), itertools.count()
    return lambda: plain_epoch(train, next(epochs))


def measure(runs: int) -> list[dict]:
    """The pipeline, JPEG decoding alone, and the pause between epochs."""
    train, epochs = samples(), itertools.count()
    with pairs.one_thread():
        whole = pairs.compare(
            "a sample", pairs.Elsewhere(plain_epochs), lambda: our_epoch(train, next(epochs)), runs, len(train)
        )
        jpeg = pairs.compare(
            "of it JPEG decoding (ours) / whole of ours (plain)",
            lambda: our_epoch(train, next(epochs)), lambda: decoding(train), runs, len(train),
        )  # fmt: skip
        return [whole, jpeg, pause(train)]


def pause(train: TrainSamples) -> dict:
    """The wait for the first batch of an epoch against that for the others, two workers, steps of 0.2 s."""
    import time

    positions = EpochBatches(Plan(5, len(train), BATCH), 0)
    waits = []
    batches = stream(train, positions, data.collate, 2, torch.device("cpu"))
    for _ in range(positions.steps_per_epoch * positions.epochs):
        waits.append(pairs.seconds(lambda: next(batches)))
        time.sleep(0.2)
    firsts = waits[positions.steps_per_epoch :: positions.steps_per_epoch]
    others = [wait for number, wait in enumerate(waits) if number % positions.steps_per_epoch]
    return {
        "what": "wait for a batch: within an epoch (plain) / first of an epoch (ours), steps of 200 ms",
        "plain_ms": 1000 * float(np.median(others)), "ours_ms": 1000 * float(np.median(firsts)),
        "ratio": float("nan"), "ratio_min": float("nan"), "ratio_max": float("nan"), "runs": len(firsts),
    }  # fmt: skip
