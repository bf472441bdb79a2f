# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D103  a test says in its name what it checks
"""What is read from metrics.jsonl, and the table made of it."""

import json
from pathlib import Path
from typing import Any

from common.cli import UserError
from tools import runs

import pytest
import summary


def records(epochs: int) -> list[dict[str, Any]]:
    """A run of three steps an epoch that evaluates after each."""
    lines: list[dict[str, Any]] = [{"event": "start", "device": "a CPU", "config": {"epochs": epochs}}]
    for epoch in range(epochs):
        for step in range(3):
            losses = {"s1_heatmap": 10.0 / (1 + 3 * epoch + step), "s1_paf": 5.0}
            lines.append({"event": "step", "epoch": epoch, "step": step, "losses": losses})
        lines.append({"event": "evaluate", "epoch": epoch, "metrics": {"AP": 0.1 * epoch, "AP50": 0.5, "APl": -1.0}})
    return [*lines, {"event": "end", "images_per_s": 20.0, "seconds": 60.0}]


def written(folder: Path, lines: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_of_a_run_in_parts_the_last_record_counts(tmp_path: Path) -> None:
    path = written(tmp_path, records(1) + records(2))
    path.write_bytes(b'{"event": "st\n[1]\n{}\n\xff\n' + path.read_bytes())
    found = runs.records(path)
    assert found["start"]["config"]["epochs"] == 2 and found["evaluate"]["epoch"] == 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="metrics.jsonl"):
        runs.records(tmp_path / "metrics.jsonl")


def test_table_of_a_quickstart(tmp_path: Path) -> None:
    training = runs.records(written(tmp_path / "train", records(2)))
    evaluation = runs.records(written(tmp_path / "eval", [evaluation_record()]))
    options = summary.Options(folder="quickstart", run="quickstart/step_one_checkpoints", data="mini", seconds=99)
    table = dict(summary.rows(options, training, evaluation))
    assert table["AP"].startswith("0.612 (AP50 0.9") and "48 images" in table["AP"]
    assert table["training"] == "20.0 images/s, 60 s, epochs: 2, a CPU"
    assert table["evaluation"] == "100.0 images/s, 0 s"
    assert table["checkpoint"] == "quickstart/step_one_checkpoints/model_best.pth"
    assert table["this command"].startswith("99 s")


def evaluation_record() -> dict[str, Any]:
    metrics = {"AP": 0.612, "AP50": 0.91}
    return {"event": "evaluate", "metrics": metrics, "protocol": {"images": 48}, "ms_an_image": {"total": 10.0}}


def test_table_of_an_unfinished_training_says_so(tmp_path: Path) -> None:
    training = runs.records(written(tmp_path / "train", records(2)[:-1]))
    evaluation = runs.records(written(tmp_path / "eval", [evaluation_record()]))
    with pytest.raises(UserError, match="type the command again"):
        summary.rows(summary.Options(), training, evaluation)
