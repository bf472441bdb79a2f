# SPDX-License-Identifier: Apache-2.0
"""The result folder of a benchmark -> people -> COCO results and their average precision.

    python OpenPose_postprocess.py --benchmark_result_path=./result/dumpOutput_device0 \
        --labels=/data/coco/annotations/person_keypoints_val2017.json --pad_txt_path=./output/pad.txt \
        --detections_save_path=./output/result.json

Reads text and binary results, of this benchmark and of the newer tool. AP counts the images of the result folder that
the labels hold; an image's id is that of the labels, whatever its file is called.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import common.coco.evaluate
import common.coco.reader
import common.skeleton
from common.cli import UserError, flag, parse, run
from common.coco.evaluate import Detections
from common.parallel import in_order
from common.runtime.clock import Clock
from common.skeleton import Skeleton
from Lightweight_OpenPose.decode import DecodeRules, decode, to_coco, warm_up
from Lightweight_OpenPose.model import STRIDE
from Lightweight_OpenPose.predict import Letterbox
from OpenPose_infer import dumps, pads
from OpenPose_infer.config import DETECTIONS, HEIGHT, WIDTH, threads

import numpy as np

MAP_SIZE = HEIGHT // STRIDE, WIDTH // STRIDE  # cells
AHEAD = 2  # images a thread that may wait: memory stays flat however many there are
MS = 1000  # milliseconds a second


@dataclass(frozen=True)
class Config:
    """Finds people in the results of a benchmark, and their average precision."""

    benchmark_result_path: str = flag("folder dumpOutput_device<N> of benchmark.py", "./result/dumpOutput_device0")
    labels: str = flag("COCO file of the images", "")
    pad_txt_path: str = flag("pad.txt of OpenPose_preprocess.py", "./output/pad.txt")
    detections_save_path: str = flag("file to write", f"./output/{DETECTIONS}")
    half_pixel: bool = flag("the publication's shift of keypoints by half a pixel; without it AP rises a little", True)
    num_workers: int = flag("threads; -1: one a core", -1, least=-1, most=1024)
    skeleton: str = flag("built-in name or YAML file of your own keypoints", "openpose")

    def check(self) -> None:
        """Raises UserError where values cannot be meant."""
        if not self.labels:
            raise UserError("--labels is needed: the COCO file of the images, person_keypoints_val2017.json")


@dataclass(frozen=True)
class Job:
    """An image whose results are to be decoded."""

    stem: str
    image_id: int
    place: Letterbox


def main() -> None:
    """Reads the flags, decodes, writes detections, prints AP and times."""
    config = parse(Config, {}, aliases={"dump_output_result_path": "benchmark_result_path"})
    config.check()
    num_threads, skeleton = threads(config.num_workers), common.skeleton.load(config.skeleton)
    rules = DecodeRules(half_pixel=config.half_pixel)
    results = dumps.find(Path(config.benchmark_result_path))
    jobs = image_jobs(results, Path(config.pad_txt_path), Path(config.labels), skeleton)
    warm_up(skeleton, rules)
    clock = Clock()
    with clock.part("read and decode side by side"):
        detections = find_people(results, jobs, skeleton, rules, clock, num_threads)
    detections.write_json(config.detections_save_path)
    image_ids = [job.image_id for job in jobs]
    with clock.part("evaluation"):
        metrics = common.coco.evaluate.average_precision(config.labels, detections, skeleton.sigmas, image_ids)
    people = f"{len(detections)} people in {len(jobs)} images"
    print(f"{config.detections_save_path}: {people}{_left_out(results, jobs)}")  # noqa: T201
    print(common.coco.evaluate.table(metrics))  # noqa: T201
    print("ms an image: " + ", ".join(f"{part} {MS * spent / len(jobs):.2f}" for part, spent in clock.items()))  # noqa: T201


def _left_out(results: dumps.Results, jobs: Sequence[Job]) -> str:
    number = len(results.stems) - len(jobs)
    return f"; {number} more images of {results.folder} are not in the labels" if number else ""


def image_jobs(results: dumps.Results, pad_file: Path, labels: Path, skeleton: Skeleton) -> list[Job]:
    """The images of a result folder that the labels hold, each with its id and its place in the network's input.

    Raises UserError where an image is not in `pad_file`, two images there are meant by one result, the labels hold
    none of the images, or say another size.
    """
    places = pads.read(pad_file)
    names = _names_by_stem(places)
    index = common.coco.reader.load(labels, skeleton.num_keypoints)
    rows = {index.file_name(row): row for row in range(index.num_images)}
    jobs = []
    for stem in results.stems:
        name = _name_of(stem, names, results, pad_file)
        if (row := rows.get(name)) is None:
            continue
        size_img = tuple(index.image_sizes[row].tolist())
        if size_img != places[name].size_img:
            sizes = f"{size_img[0]} x {size_img[1]} pixels in {labels}, {places[name].size_img} in {pad_file}"
            raise UserError(f"{name}: {sizes}: labels of other images; give those of this data set")
        jobs.append(Job(stem, int(index.image_ids[row]), places[name]))
    if not jobs:
        what = f"none of the {len(results.stems)} images of {results.folder}"
        raise UserError(f"--labels={labels}: holds {what}, such as {results.stems[0]}: labels of other images")
    return jobs


def _names_by_stem(places: dict[str, Letterbox]) -> dict[str, set[str]]:
    """Image names by what their results may be called: without the last suffix, or, as published, to the first dot."""
    names: dict[str, set[str]] = {}
    published: dict[str, set[str]] = {}
    for name in places:
        base = Path(name).name
        names.setdefault(Path(base).stem, set()).add(name)
        published.setdefault(base.split(".")[0], set()).add(name)
    return {**published, **names}


def _name_of(stem: str, names: dict[str, set[str]], results: dumps.Results, pad_file: Path) -> str:
    found = sorted(names.get(stem, ()))
    if not found:
        path = results.path(stem, results.last)
        raise UserError(f"{pad_file}: no line for {stem}, but there is {path}; give the pad.txt of the same images")
    if len(found) > 1:
        raise UserError(f"{pad_file}: {found[0]} and {found[1]} share the results {stem}; rename one, begin again")
    return found[0]


def find_people(
    results: dumps.Results, jobs: Sequence[Job], skeleton: Skeleton, rules: DecodeRules, clock: Clock, num_threads: int
) -> Detections:
    """The people of all images, in the images' order, whatever the number of threads.

    Parsing and decoding are compiled and run without Python's lock. Raises UserError for a file that cannot be read.
    """

    def people(job: Job) -> Detections:
        with clock.part("read"):
            maps = dumps.read_maps(results, job.stem, skeleton, MAP_SIZE)
        with clock.part("decode"):
            keypoints, scores = to_coco(decode(*maps, job.place.geometry, skeleton, rules), skeleton, rules)
        return Detections(np.full(len(scores), job.image_id), keypoints, scores)

    found = [common.coco.evaluate.no_detections(skeleton.num_keypoints)]
    with ThreadPoolExecutor(num_threads) as pool:
        found += in_order(pool, people, jobs, AHEAD * num_threads)
    return common.coco.evaluate.concatenate(found)


if __name__ == "__main__":
    run(main)
