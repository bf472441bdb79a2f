# SPDX-License-Identifier: Apache-2.0
"""How fast a benchmark was: the lines of the published tool, and the same numbers as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.files import write_atomically

import numpy as np

MS = 1000  # milliseconds a second
PARTS = ("read", "preprocess", "inference", "network", "postprocess")


@dataclass(frozen=True)
class Performance:
    """What a run took, warm-up left out. Seconds of `PARTS` are sums over threads; parts run side by side.

    `network` is the calls of the network alone, `inference` what lies around them too.
    """

    images: int  # that went through the network, repeats counted
    batches: int
    batch_size: int
    total: float  # seconds, from the first file read to the last one written
    seconds: Mapping[str, float]
    calls: Sequence[float]  # seconds of each call of the network

    def rate(self, part: str) -> float:
        """Images a second that a part alone would reach, 0 where it had nothing to do."""
        return self.images / self.seconds[part] if self.seconds[part] else 0.0

    def latency(self, part: str) -> float:
        """Milliseconds of a part for one batch."""
        return MS * self.seconds[part] / self.batches

    def lines(self) -> str:
        """The five lines of the published tool: images a second, and milliseconds (in all, then for a batch).

        Scripts take what stands between `:` and `,`, the eighth of it as the network's rate: therefore a
        comma ends each line.
        """
        rows = [f"[e2e] throughputRate: {self.images / self.total:.6g}, latency: {MS * self.total:.6g},"]
        for title, part in (
            ("data read", "read"),
            ("preprocess", "preprocess"),
            ("inference", "inference"),
            ("postprocess", "postprocess"),
        ):
            network = f" Interface throughputRate: {self.rate('network'):.6g}," if part == "inference" else ""
            rows.append(
                f"[{title}] throughputRate: {self.rate(part):.6g},{network} moduleLatency: {self.latency(part):.6g},"
            )
        return "\n".join(rows) + "\n"

    def summary(self) -> dict[str, object]:
        """Images a second of everything and of the network, its latency for a batch in ms, ms an image of each part."""
        calls = MS * np.asarray(self.calls)
        return {
            "images": self.images,
            "batch_size": self.batch_size,
            "throughput": self.images / self.total,
            "network_throughput": self.rate("network"),
            "latency_ms": {
                "mean": float(calls.mean()),
                "median": float(np.median(calls)),
                "p99": float(np.percentile(calls, 99)),
            },
            "ms_an_image": {
                **{part: MS * self.seconds[part] / self.images for part in PARTS},
                "total": MS * self.total / self.images,
            },
        }


def write(path: Path, performance: Performance, about: Mapping[str, object]) -> None:
    """Writes the lines into `path` and everything as JSON beside it; `about` says what was measured."""
    write_atomically(path, performance.lines().encode())
    content = {**about, **performance.summary()}
    write_atomically(path.with_suffix(".json"), (json.dumps(content, indent=1) + "\n").encode())
