# SPDX-License-Identifier: Apache-2.0
"""How fast a benchmark was: the lines of the published tool, and the same numbers as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

MS = 1000  # milliseconds a second
PARTS = ("read", "preprocess", "inference", "postprocess")


@dataclass(frozen=True)
class Performance:
    """The times of a run, without warm-up. Seconds of `PARTS` are sums over threads; parts run side by side."""

    images: int  # that went through the network, repeats counted
    batch_size: int
    total: float  # seconds, from the first file read to the last one written
    seconds: Mapping[str, float]  # of PARTS; `inference`: the calls of the network and their overhead
    calls: Sequence[float]  # seconds of each call of the network

    def rate(self, seconds: float) -> float:
        """Images a second that a part alone would reach, 0 if it did nothing."""
        return self.images / seconds if seconds else 0.0

    def lines(self) -> str:
        """The five lines of the published tool: images a second, and milliseconds (in all, then for a batch).

        Scripts parse the text between `:` and `,`, and take an eighth of it as the network's rate: hence a
        comma ends each line.
        """
        rows = [f"[e2e] throughputRate: {self.rate(self.total):.6g}, latency: {MS * self.total:.6g},"]
        for title, part in zip(("data read", *PARTS[1:]), PARTS, strict=True):
            spent = self.seconds[part]
            network = f" Interface throughputRate: {self.rate(sum(self.calls)):.6g}," if part == "inference" else ""
            latency = MS * spent / len(self.calls)  # for one batch
            rows.append(f"[{title}] throughputRate: {self.rate(spent):.6g},{network} moduleLatency: {latency:.6g},")
        return "\n".join(rows) + "\n"

    def summary(self) -> dict[str, object]:
        """Images a second of everything and of the network, its latency for a batch in ms, ms an image of each part."""
        calls = MS * np.asarray(self.calls)
        spent = {**self.seconds, "network": sum(self.calls), "total": self.total}
        return {
            "images": self.images,
            "batch_size": self.batch_size,
            "throughput": self.rate(self.total),
            "network_throughput": self.rate(sum(self.calls)),
            "latency_ms": {
                "mean": float(calls.mean()),
                "median": float(np.median(calls)),
                "p99": float(np.percentile(calls, 99)),
            },
            "ms_an_image": {part: MS * seconds / self.images for part, seconds in spent.items()},
        }
