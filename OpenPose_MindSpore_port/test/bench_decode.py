# SPDX-License-Identifier: Apache-2.0
"""The decoder against the plain version: ideal maps of real images, a crowd, noise; results are compared first."""

import time
from pathlib import Path

from common.skeleton import OPENPOSE
from common.test import pairs
from OpenPose_MindSpore_port.config import DecodeRules
from OpenPose_MindSpore_port.decode import decode
from OpenPose_MindSpore_port.test import ideal_maps, plain_decode
from OpenPose_MindSpore_port.test.ideal_maps import Case

import numpy as np

TITLE = "Decoding: milliseconds an image, network maps to people, processor time of one thread"
SLOW = True
SIZE_IN, SIZE_IMG = (368, 552), (427, 640)
SHARED = Path(__file__).parents[3] / "shared" / "data" / "coco-mini"
MOST_TIES = 0.01  # of the points: neighbours that differ by rounding
NOISE, LITTLE_NOISE = 0.05, 0.02
MANY_PEAKS = 1000  # the plain version takes some ten seconds


def cases() -> dict[str, list[Case]]:
    """What is measured, by name."""
    random = np.random.default_rng(0)
    real = ideal_maps.of_labelled_images(SHARED, "val", OPENPOSE).values() if SHARED.is_dir() else ()
    few, many = (
        ideal_maps.drawn(ideal_maps.people_in(count, SIZE_IN, OPENPOSE, random, height), SIZE_IN, OPENPOSE)
        for count, height in ((2, 250), (30, 160))
    )
    found = {
        f"{len(real)} real images, ideal maps": list(real),
        "two drawn people": [(*few, (SIZE_IN, SIZE_IMG))],
        "crowd of 30, noise 0.02": [(*ideal_maps.with_noise(many, LITTLE_NOISE, random), (SIZE_IN, SIZE_IMG))],
        "two drawn people, noise 0.05": [(*ideal_maps.with_noise(few, NOISE, random), (SIZE_IN, SIZE_IMG))],
    }
    return {what: images for what, images in found.items() if images}


def check_equal(what: str, maps: Case) -> None:
    """By the original's rules as many people as by the plain version, and the same points but for ties."""
    ours, plain = decode(*maps, OPENPOSE, original=True), plain_decode.decode(*maps, OPENPOSE, DecodeRules(), True)
    points, others = (
        {tuple(row) for row in people.candidates[:, [0, 1, 3]].round(3).tolist()} for people in (ours, plain)
    )
    if len(points - others) > 2 + MOST_TIES * len(others) or abs(len(ours.members) - len(plain.members)) > 1:
        raise AssertionError(f"{what}: the decoder and the plain version differ")


def measure(runs: int) -> list[dict]:
    """One row a case and rule set; `peaks` is the mean number of candidates an image.

    A case that takes the plain version many seconds is run once.
    """
    rows = []
    with pairs.one_thread():
        for what, images in cases().items():
            for maps in images:
                check_equal(what, maps)
            peaks = sum(len(decode(*maps, OPENPOSE, original=True).candidates) for maps in images) // len(images)
            for name, original in (("original rules", True), ("default rules", False)):
                row = pairs.compare(
                    f"{what}, {name}",
                    lambda images=images: [
                        plain_decode.decode(*maps, OPENPOSE, DecodeRules(), True) for maps in images
                    ],
                    lambda images=images, original=original: [
                        decode(*maps, OPENPOSE, original=original) for maps in images
                    ],
                    1 if peaks > MANY_PEAKS else runs,
                    len(images),
                    time.process_time,
                )
                rows.append({**row, "peaks": peaks})
    return rows
