# SPDX-License-Identifier: Apache-2.0
"""The result folder of a benchmark -> people -> COCO results and their average precision.

    python OpenPose_postprocess.py --benchmark_result_path=./result/dumpOutput_device0 \
        --labels=/data/coco/annotations/person_keypoints_val2017.json --pad_txt_path=./output/pad.txt \
        --detections_save_path=./output/result.json

Reads text and binary results, of this benchmark and of the newer tool. AP counts the images of the result folder that
the labels have; an image's id is that of the labels, whatever its file name.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import common.coco.evaluate
import common.coco.reader
import common.skeleton
from common.cli import UserError, flag, parse, run
from common.coco.annotations import CocoIndex
from common.coco.evaluate import Detections
from common.device import cpu_count
from common.skeleton import Skeleton
from Lightweight_OpenPose.decode import DecodeRules, MapGeometry, decode, to_coco, warm_up
from Lightweight_OpenPose.model import STRIDE
from OpenPose_infer import dumps, pads
from OpenPose_infer.config import ALL_THREADS, DETECTIONS, HEIGHT, WIDTH

import numpy as np

MAP_SIZE = HEIGHT // STRIDE, WIDTH // STRIDE  # cells


@dataclass(frozen=True)
class Config:
    """Finds people in the results of a benchmark, and their average precision."""

    benchmark_result_path: str = flag("folder dumpOutput_device<N> of benchmark.py", "./result/dumpOutput_device0")
    labels: str = flag("COCO file of the images", "")
    pad_txt_path: str = flag("pad.txt of OpenPose_preprocess.py", "./output/pad.txt")
    detections_save_path: str = flag("file to write", f"./output/{DETECTIONS}")
    half_pixel: bool = flag("the publication's shift of keypoints by half a pixel; without it AP rises a little", True)
    skeleton: str = flag("built-in name or YAML file of your own keypoints", "openpose")


class Job(NamedTuple):
    """An image whose results are decoded."""

    stem: str
    image_id: int
    geometry: MapGeometry


def main() -> None:
    """Reads the flags, decodes, writes detections, prints AP."""
    aliases = {"dump_output_result_path": "benchmark_result_path"}
    config = parse(Config, {}, aliases=aliases, retired=ALL_THREADS)
    if not config.labels:
        raise UserError("--labels is needed: the COCO file of the images, person_keypoints_val2017.json")
    skeleton, rules = common.skeleton.load(config.skeleton), DecodeRules(half_pixel=config.half_pixel)
    results = dumps.find(Path(config.benchmark_result_path))
    index = common.coco.reader.load(config.labels, skeleton.num_keypoints)
    jobs = image_jobs(results, Path(config.pad_txt_path), index, config.labels)
    detections = find_people(results, jobs, skeleton, rules)
    detections.write_json(config.detections_save_path)
    validation = common.coco.evaluate.EvaluationSet.of(index, [job.image_id for job in jobs], config.labels)
    metrics = validation.average_precision(detections, skeleton.sigmas)
    others = f"; {len(results.stems) - len(jobs)} more images of {results.folder} are not in the labels"
    people = f"{len(detections)} people in {len(jobs)} images{others if len(jobs) < len(results.stems) else ''}"
    print(f"{config.detections_save_path}: {people}\n{common.coco.evaluate.table(metrics)}")  # noqa: T201


def image_jobs(results: dumps.Results, pad_file: Path, index: CocoIndex, labels: str | Path) -> list[Job]:
    """The images of a result folder that `index`, that of `labels`, holds, each with its id and the way to its pixels.

    Raises UserError where result folder and `pad_file` are not of the same images, one result is that of two images, or
    the labels hold none of the images, or say another size.
    """
    geometries, names = pads.read(pad_file), dict[str, str]()
    for name in geometries:
        if (other := names.setdefault(stem := Path(name).stem, name)) is not name:
            raise UserError(f"{pad_file}: {other} and {name} share the results {stem}; rename one, begin again")
    for stem in sorted(names.keys() ^ set(results.stems)):
        what = f"{names[stem]} has no results in {results.folder}" if stem in names else f"no line for {stem}"
        raise UserError(f"{pad_file}: {what}: half written, or not of the same images; {dumps.CURE}")
    rows = {index.file_name(row): row for row in range(index.num_images)}
    jobs = []
    for name in sorted(rows.keys() & geometries):
        size_img, geometry = tuple(index.image_sizes[rows[name]].tolist()), geometries[name]
        if size_img != geometry.size:
            sizes = f"{size_img[0]} x {size_img[1]} pixels in {labels}, {geometry.size} in {pad_file}"
            raise UserError(f"{name}: {sizes}: labels of other images; give those of this data set")
        jobs.append(Job(Path(name).stem, int(index.image_ids[rows[name]]), geometry))
    if jobs:
        return jobs
    what = f"none of the {len(results.stems)} images of {results.folder}, such as {results.stems[0]}"
    raise UserError(f"--labels={labels}: holds {what}: labels of other images")


def find_people(results: dumps.Results, jobs: Sequence[Job], skeleton: Skeleton, rules: DecodeRules) -> Detections:
    """The people of all images, in the images' order. Raises UserError for a file that cannot be read."""

    def people(job: Job) -> Detections:
        maps = dumps.read_maps(results, job.stem, skeleton, MAP_SIZE)
        keypoints, scores = to_coco(decode(*maps, job.geometry, skeleton, rules), skeleton, rules)
        return Detections(np.full(len(scores), job.image_id), keypoints, scores)

    warm_up(skeleton, rules)
    with ThreadPoolExecutor(cpu_count()) as pool:  # decoding is compiled and releases Python's lock
        return common.coco.evaluate.concatenate(list(pool.map(people, jobs)))


if __name__ == "__main__":
    run(main)
