# SPDX-License-Identifier: Apache-2.0
"""A job and its folder: images, shards and network, and the finished shards.

job.json                    the network's digest, the images, what the result depends on
inputs.parquet              the names of the images, a row group a shard
people/<first>-<last>.parquet      a line an image, written whole or not at all: the shard is done
failures/<first>-<last>.parquet    the images of a shard that could not be read, with the reason
metrics.jsonl               a line a shard
"""

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from common import files
from common.cli import UserError
from common.train import lock

import pyarrow
import pyarrow.parquet

MANIFEST, INPUTS, PEOPLE, FAILURES, ATTEMPTS = "job.json", "inputs.parquet", "people", "failures", "attempts"
NAMES = pyarrow.schema([("path", pyarrow.string())])
CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class Job:
    """The job, in a folder that every worker sees."""

    folder: Path
    digest: str  # of the network's file
    num_images: int
    images_per_shard: int

    @property
    def num_shards(self) -> int:
        """The number of shards; the last may be smaller."""
        return -(-self.num_images // self.images_per_shard)

    @cached_property
    def _inputs(self) -> Any:
        return pyarrow.parquet.ParquetFile(self.folder / INPUTS)

    def images(self, shard: int) -> list[tuple[int, str]]:
        """The places in the whole list, from 0, and the names of a shard's images."""
        return list(enumerate(self._inputs.read_row_group(shard)["path"].to_pylist(), shard * self.images_per_shard))

    def size(self, shard: int) -> int:
        """How many images a shard has."""
        return min(self.images_per_shard, self.num_images - shard * self.images_per_shard)

    def file(self, kind: str, shard: int) -> Path:
        """The file of a shard: of its people or its failures, named after its images."""
        first = shard * self.images_per_shard
        return self.folder / kind / f"{first:012d}-{first + self.size(shard) - 1:012d}.parquet"

    def attempt(self, shard: int) -> int:
        """Counts the attempts at a shard in this call, over the workers that end with it."""
        with self.file(ATTEMPTS, shard).open("a") as file:
            file.write(".")
            return file.tell()

    def to_do(self) -> list[int]:
        """The shards that are not done."""
        folder = self.folder / PEOPLE
        there = set(os.listdir(folder)) if folder.is_dir() else set()
        return [shard for shard in range(self.num_shards) if self.file(PEOPLE, shard).name not in there]


def begin(folder: Path, names: Iterable[str], model: Path, images_per_shard: int, settings: dict[str, Any]) -> Job:
    """The job of a folder, locked by this process; a new one if there is none.

    Raises UserError where another process works there, where the folder holds another job or other files, and where
    nothing is named.
    """
    digest = digest_of(model)
    lock.take(folder, "--target")
    files.remove_unfinished(folder)
    path = folder / MANIFEST
    known = dict(files.read_json(path)) if path.exists() else None
    if known is None and (others := sorted({*os.listdir(folder)} - {lock.LOCK_NAME, INPUTS})):
        raise UserError(f"{folder}: holds {others[0]}, and no job: name an empty or a new folder with --target")
    counted = _Counted(names)
    if known is None:
        _write_inputs(folder / INPUTS, counted, images_per_shard)
    for _ in counted:
        pass
    if not counted.number:
        raise UserError("--source names no image")
    shutil.rmtree(folder / ATTEMPTS, ignore_errors=True)
    (folder / ATTEMPTS).mkdir()
    job = Job(folder, digest, counted.number, images_per_shard)
    expected = {
        "network": job.digest,
        "images": counted.number,
        "list of images": counted.digest.hexdigest(),
        "images_per_shard": images_per_shard,
        **settings,
    }
    if known is None:
        files.write_atomically(path, json.dumps(expected, indent=1).encode())
    elif differing := [key for key in {**known, **expected} if known.get(key) != expected.get(key)]:
        was, now = (str(what.get(differing[0]))[:40] for what in (known, expected))
        raise UserError(f"{folder}: another job is here ({differing[0]}: {was}, now {now}); name another --target")
    return job


class _Counted:
    """Names, counted and hashed while they pass."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names, self.number, self.digest = iter(names), 0, hashlib.sha256()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        name = next(self._names)
        try:
            self.digest.update(name.encode() + b"\n")
        except UnicodeEncodeError as error:
            raise UserError(f"{os.fsencode(name)!r}: a name that is no UTF-8; rename it") from error
        self.number += 1
        return name


def _write_inputs(path: Path, names: Iterator[str], per_shard: int) -> None:
    with files.replacing(path) as file, pyarrow.parquet.ParquetWriter(file, NAMES, compression="zstd") as writer:
        while group := list(itertools.islice(names, per_shard)):
            writer.write_table(pyarrow.table({"path": group}, NAMES), row_group_size=per_shard)


def digest_of(model: Path) -> str:
    """SHA-256 of a network's file, with the weights beside an .xml. Raises UserError where it is not there."""
    digest = hashlib.sha256()
    try:
        for path in (model, model.with_suffix(".bin")) if model.suffix == ".xml" else (model,):
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}; name the network with --model=Directory:file") from error
    return digest.hexdigest()
