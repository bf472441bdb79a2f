# SPDX-License-Identifier: Apache-2.0
"""Cases for the decoders outside Python: a file of maps and numbers that decode.cpp and decode.mjs read alike.

A case is three int32 (kind, how many numbers, how many values), the numbers as float64 and the values as float32, all
little-endian. The numbers are in the order in which the two programs take them.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from AlphaPose.decode import regress
from common.bottomup.assembly import DecodedPeople
from common.skeleton import OPENPOSE, Skeleton
from common.topdown import crops, heatmaps
from Lightweight_OpenPose import decode as lightweight
from MIPNet.decode import REFINE
from OpenPose_MindSpore_port import decode as openpose

import numpy as np
import torch

HERE = Path(__file__).parent
FLAGS = ("-std=c++17", "-O3", "-march=native", "-Wall", "-Wextra", "-Werror")
LIGHTWEIGHT, OPENPOSE_KIND, HEATMAPS = range(3)
HOW = ("none", "quarter", "dark", "sigmoid", "softmax")


@dataclass
class Case:
    """`expected`: what Python finds, DecodedPeople or joints (K, 3); `call` finds it again."""

    kind: int
    numbers: list[float]
    values: list[np.ndarray]
    call: Any

    def content(self) -> bytes:
        values = np.concatenate([np.ravel(one) for one in self.values]).astype("<f4")
        head = np.array([self.kind, len(self.numbers), len(values)], "<i4")
        return head.tobytes() + np.array(self.numbers, "<f8").tobytes() + values.tobytes()


def _maps(skeleton: Skeleton, heat: np.ndarray, pafs: np.ndarray) -> list[float]:
    limbs = skeleton.limb_points.ravel().tolist()
    counts = [skeleton.num_points, len(skeleton.limbs)]
    return [*counts, *limbs, *skeleton.assembly, len(heat), len(pafs), *heat.shape[1:]]


def of_lightweight(heat, pafs, geometry, skeleton=OPENPOSE, rules=lightweight.ORIGINAL_RULES) -> Case:
    numbers = _maps(skeleton, heat, pafs) + [geometry.stride, *geometry.pad, *geometry.size]
    thresholds = [value for name, value in vars(rules).items() if name != "half_pixel"]
    return Case(
        LIGHTWEIGHT,
        numbers + thresholds,
        [heat, pafs],
        lambda: lightweight.decode(heat, pafs, geometry, skeleton, rules),
    )


def of_openpose(heat, pafs, sizes, skeleton=OPENPOSE, rules=openpose.DEFAULT_RULES, original=False) -> Case:
    numbers = _maps(skeleton, heat, pafs) + [*sizes[0], *sizes[1], *astuple(rules), original]
    return Case(
        OPENPOSE_KIND,
        numbers,
        [heat, pafs],
        lambda: openpose.decode(heat, pafs, sizes, skeleton, rules, original),
    )


def of_heatmaps(maps, how: str, crop: tuple[Any, Any], keep_zero=False, mirrored=None, flip=()) -> Case:
    """Of one person: `maps` (K, h, w); `crop`: centre and size in original pixels."""
    flags = [HOW.index(how), keep_zero, mirrored is not None]
    numbers = [*maps.shape, *flags, *(flip if mirrored is not None else ()), *crop[0], crop[1][0]]

    def call() -> np.ndarray:
        given = torch.from_numpy(maps[None])
        if mirrored is not None:
            given = heatmaps.merge_flip(given, torch.from_numpy(mirrored[None]), flip)
        cells, scores = heatmaps.decode(given, REFINE[how], keep_zero) if how in REFINE else regress(given, how)
        places = heatmaps.cells_to_image(cells, [crop[0]], [crop[1]], maps.shape[1:])
        return np.concatenate([places, scores.numpy()[..., None]], axis=2)[0]

    return Case(HEATMAPS, numbers, [maps] + ([] if mirrored is None else [mirrored]), call)


def found_by(command: Sequence[str], cases: Sequence[Case], folder: Path, runs: int = 1) -> list[dict]:
    """What a program finds in each case, and its milliseconds: the median of the runs."""
    file = folder / "cases.bin"
    with file.open("wb") as out:
        out.writelines(case.content() for case in cases)
    done = subprocess.run([*command, str(file), str(runs)], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def people_of(answer: dict, skeleton: Skeleton) -> DecodedPeople:
    """An answer as Python has it."""
    candidates, members = np.array(answer["candidates"], np.float64), np.array(answer["members"], np.int64)
    scores, counts = np.array(answer["scores"], np.float64), np.array(answer["counts"], np.int64)
    return DecodedPeople(candidates.reshape(-1, 4), members.reshape(-1, skeleton.num_points), scores, counts)


def compiled(folder: Path) -> str:
    """The program of C++; empty where there is no compiler."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        return ""
    subprocess.run([compiler, *FLAGS, str(HERE / "decode.cpp"), "-o", str(folder / "decode")], check=True)
    return str(folder / "decode")


def crop_of(box: Sequence[float], size_in: tuple[int, int]) -> tuple[Any, Any]:
    """Centre and size of the crop of a box."""
    return crops.fit_boxes(box, size_in)
