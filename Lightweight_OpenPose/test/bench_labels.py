# SPDX-License-Identifier: Apache-2.0
"""Prepared labels at the size of COCO train2017 (118,287 images, 266,191 annotations): time and memory.

python Lightweight_OpenPose/test/bench_labels.py [--source person_keypoints_train2017.json] [--keep FOLDER]

Images and their people are drawn from `--source` (default: the drawn data set) until there are as many as in COCO.
Memory of a worker is its USS: the pages that it shares with nobody.
"""

import argparse
import json
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import common.coco.images
from common import files
from common.coco.mini import dataset
from Lightweight_OpenPose import labels

NUM_IMAGES, NUM_ANNOTATIONS = 118_287, 266_191
NUM_WORKERS = 2
T = TypeVar("T")


def synthesise(source: Path, path: Path) -> None:
    """Writes an annotation file of COCO's size, image by image."""
    content = files.read_json(source)
    people: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        people[annotation["image_id"]].append(annotation)
    peopled = [image for image in content["images"] if people[image["id"]]]
    chance, images, annotations = random.Random(0), [], []
    for number in range(NUM_IMAGES):
        wanted = (NUM_ANNOTATIONS - len(annotations)) / (NUM_IMAGES - number)
        typical = len(content["annotations"]) / len(peopled)
        image = chance.choice(peopled if chance.random() * typical < wanted else content["images"])
        images.append(json.dumps({**image, "id": number + 1, "file_name": f"{number + 1:012d}.jpg"}))
        for annotation in people[image["id"]][: NUM_ANNOTATIONS - len(annotations)]:
            annotations.append(json.dumps({**annotation, "id": len(annotations) + 1, "image_id": number + 1}))
    rest = json.dumps({key: value for key, value in content.items() if key not in ("images", "annotations")})
    path.write_text(f'{rest[:-1]}, "images": [{", ".join(images)}], "annotations": [{", ".join(annotations)}]}}')
    print(f"{len(images)} images, {len(annotations)} annotations, {path.stat().st_size / 1e6:.0f} MB")


def timed(what: str, act: Callable[[], T]) -> T:
    """Calls `act`, and says how long it took."""
    start, start_cpu = time.perf_counter(), time.process_time()
    result = act()
    print(f"{what:24} {time.perf_counter() - start:7.2f} s, of which {time.process_time() - start_cpu:.2f} s computing")
    return result


def walk(prepared: labels.TrainLabels) -> None:
    """What a loader reads of every sample, but for the image."""
    for sample in range(len(prepared)):
        index = prepared.index
        index.file_name(int(prepared.images[sample]))
        index.keypoints[prepared.main[sample]].sum()
        index.keypoints[prepared.others(sample)].sum()


def unique_mb() -> float:
    """USS of this process in MB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty"))) / 1024


def walk_in_workers(prepared: labels.TrainLabels) -> None:
    """Forked workers that read everything own nothing of it."""
    for worker in range(NUM_WORKERS):
        if os.fork() == 0:
            before = unique_mb()
            common.coco.images.crowd_mask(prepared.index, 0)
            start = time.perf_counter()
            walk(prepared)
            took = time.perf_counter() - start
            print(f"worker {worker}: USS {before:.1f} MB -> {unique_mb():.1f} MB, {took:.1f} s", flush=True)
            os._exit(0)
    for _ in range(NUM_WORKERS):
        os.wait()


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--keep", type=Path, help="keep the files in this folder")
    flags = parser.parse_args()
    source = flags.source or common.coco.images.annotation_file(dataset.ensure(), "train")
    with tempfile.TemporaryDirectory() as temporary:
        folder = flags.keep or Path(temporary)
        annotation_file, prepared_file = folder / "person_keypoints_train2017.json", folder / "prepared.pkl"
        if not annotation_file.exists():
            if os.fork() == 0:  # its memory is not to be measured
                synthesise(source, annotation_file)
                os._exit(0)
            os.wait()
        if os.fork() == 0:
            written = timed("prepare (parse, choose)", lambda: labels.build(annotation_file))
            timed("write", lambda: labels.write(written, prepared_file))
            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"peak memory of preparing {peak_mb:.0f} MB", flush=True)
            os._exit(0)
        os.wait()
        before = unique_mb()
        prepared = timed("read", lambda: labels.read(prepared_file))
        size = sum(array.nbytes for array in vars(prepared.index).values()) / 1e6
        print(f"{len(prepared)} samples; index {size:.0f} MB, process +{unique_mb() - before:.0f} MB")
        timed("is it current?", lambda: labels.is_current(prepared_file, annotation_file))
        walk_in_workers(prepared)


if __name__ == "__main__":
    main()
