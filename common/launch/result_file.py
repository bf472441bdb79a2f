# SPDX-License-Identifier: Apache-2.0
"""metrics.jsonl -> the ModelZoo result file and final lines."""

import contextlib
import json
import platform
import shutil
from pathlib import Path
from typing import Any

from common import files
from common.cli import UserError
from common.report import ACCURACY, RUN_FILE, Run

OUTPUTS_OF_RANKS = "ranks"  # prefix of a folder in the log folder that is not copied
FINAL_LINES = {  # entry of the result file -> its final line
    "ActualFPS": "Final Performance images/sec",
    "E2ETrainingTime": "E2E Training Duration sec",
    "TrainAccuracy": "TrainAccuracy",
    "EvalAccuracy": "EvalAccuracy",
}


def write(logs: Path, seconds: float) -> list[str]:
    """Writes `<case>.log` (and for training `train_<case>_loss.txt`) into `logs`, copies `logs` to the run's folder.

    Returns the final lines. Raises UserError where the run has left nothing.
    """
    try:
        run = Run(**json.loads((logs / RUN_FILE).read_text()))
        records = read_records(Path(run.metrics))
        evaluations = [record["metrics"]["AP"] for record in records if record["event"] == "evaluate"]
        is_eval = run.kind == "eval"
        results = {"EvalAccuracy": f"{evaluations[-1]:.4f}"} if is_eval else _training(run, records, evaluations, logs)
    except UserError:
        raise
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        what = f"{type(error).__name__} {error}"
        raise UserError(f"{logs}: the run left no metrics that can be reported ({what})") from error
    sizes = {} if is_eval else {"RankSize": str(run.ranks), "BatchSize": str(run.batch_size)}
    facts = {"Network": run.network, **sizes, "DeviceType": platform.machine(), "CaseName": run.case}
    entries = {**facts, **results, "E2ETrainingTime": f"{seconds:.0f}"}
    content = "".join(f"{key} = {value}\n" for key, value in entries.items())
    files.write_atomically(logs / f"{run.case}.log", content.encode())
    _copy(logs, Path(run.folder) / logs.name)
    shown = [(words, key) for key, words in FINAL_LINES.items() if key in entries]
    return [
        "------------------ Final result ------------------",
        *(f"{words} : {entries[key]}" for words, key in shown if not (run.kind == "perf" and key == "TrainAccuracy")),
    ]


def _copy(logs: Path, target: Path) -> None:
    logs, target = logs.resolve(), target.resolve()
    if logs != target and logs not in target.parents:  # they are there already, or would be copied forever
        try:
            shutil.copytree(logs, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(f"{OUTPUTS_OF_RANKS}_*"))
        except shutil.Error as error:  # it has no number of the system
            raise UserError(f"{target}: the logs of {logs} cannot be copied there: {error}") from error


def read_records(metrics: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; lines that a killed run left half written, or another program wrote, are skipped.

    Raises OSError where the file cannot be read.
    """
    records = []
    for line in metrics.read_text(errors="replace").splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict) and isinstance(record.get("event"), str):
                records.append(record)
    return records


def _training(run: Run, records: list[dict[str, Any]], evaluations: list[float], logs: Path) -> dict[str, str]:
    # a run that was killed and resumed repeats some steps
    steps = list({(one.get("epoch"), one.get("step")): one for one in records if one["event"] == "step"}.values())
    ends = [one for one in records if one["event"] == "end" and one["at"] >= run.began]
    losses = [",".join(f"{loss:.4e}" for name, loss in step["losses"].items() if name != ACCURACY) for step in steps]
    files.write_atomically(logs / f"train_{run.case}_loss.txt", "".join(f"{line}\n" for line in losses).encode())
    speed = next((record["images_per_s"] for record in reversed(steps[-1:] + ends[-1:])), 0.0)
    if steps and not evaluations and ACCURACY in steps[-1]["losses"]:  # of the last training batch
        accuracy = f"{steps[-1]['losses'][ACCURACY]:.4f}"
    elif run.kind == "perf":
        accuracy = "no acc for perf"
    else:
        accuracy = f"{max(evaluations):.4f}" if evaluations else "not evaluated"
    return {
        "ActualFPS": f"{speed:.3f}",
        "TrainingTime": f"{1000 * run.batch_size / speed:.2f}" if speed else "",
        "TrainAccuracy": accuracy,
        "ActualLoss": losses[-1] if losses else "",
    }
