# SPDX-License-Identifier: Apache-2.0
"""What counts as a fall of AP, what cannot be judged, and how damage decides."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from common.cli import UserError
from common.judgement import Comparison, Judge, Score, open_on
from common.sensitivity import Bounds, as_json, table

import pytest


def test_a_smaller_ap_is_refused():
    compared = Comparison("ONNX Runtime", Score(0.61, 90), Score(0.59, 90))
    assert compared.complaint(0.01) == "AP falls from 0.6100 to 0.5900 with ONNX Runtime, more than --max_ap_drop=0.01"
    assert compared.complaint(0.03) == ""
    assert "AP falls" in Comparison("x", Score(0.6, 9), Score(float("nan"), 9)).complaint(1)
    assert "finds nobody with x" in Comparison("x", Score(0.6, 9), Score(0.6, 0)).complaint(1)


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (Score(0.5, 9), ""),
        (Score(0.01, 9), "finds 9 people, AP 0.0100 on the 3 images of here (ONNX Runtime)"),
        (Score(-1.0, 0), "finds nobody"),
        (Score(float("nan"), 9), "AP nan"),
    ],
)
def test_a_network_that_finds_nothing_cannot_be_judged(score, reason, monkeypatch):
    judge = Judge(Path("a.onnx"), lambda session: score, "3 images of here", 0.02)
    monkeypatch.setattr(judge, "_score", lambda network, runtime: score)
    monkeypatch.setattr(judge, "runtimes", lambda: ["ONNX Runtime"])
    assert reason in judge.can_judge() and bool(reason) == bool(judge.can_judge())


def test_a_checkpoint_is_no_exported_network():
    with pytest.raises(UserError, match="a.pth: a checkpoint; export it first"):
        open_on(Path("a.pth"), "cpu")


@dataclass(frozen=True)
class Plain:
    mean_difference: float
    part_lost: float

    HEADINGS: ClassVar[str] = "  mean"

    @property
    def harm(self) -> tuple[float, ...]:
        return (self.mean_difference,)

    def columns(self) -> str:
        return f"{self.mean_difference:>6.1%}"


def test_bounds_and_report():
    damages = {"stem": Plain(0.001, 0.0), "a layer of a very long name indeed": Plain(0.2, 0.5)}
    bounds = Bounds(0.01, 0.1)
    assert [bounds.sensitive(damage) for damage in damages.values()] == [False, True]
    assert bounds.sensitive(Plain(float("nan"), 0)) and bounds.sensitive(Plain(0, 0.2))
    lines = table(damages, ["a layer of a very long name indeed"], {"stem": 0.25}).splitlines()
    assert len({len(line.rpartition("  ")[0]) for line in lines}) == 1  # columns stand below each other
    assert lines[1].endswith("25.0%  0.1%  int8") and lines[2].endswith("20.0%  float32")
    rows = as_json(damages, ["a layer of a very long name indeed"], {"stem": 0.25})
    assert rows[0] == {"group": "stem", "share": 0.25, "int8": True, "mean_difference": 0.001, "part_lost": 0.0}
