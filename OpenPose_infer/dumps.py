# SPDX-License-Identifier: Apache-2.0
"""The result folder: the outputs of the network for each image, as text or raw float32.

`{stem}_{number}.txt` holds blank separated numbers, `{stem}_{number}.bin` raw float32; the numbers count the outputs in
the network's order, from 1 as published or from 0 as the newer tool does, so the last two are the heatmaps and the
pafs of the last stage. Only numbers are read: the original evaluated each word as Python.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common import files
from common.arrays import Float32Array
from common.cli import UserError
from common.skeleton import Skeleton

import numpy as np

TEXT, BINARY = "txt", "bin"
FORM = "%.9g"  # nine digits identify every float32
CURE = "run benchmark.py again"
_NAME = re.compile(rf"(.+)_(\d+)\.({TEXT}|{BINARY})", re.ASCII)  # stem, number, kind


@dataclass(frozen=True)
class Results:
    """The content of a result folder."""

    folder: Path
    stems: tuple[str, ...]  # of the images, sorted
    kind: str  # TEXT or BINARY
    last: int  # number of the last output: the pafs; the one before it: the heatmaps


def begin(folder: Path) -> None:
    """Makes the folder, or removes the results of an earlier run from it and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in list(os.scandir(folder)):
        if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
            os.unlink(entry.path)


def write(folder: Path, stem: str, outputs: Sequence[Float32Array], binary: bool) -> None:
    """The outputs of one image."""
    for number, output in enumerate(outputs, 1):
        flat = np.ascontiguousarray(output, "<f4").reshape(1, -1)
        if binary:
            flat.tofile(folder / f"{stem}_{number}.{BINARY}")
        else:
            np.savetxt(folder / f"{stem}_{number}.{TEXT}", flat, FORM)


def find(folder: Path) -> Results:
    """The content of a result folder. Raises UserError for one that is missing, empty, or of two runs."""
    try:
        matches = [match for entry in os.scandir(folder) if (match := _NAME.fullmatch(entry.name))]
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; the folder dumpOutput_device0 of benchmark.py") from error
    if not matches:
        raise UserError(f"{folder}: no files <image>_<number>.{TEXT} or .{BINARY}; {CURE} with --result_path")
    stems, numbers, kinds = (set(parts) for parts in zip(*(match.groups() for match in matches), strict=True))
    if len(kinds) > 1:
        raise UserError(f"{folder}: results as text and binary of two runs; remove those of one kind")
    return Results(folder, tuple(sorted(stems)), kinds.pop(), max(map(int, numbers)))


def read_maps(
    results: Results, stem: str, skeleton: Skeleton, map_size: tuple[int, int]
) -> tuple[Float32Array, Float32Array]:
    """Heatmaps (num_heatmaps, h, w) and pafs (num_pafs, h, w) float32 of the last stage of one image.

    `map_size` (h, w) cells. Raises UserError, naming the file, for anything but this many finite numbers.
    """
    heatmaps, pafs = (
        _numbers(results.folder / f"{stem}_{number}.{results.kind}", (channels, *map_size))
        for number, channels in ((results.last - 1, skeleton.num_heatmaps), (results.last, skeleton.num_pafs))
    )
    return heatmaps, pafs


def _numbers(path: Path, shape: tuple[int, int, int]) -> Float32Array:
    content, expected = files.read_bytes(path), int(np.prod(shape))
    try:
        if path.suffix == f".{TEXT}":
            numbers = np.fromstring(content.decode("ascii"), np.float32, sep=" ")
        else:
            numbers = np.frombuffer(content, "<f4")
    except (ValueError, DeprecationWarning) as error:  # a warning of older NumPys
        raise UserError(f"{path}: not all numbers, or half written; {CURE}") from error
    if numbers.size != expected:
        sizes = f"{expected} expected ({shape[0]} maps of {shape[1]} x {shape[2]})"
        raise UserError(f"{path}: {numbers.size} numbers, {sizes}: half written, or of another network; {CURE}")
    if not np.isfinite(numbers).all():
        raise UserError(f"{path}: NaN or infinity; {CURE} with --amp=O0")
    return numbers.reshape(shape)
