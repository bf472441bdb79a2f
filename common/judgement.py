# SPDX-License-Identifier: Apache-2.0
"""Whether a quantised network still finds people: its AP beside that of the float32 network, on each runtime here."""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common.cli import UserError
from common.runtime.session import Options, Provider, Session, open_network

from torch import nn

RUNTIMES: dict[str, tuple[str, Provider]] = {
    "ONNX Runtime": ("onnxruntime", "cpu"),
    "OpenVINO": ("openvino", "openvino"),
}


@dataclass(frozen=True)
class Score:
    """What a network reaches on annotated images."""

    ap: float
    people: int


@dataclass(frozen=True)
class Comparison:
    """One runtime's scores of the float32 and of the quantised network."""

    runtime: str
    float32: Score
    int8: Score

    def complaint(self, max_ap_drop: float) -> str:
        """Why the quantised network must not be used; empty where it may be."""
        if not self.int8.people:
            return f"INT8 finds nobody with {self.runtime}, where float32 finds {self.float32.people} people"
        if not self.float32.ap - self.int8.ap <= max_ap_drop:
            fall = f"from {self.float32.ap:.4f} to {self.int8.ap:.4f}"
            return f"AP falls {fall} with {self.runtime}, more than --max_ap_drop={max_ap_drop:g}"
        return ""


@dataclass
class Judge:
    """Measures networks by `score`, on the same images; the float32 network's scores are measured once."""

    float32: Path
    score: Callable[[Session], Score]
    images: str  # those that `score` evaluates on, in words: "500 images of /data/coco/val2017"
    max_ap_drop: float
    threads: int = 0
    _float_scores: dict[str, Score] = field(default_factory=dict)

    def runtimes(self) -> list[str]:
        """Those that are installed."""
        return [name for name, (package, _) in RUNTIMES.items() if importlib.util.find_spec(package)]

    def can_judge(self) -> str:
        """Why this network on these images says nothing about INT8; empty where it does."""
        for runtime in self.runtimes():
            score = self._float_score(runtime)
            if not (score.people and score.ap > self.max_ap_drop):
                found = f"finds {score.people} people, AP {score.ap:.4f}" if score.people else "finds nobody"
                return (
                    f"INT8 cannot be judged: the float32 network {found} on the {self.images} ({runtime}); "
                    "give a trained network and images with annotated people"
                )
        return ""

    def compare(self, int8: Path) -> Iterator[Comparison]:
        """The quantised network on one runtime after the other."""
        for runtime in self.runtimes():
            yield Comparison(runtime, self._float_score(runtime), self._score(int8, runtime))

    def _float_score(self, runtime: str) -> Score:
        if runtime not in self._float_scores:
            self._float_scores[runtime] = self._score(self.float32, runtime)
        return self._float_scores[runtime]

    def _score(self, network: Path, runtime: str) -> Score:
        session = open_on(network, RUNTIMES[runtime][1], self.threads)
        found = self.score(session)
        session.close()
        return found


def open_on(network: Path, provider: Provider, threads: int = 0) -> Session:
    """A session on the CPU of an exported network. Raises UserError, see `common.runtime.session.open_network`."""
    return open_network(network, Options(device="cpu", provider=provider, threads=threads), _no_checkpoint)


def _no_checkpoint(source: Path) -> nn.Module:
    raise UserError(f"{source}: a checkpoint; export it first")
