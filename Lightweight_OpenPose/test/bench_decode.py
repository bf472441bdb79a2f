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
MAP_SIZE, GEOMETRY = (46, 69), MapGeometry(STRIDE, (0, 0, 0, 0), (427, 640))
MOST_TIES = 0.01  # of the points: neighbours that differ by rounding
NOISE, NOISY_TYPES = 0.05, 3
SHARED = Path(__file__).parents[3] / "shared" / "data" / "coco-mini"
Case = tuple[np.ndarray, np.ndarray, MapGeometry]


def real_images() -> list[Case]:
    """Ideal maps of the labelled validation images beside the project."""
    index = common.coco.reader.load(common.coco.images.annotation_file(SHARED, "val"))
    rows = [row for row in range(index.num_images) if (index.num_keypoints[index.people(row)] > 0).any()]
    maps = [ideal_maps.of_image(index, row, InputRule()) for row in rows]
    return [(heatmaps, pafs, place.geometry) for heatmaps, pafs, place in maps]


def people(count: int, height: float, noise: float) -> Case:
    """Drawn people in one image."""
    random = np.random.default_rng(count)
    points = synthetic_maps.people_in(count, MAP_SIZE, OPENPOSE, random, height)
    return (*synthetic_maps.drawn(points, MAP_SIZE, OPENPOSE, random, noise), GEOMETRY)


def noise(few_types: bool) -> Case:
    """Some 1,800 peaks of all types, or of three, as of an untrained network: its maps differ in their mean."""
    heatmaps, pafs = synthetic_maps.pure_noise(MAP_SIZE, OPENPOSE, np.random.default_rng(2), NOISE)
    if few_types:
        heatmaps[:NOISY_TYPES] += 0.1
        heatmaps[NOISY_TYPES:] *= 0.1
    return heatmaps, pafs, GEOMETRY


def cases() -> dict[str, list[Case]]:
    """What is measured, by name."""
    real = {"32 real images, ideal maps": real_images()} if SHARED.is_dir() else {}
    return {
        **real,
        "two drawn people": [people(2, 250, 0)],
        "crowd of 30": [people(30, 160, 0.02)],
        "noise, all types": [noise(few_types=False)],
        "noise, three types": [noise(few_types=True)],
    }


def check_equal(what: str, maps: Case) -> None:
    """As many people as by the plain version, and the same points but for ties."""
    ours, plain = (one.decode(*maps, OPENPOSE) for one in (decoder, plain_decode))
    points, others = ({tuple(row) for row in found.candidates[:, [0, 1, 3]].tolist()} for found in (ours, plain))
    if len(points ^ others) > MOST_TIES * len(others) or abs(len(ours.members) - len(plain.members)) > 1:
        raise AssertionError(f"{what}: the decoder and the plain version differ")


def measure(runs: int) -> list[dict]:
    """One row a case; `peaks` is the mean number of candidates an image."""
    rows = []
    with pairs.one_thread():
        for what, images in cases().items():
            for maps in images:
                check_equal(what, maps)

            def plain(images=images) -> None:
                for maps in images:
                    plain_decode.decode(*maps, OPENPOSE)

            def ours(images=images) -> None:
                for maps in images:
                    decoder.decode(*maps, OPENPOSE)

            row = pairs.compare(what, plain, ours, runs, len(images), time.process_time)
            peaks = sum(len(decoder.decode(*maps, OPENPOSE).candidates) for maps in images)
            rows.append({**row, "peaks": peaks // len(images)})
    return rows
