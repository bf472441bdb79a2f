# SPDX-License-Identifier: Apache-2.0
"""A training checkpoint of 628 MB: seconds and memory to read it, each time in a process of its own."""

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common.skeleton import OPENPOSE
from OpenPose_MindSpore_port import mindspore_checkpoint as checkpoint
from OpenPose_MindSpore_port.model import OpenPose

import torch
from torch import Tensor

TITLE = "MindSpore checkpoint of 628 MB (Adam training): reading it in a fresh process, and writing it"
SLOW = False
ROOT = Path(__file__).parents[2]
LEARNING_RATES = 10  # steps: as in the file of the golden data
MOST_RUNS = 5
PROGRAM = "import sys; from OpenPose_MindSpore_port.test import bench_checkpoint as b; b.child(*sys.argv[1:])"


def training_checkpoint() -> dict[str, Tensor]:
    """Names, order, shapes and types of what MindSpore saves when it trains this network with Adam."""
    with torch.device("meta"):
        weights = OpenPose(OPENPOSE.num_heatmaps, OPENPOSE.num_fields).state_dict()
    noise = torch.randn(max(weight.numel() for weight in weights.values()))
    drawn = {f"network.{name}": noise[: weight.numel()].view(weight.shape) for name, weight in weights.items()}
    state = {
        "global_step": torch.tensor([10], dtype=torch.int32),
        "beta1_power": torch.tensor(0.5),
        "beta2_power": torch.tensor(0.5),
    }
    moments = {f"moment{number}.{name}": weight for number in (1, 2) for name, weight in drawn.items()}
    rates = {f"learning_rate_group_{number}": torch.rand(LEARNING_RATES) for number in range(3)}
    return {**drawn, **state, **moments, **rates}


def _sum(entries: dict[str, Tensor | str]) -> float:
    return sum(float(value.sum()) for value in entries.values() if isinstance(value, Tensor))


# what a fresh process does with the file
WAYS: dict[str, Callable[[Path], object]] = {
    "plain: its bytes alone": Path.read_bytes,
    "all entries": checkpoint.read,
    "every value summed": lambda path: _sum(checkpoint.read(path)),
    "weights alone, summed": lambda path: _sum(checkpoint.read(path, wanted=checkpoint.is_weight)),
}


def child(way: str, path: str) -> None:
    """Reads once; prints seconds, and the peak of memory of the process and of the reading, over the file's size."""
    size, before = Path(path).stat().st_size, _memory("VmRSS")
    began = time.perf_counter(), time.process_time()
    kept = WAYS[way](Path(path))
    seconds, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    peak = _memory("VmHWM")
    del kept
    print(json.dumps({"s": seconds, "cpu_s": cpu, "growth": (peak - before) / size, "process": peak / size}))


def _memory(what: str) -> int:
    """Bytes, from Linux's account of this process."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(found[1]) if found else 0


def fresh(way: str, path: Path) -> dict[str, float]:
    """What `child` prints."""
    command = [sys.executable, "-c", PROGRAM, way, str(path)]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def measure(runs: int) -> list[dict]:
    """Medians of each way, with and without MindSpore's checksum in the file."""
    rows = []
    entries = training_checkpoint()
    with tempfile.TemporaryDirectory() as folder:
        for crc in (False, True):
            path = Path(folder) / f"crc_{crc}.ckpt"
            began = time.perf_counter(), time.process_time()
            checkpoint.write(path, entries, crc)
            written = {"s": time.perf_counter() - began[0], "cpu_s": time.process_time() - began[1]}
            megabytes = path.stat().st_size / 1e6
            what = f"{megabytes:.1f} MB{' with checksum' if crc else ''}: "
            rows += [_row(what + way, [fresh(way, path) for _ in range(min(runs, MOST_RUNS))]) for way in WAYS]
            rows.append(_row(what + "written, with fsync", [{**written, "growth": 0.0, "process": 0.0}]))
    return rows


def _row(what: str, found: list[dict[str, float]]) -> dict:
    median = {key: statistics.median(run[key] for run in found) for key in found[0]}
    return {
        "what": what, "seconds": median["s"], "cpu_seconds": median["cpu_s"],
        "memory_of_reading / file": median["growth"], "whole_process / file": median["process"], "runs": len(found),
    }  # fmt: skip
