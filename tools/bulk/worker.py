# SPDX-License-Identifier: Apache-2.0
"""The work of one device: reads the images of a shard ahead, runs the network in batches, writes a file."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import common.device
from common import files
from common.cli import CURES, ImageError, RefusedImageError, UserError
from common.media.source import URL, Frame
from common.media.writers import people_line
from common.parallel import in_order
from tools.bulk import source
from tools.bulk.job import ATTEMPTS, FAILURES, PEOPLE, Job, digest_of
from tools.models import Spec, open_estimator

import cv2
import pyarrow
import pyarrow.parquet
import torch

MOST_BYTES = 75_000_000  # of the images that go through the network together
READERS, FETCHERS = 2, 16  # threads at least that read files, and from elsewhere: most of the time they wait
MOST_ATTEMPTS = 5  # at a shard; it may hold what ends a process
PERSON = pyarrow.struct(
    {
        "id": pyarrow.int64(),
        "score": pyarrow.float64(),
        "box": pyarrow.list_(pyarrow.float64()),
        "keypoints": pyarrow.map_(pyarrow.string(), pyarrow.list_(pyarrow.float64())),
        "lambda": pyarrow.float64(),
    }
)
PEOPLE_SCHEMA = pyarrow.schema(
    {
        "version": pyarrow.int32(),
        "frame": pyarrow.int64(),
        "time_s": pyarrow.float64(),
        "source": pyarrow.string(),
        "width": pyarrow.int32(),
        "height": pyarrow.int32(),
        "people": pyarrow.list_(PERSON),
    }
)
FAILURES_SCHEMA = pyarrow.schema(
    {
        "frame": pyarrow.int64(),
        "source": pyarrow.string(),
        "reason": pyarrow.string(),
        "unreachable": pyarrow.bool_(),
    }
)
Row = dict[str, Any]


@dataclass
class Worker:
    """An actor of Ray: it opens the network with its first shard, and is called with one shard at a time."""

    job: Job
    spec: Spec
    batch_size: int
    threads: int

    @cached_property
    def estimator(self) -> Any:
        """The network. Raises UserError, also where its file is another one than that of the job."""
        if digest_of(Path(self.spec.file)) != self.job.digest:
            raise UserError(f"{self.spec.file}: another file here than where the job was begun; copy it to each server")
        torch.set_num_threads(self.threads)
        cv2.setNumThreads(self.threads)
        return open_estimator(self.spec)

    def __call__(self, row: Row) -> Row:
        """The result of a shard, {"shard": n}: counts, its start time, and the message of a UserError."""
        done: Row = {"shard": int(row["shard"]), "began": time.time(), "people": 0, "failures": 0, "error": ""}
        try:
            done |= self.compute(done["shard"])
        except UserError as error:
            done["error"] = str(error)
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""  # pyarrow's errors name it in their text
            cure = CURES.get(error.errno or 0, "look at the disk")
            done["error"] = f"{place}{error.strerror or error}; {cure}"
        return done | {"memory": common.device.peak_memory_bytes(torch.device("cpu"))}

    def compute(self, shard: int) -> dict[str, int]:
        """Writes the files of a shard, last that of its people, with which it is done.

        Raises UserError where none of several images can be reached: a lost connection, or lost rights.
        """
        images = self.job.images(shard)
        if self.job.attempt(shard) > MOST_ATTEMPTS:
            place = f"a process ended {MOST_ATTEMPTS} times at images {images[0][0]} to {images[-1][0]}"
            raise UserError(f"{place}, the first {images[0][1]}: for lack of memory perhaps, try fewer --workers")
        readers = FETCHERS if any(URL.match(name) for _, name in images) else max(READERS, self.threads)
        with ThreadPoolExecutor(readers) as pool:
            read = in_order(pool, _read, images, max(readers, self.batch_size))
            rows = [row for batch in _batches(read, self.batch_size) for row in self._rows(batch)]
        people, failures = ([row for row in rows if ("reason" in row) == failed] for failed in (False, True))
        if len(failures) == len(images) > 1 and all(row["unreachable"] for row in failures):
            raise UserError(f"{failures[0]['source']}: {failures[0]['reason']}; no image of the shard could be read")
        self.job.file(FAILURES, shard).unlink(missing_ok=True)  # of an earlier look at this shard
        if failures:
            _write(self.job.file(FAILURES, shard), failures, FAILURES_SCHEMA)
        _write(self.job.file(PEOPLE, shard), people, PEOPLE_SCHEMA)
        self.job.file(ATTEMPTS, shard).unlink(missing_ok=True)
        return {"people": sum(len(row["people"]) for row in people), "failures": len(failures)}

    def _rows(self, batch: list[Frame | Row]) -> list[Row]:
        """A row an image, people or failure, in any order; where the network refuses an image, each goes alone."""
        frames, rows = [one for one in batch if isinstance(one, Frame)], [one for one in batch if isinstance(one, dict)]
        try:
            found = self.estimator.batch([frame.image for frame in frames]) if frames else []
            rows += [_row(people_line(frame, people)) for frame, people in zip(frames, found, strict=True)]
        except RefusedImageError as refusal:
            if len(frames) > 1:
                rows += [row for frame in frames for row in self._rows([frame])]
            else:
                rows.append(_failure(frames[0].index, frames[0].name, refusal))
        return rows


def _read(image: tuple[int, str]) -> Frame | Row:
    place, name = image
    try:
        return Frame(name, place, 0.0, source.read(name))
    except ImageError as problem:
        return _failure(place, name, problem)


def _failure(place: int, name: str, problem: UserError) -> Row:
    unreachable = isinstance(problem, source.UnreachableError)
    return {"frame": place, "source": name, "reason": str(problem), "unreachable": unreachable}


def _batches(images: Iterable[Frame | Row], most: int) -> Iterator[list[Frame | Row]]:
    """As many as the network takes at once, fewer of large ones: memory stays bounded."""
    batch, size = list[Frame | Row](), 0
    for one in images:
        batch.append(one)
        size += one.image.size if isinstance(one, Frame) else 0
        if len(batch) == most or size >= MOST_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _row(line: Row) -> Row:
    """A line of people.jsonl as Parquet takes it: maps are lists of pairs."""
    for person in line["people"]:
        person["keypoints"] = list(person["keypoints"].items())
    return line


def _write(path: Path, rows: list[Row], schema: Any) -> None:
    table = pyarrow.Table.from_pylist(sorted(rows, key=lambda row: row["frame"]), schema)
    with files.replacing(path) as file:
        pyarrow.parquet.write_table(table, file, compression="zstd")
