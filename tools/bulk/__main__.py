# SPDX-License-Identifier: Apache-2.0
"""The people in a million images, on this machine or a cluster, resumed wherever it was interrupted.

    python -m tools.bulk --model=AlphaPose:pose.onnx --source=photos --target=people
    RAY_ADDRESS=head:6379 python -m tools.bulk --model=MIPNet:best.pth --source=s3://bucket/photos --target=/nfs/people

The same command resumes with what is not done. `docs/bulk.md` describes the files.
"""

import contextlib
import dataclasses
import importlib.util
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import cli
from common.cli import UserError, flag
from common.device import DeviceName
from tools.models import Spec

PACKAGES = ("ray", "pyarrow", "fsspec")
ALONE = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}  # a private Ray: no usage reports


@dataclass(frozen=True)
class Config:
    """Finds the people in any number of images, on this machine or on the cluster of RAY_ADDRESS."""

    model: str = flag("Directory:file, such as AlphaPose:pose.onnx", "")
    source: str = flag("a folder, a list (.txt), a table with paths (.parquet), here or a URL (s3://, https://)", "")
    target: str = flag("folder for the people, visible to all servers; that of an earlier call is resumed", "")
    detector: str = flag("detector for top-down networks: a network of torchvision", "")
    column: str = flag("column of paths in a table; empty: path, url, image, file_name or source", "")
    images_per_shard: int = flag("images of one file of people: what a kill costs at most, a device", 500, least=1)
    batch_size: int = flag("images through the network at once; 0: 4 on a CPU, 32 elsewhere", 0, most=10**4)
    workers: int = flag("processes with a network; 0: one a device, and one a core without any", 0, most=10**5)
    device: DeviceName = flag("where to compute", "auto")
    coco: bool = flag("write coco_results.json too", False)
    evaluate: bool = flag("measure AP from the people, by --annotations", False)
    annotations: str = flag("COCO annotations of the images, for --evaluate and the image ids of --coco", "")

    def check(self) -> None:
        """Raises UserError for values that contradict each other."""
        for field in cli.flags_of(self)[:3]:
            if not getattr(self, field.name):
                raise UserError(f"--{field.name} is needed: {field.metadata['help']}")
        if self.evaluate and not self.annotations:
            raise UserError("--evaluate needs --annotations, the COCO annotations of the images")


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    config = cli.parse(Config, {}, argv)
    config.check()
    spec = Spec.of(config.model, config.device, config.detector)
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise UserError(f"bulk inference needs {' and '.join(missing)}: pip install 'pose-zoo[bulk]'")
    if not os.environ.get("RAY_ADDRESS"):  # Ray reads these when it is imported
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)} | ALONE
    run(config, spec)


def run(config: Config, spec: Spec) -> None:
    """Begins or resumes the job, and finishes it. Raises UserError."""
    from tools.bulk import job as jobs
    from tools.bulk import source
    from tools.bulk.progress import METRICS, Progress

    folder, names = Path(config.target).absolute(), source.names(config.source, config.column)
    settings = {"directory": spec.directory, "detector": spec.detector}
    spec = dataclasses.replace(
        spec, file=str(Path(spec.file).absolute())
    )  # workers of a cluster begin in folders of their own
    job = jobs.begin(folder, names, Path(spec.file), config.images_per_shard, settings)
    to_do = job.to_do()
    with (folder / METRICS).open("a", buffering=1) as file:
        progress = Progress(job, to_do, file)
        if to_do:
            from tools.bulk import engine

            rows = engine.results(job, spec, to_do, config.batch_size, config.workers)
            with contextlib.closing(rows):  # Ray ends before an error is printed
                for row in rows:
                    progress.shard(row)
        finish(config, spec, job, progress)


def finish(config: Config, spec: Spec, job: Any, progress: Any) -> None:
    """The totals of the job, and the optional outputs. Raises UserError if no image could be read."""
    from tools.bulk import results

    failures = results.failures(job)
    if len(failures) == job.num_images:
        raise UserError(
            f"none of {job.num_images} images can be read; {failures[0]['source']}: {failures[0]['reason']}"
        )
    progress.record("end", images=job.num_images, failures=len(failures))
    progress.say(f"{job.num_images} images, {len(failures)} could not be read: {job.folder}")
    if config.coco or config.evaluate:
        measure(config, spec, job, progress)


def measure(config: Config, spec: Spec, job: Any, progress: Any) -> None:
    """COCO results and average precision. Raises UserError for annotations that do not fit."""
    from common.coco import evaluate
    from common.coco.reader import load
    from tools.bulk import results
    from tools.models import open_estimator

    skeleton, path = open_estimator(spec).skeleton, Path(config.annotations)
    index = load(path, skeleton.num_keypoints) if config.annotations else None
    if config.coco:
        ids = None if index is None else results.ids_by_name(index)
        results.detections(job, skeleton, ids).write_json(job.folder / "coco_results.json")
    if config.evaluate and index is not None:
        metrics, count = results.average_precision(job, skeleton, index, path)
        progress.record("evaluation", images=count, **metrics)
        progress.say(f"{evaluate.table(metrics)}\nof {count} images of {index.num_images} annotated ones")


if __name__ == "__main__":
    cli.run(main)
