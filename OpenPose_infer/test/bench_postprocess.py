# SPDX-License-Identifier: Apache-2.0
"""Postprocessing of dumps: the original's steps against ours. The network and the chain: `python -m tools.compare`."""

import tempfile
from pathlib import Path

import common.coco.mini.dataset
from common.runtime.clock import Clock
from common.skeleton import OPENPOSE
from common.test import pairs
from Lightweight_OpenPose.decode import DecodeRules
from Lightweight_OpenPose.predict import Letterbox
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
        kinds = {
            kind: ideal_dumps.write(data, Path(name) / kind, kind == "binary", 1e-3) for kind in ("text", "binary")
        }
        for kind, ideal in kinds.items():
            results = dumps.find(ideal.folder)
            jobs = image_jobs(results, ideal.pad_file, ideal.labels, OPENPOSE)
            texts = [(kinds["text"].folder / f"{job.stem}_{{}}.txt", job.place) for job in jobs]

            def plain(texts=texts) -> None:
                for path, place in texts:
                    plain_postprocess(path, place)

            def ours(results=results, jobs=jobs) -> None:
                find_people(results, jobs, OPENPOSE, DecodeRules(), Clock(), 1)

            rows.append(pairs.compare(f"{kind} dumps", plain, ours, min(runs, 3), len(jobs)))
    return rows


def plain_postprocess(path: Path, place: Letterbox) -> None:
    """Two text files word by word, then decoded in Python loops. The original executes each word, which is slower."""
    maps = []
    for number, channels in ((3, OPENPOSE.num_heatmaps), (4, OPENPOSE.num_pafs)):
        words = Path(str(path).format(number)).read_text().split()
        maps.append(np.array([float(word) for word in words], np.float32).reshape(channels, *MAP_SIZE))
    plain_decode.decode(*maps, place.geometry, OPENPOSE)
