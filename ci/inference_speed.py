# SPDX-License-Identifier: Apache-2.0
"""One network on one device, in float32 and float16: milliseconds, images a second, peak memory, and the same maps?

python -m ci.inference_speed --network=MIPNet --device=cuda

prints JSON, a row for each precision and batch. Weights are random: times do not depend on what a network has learnt.
"""

import json
import statistics
import time
from dataclasses import dataclass
from typing import Any

import common.device
from common import cli
from common.arrays import Float32Array
from common.cli import UserError, flag
from common.runtime.session import Session, of_module
from tools import networks

import numpy as np
import torch

PRECISIONS = {"float32": None, "float16": torch.float16}
WARM_UP, MB = 1, 1e6


@dataclass(frozen=True)
class Config:
    """Measures the inference of a network."""

    network: str = flag("a directory", "MIPNet")
    device: common.device.DeviceName = flag("where to compute", "auto")
    batches: tuple[int, ...] = flag("images at once", (1, 8, 32), least=1)
    size: tuple[int, ...] = flag("height,width of an image; empty: as published", (), least=32)
    calls: int = flag("timed calls of each", 20, least=1)


def main() -> None:
    """Measures, prints."""
    config = cli.parse(Config, {})
    if config.network not in networks.PUBLISHED:
        raise UserError(f"--network={config.network}: choose from {', '.join(networks.PUBLISHED)}")
    device = common.device.resolve(config.device)
    size = config.size or networks.PUBLISHED[config.network].size_in
    images = np.random.default_rng(0).random((max(config.batches), 3, *size), np.float32) - np.float32(0.5)
    expected = of_module(networks.build(config.network), torch.device("cpu"), None)(images[:1])
    rows = []
    for name, dtype in PRECISIONS.items():
        session = of_module(networks.build(config.network), device, dtype)
        difference = largest_difference(session(images[:1]), expected)
        for batch in config.batches:
            rows.append({"precision": name, "batch": batch, "difference": difference})
            rows[-1] |= timed(session, images[:batch], config.calls)
            rows[-1]["peak_mb"] = common.device.peak_memory_bytes(device) / MB
    print(json.dumps(rows))


def largest_difference(found: list[Float32Array], expected: list[Float32Array]) -> float:
    """Of all maps, as a part of their largest value."""
    pairs = zip(found, expected, strict=True)
    return max(float(np.abs(mine - theirs).max() / np.abs(theirs).max()) for mine, theirs in pairs)


def timed(session: Session, images: Float32Array, calls: int) -> dict[str, Any]:
    """The median call, from arrays of the host to arrays of the host."""
    times = []
    for _ in range(WARM_UP + calls):
        began = time.perf_counter()
        session(images)
        times.append(time.perf_counter() - began)
    median = statistics.median(times[WARM_UP:])
    return {"ms": 1000 * median, "images_per_s": len(images) / median}


if __name__ == "__main__":
    cli.run(main)
