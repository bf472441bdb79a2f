# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D103  a test says in its name what it checks
"""What is read from metrics.jsonl, and the curves and the table made of it."""

import json
from pathlib import Path
from typing import Any

from common.cli import UserError

import curves
import cv2
import history
import numpy as np
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


def test_epochs_of_the_steps(tmp_path: Path) -> None:
    run = history.read(written(tmp_path, records(2)))
    assert run.epochs == pytest.approx([1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2])


def test_steps_that_were_done_again_count_once(tmp_path: Path) -> None:
    run = history.read(written(tmp_path, records(1)[:3] + records(2)))
    assert list(run.steps) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_a_line_of_a_killed_run_is_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path, records(1))
    path.write_text('{"event": "st' + path.read_text())
    assert len(history.read(path).steps) == 3


@pytest.mark.parametrize("content", [None, "", "no json\n"])
def test_no_records_is_an_error_that_names_the_file(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "metrics.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match="metrics.jsonl"):
        history.read(path)


def test_panels_leave_out_what_the_data_set_does_not_have(tmp_path: Path) -> None:
    found = curves.panels(history.read(written(tmp_path, records(2))))
    assert list(found["loss of a step"]) == ["s1_heatmap", "s1_paf"]
    assert found["average precision"] == {"AP": ([1, 2], [0.0, 0.1]), "AP50": ([1, 2], [0.5, 0.5])}


def test_curves_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, picture = written(tmp_path, records(2)), tmp_path / "a folder" / "curves.png"
    monkeypatch.setattr("sys.argv", ["curves.py", f"--metrics={path}", f"--picture={picture}"])
    curves.main()
    drawn = cv2.imread(str(picture))
    width, height = curves.PANEL_SIZE
    assert drawn.shape == (height, 2 * width, 3)
    assert all((np.ptp(drawn[:, part], axis=(0, 1)) > 0).all() for part in (slice(0, width), slice(width, None)))


def test_table_of_a_quickstart(tmp_path: Path) -> None:
    training = history.read(written(tmp_path / "train", records(2)))
    evaluation = history.read(written(tmp_path / "eval", [evaluation_record()]))
    options = summary.Options(folder="quickstart", data="mini", seconds=99)
    table = dict(summary.rows(options, training, evaluation))
    assert table["AP"].startswith("0.612 (AP50 0.9") and "48 images" in table["AP"]
    assert table["training"] == "20.0 images/s, 60 s, epochs: 2, a CPU"
    assert table["evaluation"] == "100.0 images/s, 0 s"
    assert table["this command"].startswith("99 s")


def evaluation_record() -> dict[str, Any]:
    metrics = {"AP": 0.612, "AP50": 0.91}
    return {"event": "evaluate", "metrics": metrics, "protocol": {"images": 48}, "ms_an_image": {"total": 10.0}}


def test_table_of_an_unfinished_training_says_so(tmp_path: Path) -> None:
    training = history.read(written(tmp_path / "train", records(2)[:-1]))
    evaluation = history.read(written(tmp_path / "eval", [evaluation_record()]))
    with pytest.raises(UserError, match="type the command again"):
        summary.rows(summary.Options(), training, evaluation)
