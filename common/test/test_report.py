# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

from common.cli import UserError
from common.launch import result_file
from common.report import ACCURACY, Run

import pytest


def records(accuracy: float | None, precisions: list[float]) -> list[dict]:
    losses = {"loss": 0.5} if accuracy is None else {"loss": 0.5, ACCURACY: accuracy}
    steps = [{"event": "step", "losses": losses, "images_per_s": 10.0}]
    return [*steps, *({"event": "evaluate", "metrics": {"AP": found}} for found in precisions)]


@pytest.mark.parametrize(
    ("kind", "accuracy", "precisions", "wanted"),
    [
        ("acc", None, [0.25, 0.75, 0.5], "0.7500"),
        ("acc", 0.125, [0.25], "0.2500"),
        ("acc", 0.125, [], "0.1250"),
        ("acc", None, [], "not evaluated"),
        ("perf", None, [], "no acc for perf"),
        ("perf", 0.125, [], "0.1250"),
    ],
)
def test_accuracy_of_a_training(
    tmp_path: Path, kind: str, accuracy: float | None, precisions: list[float], wanted: str
) -> None:
    metrics, logs = tmp_path / "metrics.jsonl", tmp_path / "logs"
    metrics.write_text("".join(json.dumps(record) + "\n" for record in records(accuracy, precisions)))
    Run("net", kind, 1, 4, str(metrics), str(tmp_path / "run"), 0.0).leave(logs)
    lines = result_file.write(logs, 3.0)
    result = dict(line.split(" = ") for line in (logs / f"net_bs4_1p_{kind}.log").read_text().splitlines())
    assert result["TrainAccuracy"] == wanted and result["ActualFPS"] == "10.000"
    assert (f"TrainAccuracy : {wanted}" in lines) == (kind == "acc")
    assert (tmp_path / "run" / "logs" / f"net_bs4_1p_{kind}.log").is_file()


@pytest.mark.parametrize("folder", ["logs", "logs/run", "."])
def test_logs_in_or_around_the_folder_of_the_run_are_not_copied_into_themselves(tmp_path: Path, folder: str) -> None:
    metrics, logs = tmp_path / "metrics.jsonl", tmp_path / "logs"
    metrics.write_text("".join(json.dumps(record) + "\n" for record in records(None, [0.5])))
    Run("net", "acc", 1, 4, str(metrics), str(tmp_path / folder), 0.0).leave(logs)
    result_file.write(logs, 3.0)
    assert sorted(path.name for path in logs.iterdir()) == [
        "net_bs4_1p_acc.log",
        "run.json",
        "train_net_bs4_1p_acc_loss.txt",
    ]


def test_logs_that_cannot_be_copied_are_one_line(tmp_path: Path) -> None:
    metrics, logs = tmp_path / "metrics.jsonl", tmp_path / "logs"
    metrics.write_text("".join(json.dumps(record) + "\n" for record in records(None, [0.5])))
    Run("net", "acc", 1, 4, str(metrics), str(tmp_path / "run"), 0.0).leave(logs)
    (tmp_path / "run" / "logs").mkdir(parents=True)
    (tmp_path / "run" / "logs" / "run.json").symlink_to("/nowhere/run.json")
    with pytest.raises(UserError, match=r"run/logs: the logs of .*/logs cannot be copied there: .*run\.json"):
        result_file.write(logs, 3.0)
