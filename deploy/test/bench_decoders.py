# SPDX-License-Identifier: Apache-2.0
"""The decoders in C++ and JavaScript against Python's: processor time of one thread, in turn."""

import shutil
import statistics
import tempfile
import time
from pathlib import Path

from common.skeleton import COCO
from common.test import pairs
from deploy.test import cases
from deploy.test.cases import Case, of_heatmaps, of_lightweight, of_openpose
from Lightweight_OpenPose.test import bench_decode

import numpy as np

TITLE = "Decoders in C++ and JavaScript: milliseconds an image, network maps to people, processor time of one thread"
SLOW = False
WARM_UP = 20  # runs, in which JavaScript is compiled


def tried() -> dict[str, list[Case]]:
    """What is measured, by name."""
    found = {}
    for what, images in bench_decode.cases().items():
        found[f"Lightweight OpenPose, {what}"] = [of_lightweight(*maps) for maps in images]
        found[f"port, {what}"] = [
            of_openpose(heatmaps, pafs, (tuple(8 * cells for cells in pafs.shape[1:]), geometry.size))
            for heatmaps, pafs, geometry in images
        ]
    maps = np.random.default_rng(0).random((COCO.num_keypoints, 64, 48), np.float32)
    crop = cases.crop_of([20, 30, 200, 400], (256, 192))
    return found | {f"heatmaps of a person, {how}": [of_heatmaps(maps, how, crop)] for how in ("quarter", "dark")}


def of_python(given: list[Case], runs: int) -> float:
    """Milliseconds an image."""
    for case in given:
        case.call()
    seconds = [pairs.seconds(lambda: [case.call() for case in given], time.process_time) for _ in range(runs)]
    return 1000 * statistics.median(seconds) / len(given)


def measure(runs: int) -> list[dict]:
    """One row a case; a program that cannot be had has no column."""
    rows = []
    with tempfile.TemporaryDirectory() as folder, pairs.one_thread():
        built, node = cases.compiled(Path(folder)), shutil.which("node")
        programs = {
            "C++": [built] if built else [],
            "JavaScript": [node, str(cases.HERE / "decode.mjs")] if node else [],
        }
        for what, given in tried().items():
            row: dict = {"what": what, "Python_ms": of_python(given, runs)}
            for name, command in programs.items():
                if command:
                    answers = cases.found_by(command, given, Path(folder), runs + WARM_UP)
                    row[f"{name}_ms"] = statistics.mean(answer["ms"] for answer in answers)
            rows.append(row)
    return rows
