# SPDX-License-Identifier: Apache-2.0
"""From the shards of a job: people.jsonl's lines, COCO results, average precision."""

from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from common.cli import UserError
from common.coco import evaluate
from common.coco.annotations import CocoIndex
from common.coco.evaluate import Detections
from common.skeleton import Skeleton
from tools.bulk.job import FAILURES, PEOPLE, Job

import numpy as np
import pyarrow.parquet

AT_ONCE = 1000  # rows


def lines(job: Job) -> Iterator[dict[str, Any]]:
    """A line an image, as in people.jsonl (`docs/people.schema.json`), in the order of the list."""
    for shard in range(job.num_shards):
        for batch in pyarrow.parquet.ParquetFile(job.file(PEOPLE, shard)).iter_batches(AT_ONCE):
            for line in batch.to_pylist():
                for person in line["people"]:
                    person["keypoints"] = dict(person["keypoints"])
                    if person["lambda"] is None:
                        del person["lambda"]
                yield line


def failures(job: Job) -> list[dict[str, Any]]:
    """The images that could not be read: {"frame", "source", "reason"}."""
    folder = job.folder / FAILURES
    return [row for path in sorted(folder.glob("*.parquet")) for row in pyarrow.parquet.read_table(path).to_pylist()]


def ids_by_name(index: CocoIndex) -> dict[str, int]:
    """The ids of annotated images by their names."""
    return {index.file_name(row): int(image) for row, image in enumerate(index.image_ids)}


def image_id(name: str, ids: dict[str, int]) -> int | None:
    """The id of the annotated image whose name a path ends with."""
    parts = PurePath(name).parts
    endings = ("/".join(parts[first:]) for first in range(len(parts)))
    return next((ids[ending] for ending in endings if ending in ids), None)


def detections(job: Job, skeleton: Skeleton, ids: dict[str, int] | None) -> Detections:
    """All people: of annotated images by their ids; without annotations an image's id is its place in the list."""
    images, keypoints, scores = list[int](), list[Any](), list[float]()
    for line in lines(job):
        image = line["frame"] if ids is None else image_id(line["source"], ids)
        if image is None:
            continue
        for person in line["people"]:
            images.append(image)
            keypoints.append([person["keypoints"].get(name, (0, 0, 0)) for name in skeleton.keypoints])
            scores.append(person["score"])
    found = np.array(keypoints, np.float64).reshape(-1, skeleton.num_keypoints, 3)
    return Detections(np.array(images, np.int64), found, np.array(scores, np.float64))


def average_precision(
    job: Job, skeleton: Skeleton, index: CocoIndex, annotations: Path
) -> tuple[dict[str, float], int]:
    """The metrics of COCO over the annotated images of the job, and how many these are. Raises UserError for none."""
    ids = ids_by_name(index)
    names = (name for shard in range(job.num_shards) for _, name in job.images(shard))
    seen = {image for name in names if (image := image_id(name, ids)) is not None}
    if not seen:
        raise UserError(f"{annotations}: none of its images is in this job; name their own annotations")
    found = detections(job, skeleton, ids)
    validation = evaluate.EvaluationSet.of(index, sorted(seen), annotations)
    return validation.average_precision(found, skeleton.sigmas), len(seen)
