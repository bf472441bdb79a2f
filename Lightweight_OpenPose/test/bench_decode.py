# SPDX-License-Identifier: Apache-2.0
"""The decoder against the plain version: ideal maps of real images, a crowd, noise; results are compared first."""

import time
from pathlib import Path

import common.coco.images
import common.coco.reader
from common.skeleton import OPENPOSE
from common.test import pairs
from Lightweight_OpenPose import decode as decoder
from Lightweight_OpenPose.decode import MapGeometry
from Lightweight_OpenPose.model import STRIDE
from Lightweight_OpenPose.predict import InputRule
from Lightweight_OpenPose.test import ideal_maps, plain_decode, synthetic_maps

import numpy as np

TITLE = "Decoding: milliseconds an image, network maps to people, processor time of one thread"
SLOW = False
BASE_HEIGHT = 368
MAP_SIZE, IMAGE_SIZE = (46, 69), (427, 640)
MOST_TIES = 0.01  # of the points: neighbours that differ by rounding
NOISE_OF_ALL, NOISE_OF_FEW, NOISY_TYPES = 0.05, 0.05, 3
SHARED = Path(__file__).parents[3] / "shared" / "data" / "coco-mini"
Case = tuple[np.ndarray, np.ndarray, MapGeometry]


def real_images() -> list[Case]:
    """Ideal maps of the labelled validation images beside the project."""
    index = common.coco.reader.load(common.coco.images.annotation_file(SHARED, "val"))
    rows = [row for row in range(index.num_images) if (index.num_keypoints[index.people(row)] > 0).any()]
    maps = [ideal_maps.of_image(index, row, InputRule(BASE_HEIGHT)) for row in rows]
    return [(heatmaps, pafs, place.geometry) for heatmaps, pafs, place in maps]


def few_people() -> list[Case]:
    """Two drawn people in each of eight images, without noise."""
    random = np.random.default_rng(0)
    points = [synthetic_maps.people_in(2, MAP_SIZE, OPENPOSE, random, 250) for _ in range(8)]
    geometry = MapGeometry(STRIDE, (0, 0, 0, 0), IMAGE_SIZE)
    return [(*synthetic_maps.drawn(one, MAP_SIZE, OPENPOSE, random), geometry) for one in points]


def crowd() -> list[Case]:
    """Thirty drawn people in one image, and noise."""
    random = np.random.default_rng(1)
    points = synthetic_maps.people_in(30, MAP_SIZE, OPENPOSE, random, 160)
    return [(*synthetic_maps.drawn(points, MAP_SIZE, OPENPOSE, random, 0.02), MapGeometry(8, (0, 0, 0, 0), IMAGE_SIZE))]


def noise_of_all_types() -> list[Case]:
    """About 1,800 peaks, spread over all types."""
    random = np.random.default_rng(2)
    maps = synthetic_maps.pure_noise(MAP_SIZE, OPENPOSE, random, NOISE_OF_ALL)
    return [(*maps, MapGeometry(STRIDE, (0, 0, 0, 0), IMAGE_SIZE))]


def noise_of_few_types() -> list[Case]:
    """About 2,000 peaks of three types, as an untrained network gives them: its maps differ in their mean."""
    random = np.random.default_rng(3)
    heatmaps, pafs = synthetic_maps.pure_noise(MAP_SIZE, OPENPOSE, random, NOISE_OF_FEW)
    heatmaps[:NOISY_TYPES] += 0.1
    heatmaps[NOISY_TYPES:] *= 0.1
    return [(heatmaps, pafs, MapGeometry(STRIDE, (0, 0, 0, 0), IMAGE_SIZE))]


def cases() -> dict[str, list[Case]]:
    """What is measured, by name."""
    real = {"32 real images, ideal maps": real_images()} if SHARED.is_dir() else {}
    return {
        **real,
        "two drawn people": few_people(),
        "crowd of 30": crowd(),
        "noise, all types": noise_of_all_types(),
        "noise, three types": noise_of_few_types(),
    }


def check_equal(what: str, maps: Case) -> None:
    """As many people as by the plain version, and the same points but for ties."""
    ours, plain = (one.decode(*maps, OPENPOSE) for one in (decoder, plain_decode))
    points, others = ({tuple(row) for row in people.candidates[:, [0, 1, 3]].tolist()} for people in (ours, plain))
    if len(points ^ others) > MOST_TIES * len(others) or abs(len(ours.members) - len(plain.members)) > 1:
        raise AssertionError(f"{what}: the decoder and the plain version differ")


def measure(runs: int) -> list[dict]:
    """One row a case; `peaks` is the mean number of candidates an image."""
    rows = []
    with pairs.one_thread():
        for what, images in cases().items():
            for maps in images:
                check_equal(what, maps)
            row = pairs.compare(
                what,
                lambda images=images: [plain_decode.decode(*maps, OPENPOSE) for maps in images],
                lambda images=images: [decoder.decode(*maps, OPENPOSE) for maps in images],
                runs,
                len(images),
                time.process_time,
            )
            peaks = sum(len(decoder.decode(*maps, OPENPOSE).candidates) for maps in images)
            rows.append({**row, "peaks": peaks // len(images)})
    return rows
