# SPDX-License-Identifier: Apache-2.0
"""Bulk inference beside the plain loop, and killed at random: every image once, the same people, memory flat.

python ci/bulk_storm.py                            20,000 images, 10 kills: half an hour on two idle cores
python ci/bulk_storm.py --images=1000 --kills=2    minutes
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common import cli
from common.cli import flag
from common.coco.images import upright_image
from common.coco.mini.scenes import SCENES, draw_scene
from common.media.source import Frame
from common.media.writers import people_line
from tools.bulk import job as jobs
from tools.bulk import results
from tools.models import Spec, open_estimator
from tools.test.small_network import alphapose

import cv2
import numpy as np
import project
import ray  # noqa: F401  has psutil with it

import psutil  # isort: skip

SIZE = 64, 48  # width, height
DRAWN = 100  # scenes; the other images are these, brighter and darker
WITHIN_S, POINT, SCORE = 60, 0.011, 2e-4  # after a kill all is gone; pixels, and rounded scores
LEAST_SHARDS = 3  # between two kills
MOST_MB = 1500  # of a process


@dataclass(frozen=True)
class Config:
    """What is done to a bulk inference."""

    images: int = flag("small drawn images", 20_000, least=100)
    kills: int = flag("by turns of the whole process group and of one worker", 10)
    images_per_shard: int = flag("of one file", 250, least=1)
    pairs: int = flag("of the plain loop and a call, in turn", 3)
    pair_images: int = flag("of each pair", 4_000, least=1)
    seed: int = flag("of the kills", 0)


def main() -> None:
    """Prints a table; ends with an error where something is missing, twice, or another."""
    config = cli.parse(Config, {})
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        source, network = draw(folder / "photos", config.images), alphapose(folder)
        command = [
            sys.executable,
            "-m",
            "tools.bulk",
            f"--model=AlphaPose:{network}",
            f"--images_per_shard={config.images_per_shard}",
            "--device=cpu",
        ]
        pairs(command, folder, network, config)
        expected, _, _ = plain_loop(sorted(source.iterdir()), network)
        calm([*command, f"--source={source}"], folder / "calm")
        check(folder / "calm", source, expected)
        storm([*command, f"--source={source}"], folder / "storm", config)
        check(folder / "storm", source, expected)


def draw(folder: Path, count: int) -> Path:
    """Small images, no two alike."""
    folder.mkdir()
    scenes = [
        cv2.resize(draw_scene(SCENES[number % len(SCENES)], np.random.default_rng(number)).canvas_img, SIZE)
        for number in range(min(count, DRAWN))
    ]
    for number in range(count):
        step, scene = divmod(number, len(scenes))
        cv2.imwrite(str(folder / f"{number:06d}.jpg"), cv2.convertScaleAbs(scenes[scene], alpha=1 - 0.002 * step))
    return folder


def pairs(command: list[str], folder: Path, network: Path, config: Config) -> None:
    """The plain loop and a call take turns at some of the images: what both have of the machine is alike."""
    paths = sorted((folder / "photos").iterdir())[: config.pair_images]
    images = folder / "some.txt"
    images.write_text("".join(f"{path}\n" for path in paths))
    for number in range(config.pairs):
        target = folder / f"pair_{number}"
        _, plain, plain_ms = plain_loop(paths, network)
        _, bulk_ms = watch([*command, f"--source={images}", f"--target={target}"])
        bulk = [one for one in metrics(target) if one["event"] == "shard"][-1]["images_per_s"]
        print(
            f"pair {number + 1}: plain loop {plain:.1f} images/s, bulk {bulk:.1f}, {bulk / plain:.2f} x; CPU an image "
            f"{plain_ms / len(paths):.2f} ms, and {bulk_ms / len(paths):.2f} with the start of all processes",
            flush=True,
        )


def plain_loop(paths: list[Path], network: Path) -> tuple[list[dict], float, float]:
    """The lines of people.jsonl, images/s and milliseconds of CPU, without what comes before the first image."""
    estimator, lines = open_estimator(Spec("AlphaPose", str(network), "cpu")), []
    estimator(paths[0])
    began, spent = time.perf_counter(), time.process_time()
    for number, path in enumerate(paths):
        image = upright_image(path)
        lines.append(json.loads(json.dumps(people_line(Frame(str(path), number, 0.0, image), estimator(image)))))
    return lines, len(paths) / (time.perf_counter() - began), 1000 * (time.process_time() - spent)


def calm(command: list[str], target: Path) -> None:
    """A call without kills, and the memory of its processes in the first and the second half."""
    samples, _ = watch([*command, f"--target={target}"])
    workers = [one["memory"] / 1e6 for one in metrics(target) if one["event"] == "shard"]
    first, second = halves(samples)
    peak, later_peak = halves(workers)
    print(
        f"memory: largest process {first:.0f} MB in the first half, {second:.0f} MB in the second; resident peak of a "
        f"worker {peak:.0f} and {later_peak:.0f} MB",
        flush=True,
    )
    assert later_peak < MOST_MB and second < MOST_MB


def watch(command: list[str]) -> tuple[list[float], float]:
    """Runs a call: MB of its largest process every two seconds, and milliseconds of CPU of all that it started."""
    process = subprocess.Popen(command, cwd=project.ROOT, stdout=subprocess.DEVNULL)
    samples, spent = list[float](), dict[int, float]()
    while process.poll() is None:
        samples.append(0)
        for one in members(process.pid):
            with contextlib.suppress(psutil.Error):  # it has just ended
                samples[-1] = max(samples[-1], one.memory_full_info().uss / 1e6)
                spent[one.pid] = sum(one.cpu_times()[:2])
        time.sleep(2)
    assert process.returncode == 0
    return samples, 1000 * sum(spent.values())


def halves(values: list[float]) -> tuple[float, float]:
    """The largest of the first and of the second half."""
    middle = len(values) // 2
    return max(values[:middle]), max(values[middle:])


def storm(command: list[str], target: Path, config: Config) -> None:
    """Kills the call at random, by turns the whole group and one worker, and restarts it after the former."""
    chance, killed, calls = random.Random(config.seed), 0, 0
    process = None
    while process is None or process.poll() is None or process.returncode < 0:
        if process is None or process.poll() is not None:
            process = subprocess.Popen(
                [*command, f"--target={target}"], cwd=project.ROOT, stdout=subprocess.DEVNULL, start_new_session=True
            )
            calls, before = calls + 1, shards_done(target)
        if killed < config.kills and shards_done(target) >= before + chance.randint(0, LEAST_SHARDS):
            time.sleep(chance.random() * 5)
            killed += kill(process, chance, group=killed % 2 == 0)
            before = shards_done(target) + 1
        time.sleep(0.5)
    print(f"{killed} kills, {calls} calls, the last ended with {process.returncode}", flush=True)
    assert process.returncode == 0 and killed == config.kills


def kill(process: subprocess.Popen, chance: random.Random, group: bool) -> bool:
    """SIGKILL; whether there was something to kill. All processes of a group are gone within a minute."""
    family = list(members(process.pid))
    workers = [one for one in alive(family) if "MapWorker" in " ".join(one.cmdline())]
    if not workers or process.poll() is not None:
        return False
    if not group:
        chance.choice(workers).kill()
        return True
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    _, left = psutil.wait_procs(family, WITHIN_S)
    assert not left, f"outlived their job: {left}"
    return True


def members(pid: int) -> Iterator[psutil.Process]:
    """A process and those that it started."""
    with contextlib.suppress(psutil.Error):
        top = psutil.Process(pid)
        yield from (top, *top.children(recursive=True))


def alive(processes: list[psutil.Process]) -> Iterator[psutil.Process]:
    """Those that still answer."""
    for one in processes:
        with contextlib.suppress(psutil.Error):
            if one.is_running() and one.status() != psutil.STATUS_ZOMBIE:
                yield one


def shards_done(target: Path) -> int:
    """How many files of people are there."""
    return len(list((target / jobs.PEOPLE).glob("*.parquet")))


def metrics(target: Path) -> list[dict]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (target / "metrics.jsonl").read_text().splitlines()]


def check(target: Path, source: Path, expected: list[dict]) -> None:
    """Raises AssertionError unless the rows are those of the plain loop."""
    known = json.loads((target / jobs.MANIFEST).read_text())
    job = jobs.Job(target, known["network"], known["images"], known["images_per_shard"])
    found = list(results.lines(job))
    assert [one["source"] for one in found] == [str(path) for path in sorted(source.iterdir())]
    largest = 0.0
    for one, other in zip(found, expected, strict=True):
        assert {**one, "people": len(one["people"])} == {**other, "people": len(other["people"])}
        for person, plain in zip(one["people"], other["people"], strict=True):
            assert person["keypoints"].keys() == plain["keypoints"].keys()
            assert abs(person["score"] - plain["score"]) < SCORE
            points = [np.array([*who["keypoints"].values()]) for who in (person, plain)]
            largest = max(largest, float(np.abs(points[0] - points[1]).max(initial=0)))
    people = sum(len(one["people"]) for one in found)
    print(f"{len(found)} rows, each image once, {people} people; largest difference {largest:.4f} px", flush=True)
    assert largest < POINT and not results.failures(job)


if __name__ == "__main__":
    main()
