# SPDX-License-Identifier: Apache-2.0
"""The result folder: the outputs of the network for each image, as text or raw float32.

`{stem}_{number}.txt` holds one line of blank separated numbers, `{stem}_{number}.bin` raw float32; the numbers count
the outputs in the network's order, from 1 as published or from 0 as the newer tool does, so the last two are the
heatmaps and the pafs of the last stage. Only numbers are read: the original evaluated each word as Python.
"""

import io
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
import numpy.typing as npt

TEXT, BINARY = "txt", "bin"
FIRST_NUMBER = 1
FORM = "%.9g"  # nine digits tell every float32 from its neighbours
UNFINISHED = ".unfinished"  # stands in a folder while it is written
CURE = "run benchmark.py again"
_NAME = re.compile(rf"(?P<stem>.+)_(?P<number>\d+)\.(?P<kind>{TEXT}|{BINARY})", re.ASCII)


@dataclass(frozen=True)
class Results:
    """A whole result folder: `stems` sorted, all with the files of the last stage."""

    folder: Path
    stems: tuple[str, ...]
    kind: str  # TEXT or BINARY
    last: int  # number of the last output: the pafs; the one before it: the heatmaps

    def path(self, stem: str, number: int) -> Path:
        """The file of one output of an image."""
        return self.folder / f"{stem}_{number}.{self.kind}"


def begin(folder: Path) -> None:
    """Makes the folder, or removes the results of an earlier run from it and nothing else. Raises UserError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / UNFINISHED).touch()
        for entry in list(os.scandir(folder)):
            if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                os.unlink(entry.path)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; name another place with --result_path") from error


def finish(folder: Path) -> None:
    """Marks the folder as whole."""
    (folder / UNFINISHED).unlink(missing_ok=True)


def write(folder: Path, stem: str, outputs: Sequence[Float32Array], binary: bool) -> None:
    """The outputs of one image, between `begin` and `finish`.

    Raises UserError for a NaN or an infinity, or where the folder cannot be written.
    """
    names = [f"{stem}_{number}.{BINARY if binary else TEXT}" for number in range(FIRST_NUMBER, len(outputs) + 1)]
    if not all(np.isfinite(output).all() for output in outputs):
        raise UserError(f"the network's result for {stem} has NaN or infinity in it: export it again, or less --amp")
    try:
        for name, output in zip(names, outputs, strict=True):
            content = _encoded(np.ascontiguousarray(output, np.float32).reshape(1, -1), binary)
            files.target_of(folder / name).write_bytes(content)  # UNFINISHED says so while this is not whole
    except OSError as error:
        raise UserError(f"cannot write {folder / names[0]}: {error.strerror}; free space, then {CURE}") from error


def _encoded(flat: Float32Array, binary: bool) -> bytes:
    if binary:
        return flat.astype("<f4").tobytes()
    text = io.BytesIO()
    np.savetxt(text, flat, FORM)
    return text.getvalue()


def find(folder: Path) -> Results:
    """What a result folder holds. Raises UserError for one that is missing, empty, mixed, or half written."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; the folder dumpOutput_device0 of benchmark.py") from error
    if UNFINISHED in names:
        raise UserError(f"{folder}: half written, its benchmark did not come to the end; {CURE}")
    matches = [match for name in names if (match := _NAME.fullmatch(name))]
    if not matches:
        raise UserError(f"{folder}: no files <image>_<number>.{TEXT} or .{BINARY}; {CURE} with --result_path")
    kinds = sorted({match["kind"] for match in matches})
    if len(kinds) > 1:
        raise UserError(f"{folder}: results as text and binary of two runs; remove those of one kind")
    numbers = {int(match["number"]) for match in matches}
    stems = tuple(sorted({match["stem"] for match in matches}))
    results = Results(folder, stems, kinds[0], max(numbers))
    _check_pairs(results, set(names))
    return results


def _check_pairs(results: Results, names: set[str]) -> None:
    for stem in results.stems:
        for number in (results.last - 1, results.last):
            path = results.path(stem, number)
            if path.name not in names:
                raise UserError(f"{path}: missing, the other outputs of {stem} are there: half written; {CURE}")


def read_maps(
    results: Results, stem: str, skeleton: Skeleton, map_size: tuple[int, int]
) -> tuple[Float32Array, Float32Array]:
    """Heatmaps (num_heatmaps, h, w) and pafs (num_pafs, h, w) float32 of the last stage of one image.

    `map_size` (h, w) cells. Raises UserError, naming the file, for anything but that many finite numbers.
    """
    read = _read_text if results.kind == TEXT else _read_binary
    heatmaps, pafs = (
        read(path := results.path(stem, number), _bytes(path), (channels, *map_size))
        for number, channels in ((results.last - 1, skeleton.num_heatmaps), (results.last, skeleton.num_pafs))
    )
    return heatmaps, pafs


def _read_text(path: Path, content: npt.NDArray[np.uint8], shape: tuple[int, int, int]) -> Float32Array:
    text = content.tobytes().decode("ascii", "backslashreplace")
    try:
        numbers = np.fromstring(text, np.float32, sep=" ")
    except (ValueError, DeprecationWarning) as error:  # of NumPy 2.3, and of older ones where warnings are errors
        raise UserError(f"{path}: no text of blank separated numbers; {CURE}") from error
    return _checked(path, numbers, shape)


def _read_binary(path: Path, content: npt.NDArray[np.uint8], shape: tuple[int, int, int]) -> Float32Array:
    if content.size % np.dtype(np.float32).itemsize:
        raise UserError(f"{path}: {content.size} bytes are no float32 numbers: half written; {CURE}")
    return _checked(path, content.view("<f4"), shape)


def _bytes(path: Path) -> npt.NDArray[np.uint8]:
    try:
        return np.frombuffer(files.read_bytes(path), np.uint8)
    except UserError as error:  # missing, or a pipe
        raise UserError(f"{error}; {CURE}") from error


def _checked(path: Path, numbers: Float32Array, shape: tuple[int, int, int]) -> Float32Array:
    """All of `numbers` in `shape`."""
    expected = int(np.prod(shape))
    if numbers.size != expected:
        sizes = f"{expected} expected ({shape[0]} maps of {shape[1]} x {shape[2]})"
        raise UserError(f"{path}: {numbers.size} numbers, {sizes}: half written, or of another network; {CURE}")
    if not np.isfinite(numbers).all():
        raise UserError(f"{path}: NaN or infinity; {CURE} with --amp=O0")
    return numbers.reshape(shape)
