# SPDX-License-Identifier: Apache-2.0
"""Postprocessing of dumps: the original's steps against ours. The network and the chain: `python -m tools.compare`."""

import tempfile
from pathlib import Path

import common.coco.mini.dataset
from common.coco.reader import load
from common.skeleton import OPENPOSE
from common.test import pairs
from Lightweight_OpenPose.decode import DecodeRules, MapGeometry
from Lightweight_OpenPose.test import plain_decode
from OpenPose_infer import dumps
from OpenPose_infer.OpenPose_postprocess import MAP_SIZE, find_people, image_jobs
from OpenPose_infer.test import ideal_dumps

import numpy as np

TITLE = "Postprocessing of dumps: milliseconds an image"
SLOW = False


def measure(runs: int) -> list[dict]:
    """Dumps of ground-truth maps with a little noise, so that every number has all its digits."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        data = common.coco.mini.dataset.write(Path(name) / "few", num_train=1, num_val=2)
        texts = ideal_dumps.write(data, Path(name) / "text", binary=False, noise=1e-3)
        binaries = ideal_dumps.write(data, Path(name) / "binary", binary=True, noise=1e-3)
        for ideal in (texts, binaries):
            results = dumps.find(ideal.folder)
            jobs = image_jobs(results, ideal.pad_file, load(ideal.labels), ideal.labels)

            def plain(jobs=jobs) -> None:
                for job in jobs:
                    plain_postprocess(texts.folder / job.stem, job.geometry)

            def ours(results=results, jobs=jobs) -> None:
                find_people(results, jobs, OPENPOSE, DecodeRules())

            rows.append(pairs.compare(f"{results.kind} dumps", plain, ours, min(runs, 3), len(jobs)))
    return rows


def plain_postprocess(path: Path, geometry: MapGeometry) -> None:
    """Two text files word by word, then decoded in Python loops. The original executes each word, which is slower."""
    maps = []
    for number, channels in ((3, OPENPOSE.num_heatmaps), (4, OPENPOSE.num_pafs)):
        words = Path(f"{path}_{number}.txt").read_text().split()
        maps.append(np.array([float(word) for word in words], np.float32).reshape(channels, *MAP_SIZE))
    plain_decode.decode(*maps, geometry, OPENPOSE)
