# SPDX-License-Identifier: Apache-2.0
"""metrics.jsonl -> the ModelZoo result file and final lines (spec A6, "Shell launchers"; platform.md 8.5).

`python -m common.report --log_dir=test/output/0 --seconds=123`, after a run. A run says where its metrics are and what
it is called in `run.json` of its log folder.
"""

import contextlib
import json
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import common.cli

RUN_FILE = "run.json"
ACCURACY = "acc"  # the name of an accuracy among the losses


@dataclass(frozen=True)
class Run:
    """What a run leaves for the report."""

    network: str
    kind: str  # perf | acc | eval
    ranks: int
    batch_size: int
    metrics: str  # path of metrics.jsonl
    folder: str  # gets a copy of the log folder
    began: float  # records of metrics.jsonl before it belong to an earlier run

    @property
    def case(self) -> str:
        """The published case name."""
        if self.kind == "eval":
            return f"{self.network}_1p_eval"
        return f"{self.network}_bs{self.batch_size}_{self.ranks}p_{self.kind}"

    def leave(self, logs: Path) -> None:
        """Writes run.json."""
        logs.mkdir(parents=True, exist_ok=True)
        (logs / RUN_FILE).write_text(json.dumps(asdict(self), indent=1))


@dataclass(frozen=True)
class Options:
    """Writes the result file of a run and prints its final lines."""

    log_dir: str = "test/output/0"
    seconds: float = 0.0


def write(logs: Path, seconds: float) -> list[str]:
    """Writes `<case>.log` (and for training `train_<case>_loss.txt`) into `logs`, copies `logs` to the run's folder.

    Returns the final lines. Raises UserError where the run has left nothing.
    """
    try:
        run = Run(**json.loads((logs / RUN_FILE).read_text()))
        records = _records(Path(run.metrics))
    except (OSError, ValueError, TypeError) as error:
        raise common.cli.UserError(f"{logs}: the run left no metrics to report ({error})") from error
    entries = _evaluation(run, records) if run.kind == "eval" else _training(run, records, logs)
    entries["E2ETrainingTime"] = f"{seconds:.0f}"
    (logs / f"{run.case}.log").write_text("".join(f"{key} = {value}\n" for key, value in entries.items()))
    shutil.copytree(logs, Path(run.folder) / logs.name, dirs_exist_ok=True)
    return _final_lines(run, entries)


def _records(metrics: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; one that a killed run left half written is passed over."""
    records = []
    for line in metrics.read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            records.append(json.loads(line))
    return records


def _evaluation(run: Run, records: list[dict[str, Any]]) -> dict[str, str]:
    metrics = [record["metrics"] for record in records if record["event"] == "evaluate"][-1]
    return {
        "Network": run.network,
        "DeviceType": platform.machine(),
        "CaseName": run.case,
        "EvalAccuracy": f"{metrics['AP']:.4f}",
    }


def _training(run: Run, records: list[dict[str, Any]], logs: Path) -> dict[str, str]:
    steps = [record for record in records if record["event"] == "step"]
    ends = [record for record in records if record["event"] == "end" and record["at"] >= run.began]
    evaluations = [record["metrics"]["AP"] for record in records if record["event"] == "evaluate"]
    losses = [",".join(f"{loss:.4e}" for name, loss in step["losses"].items() if name != ACCURACY) for step in steps]
    (logs / f"train_{run.case}_loss.txt").write_text("".join(f"{line}\n" for line in losses))
    speed = ends[-1]["images_per_s"] if ends else (steps[-1]["images_per_s"] if steps else 0.0)
    return {
        "Network": run.network,
        "RankSize": str(run.ranks),
        "BatchSize": str(run.batch_size),
        "DeviceType": platform.machine(),
        "CaseName": run.case,
        "ActualFPS": f"{speed:.3f}",
        "TrainingTime": f"{1000 * run.batch_size / speed:.2f}" if speed else "",
        "TrainAccuracy": _accuracy(run, steps, evaluations),
        "ActualLoss": losses[-1] if losses else "",
    }


def _accuracy(run: Run, steps: list[dict[str, Any]], evaluations: list[float]) -> str:
    """The best AP; without an evaluation the accuracy on the last training batch, of networks that have one.

    A performance run of the others has none.
    """
    if steps and not evaluations and ACCURACY in steps[-1]["losses"]:
        return f"{steps[-1]['losses'][ACCURACY]:.4f}"
    if run.kind == "perf":
        return "no acc for perf"
    return f"{max(evaluations):.4f}" if evaluations else "not evaluated"


def _final_lines(run: Run, entries: dict[str, str]) -> list[str]:
    lines = ["------------------ Final result ------------------"]
    if run.kind != "eval":
        lines.append(f"Final Performance images/sec : {entries['ActualFPS']}")
    lines.append(f"E2E Training Duration sec : {entries['E2ETrainingTime']}")
    if run.kind == "acc":
        lines.append(f"TrainAccuracy : {entries['TrainAccuracy']}")
    if run.kind == "eval":
        lines.append(f"EvalAccuracy : {entries['EvalAccuracy']}")
    return lines


def main() -> None:
    """Reads the flags, writes, prints."""
    options = common.cli.parse(Options, {})
    for line in write(Path(options.log_dir), options.seconds):
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    common.cli.run(main)
