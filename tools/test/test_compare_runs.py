# SPDX-License-Identifier: Apache-2.0
"""Evaluations are compared where they were measured alike, and refused where not."""

import json

from common.cli import UserError
from tools import compare_runs

import pytest

PROTOCOL = {"annotations": "val.json", "images": 48, "boxes": "given", "scales": [1.0], "checkpoint": "a.pth"}


def evaluation(folder, metrics=None, **protocol):
    folder.mkdir()
    record = {"event": "evaluate", "metrics": metrics or {"AP": 0.5, "APm": -1.0}, "protocol": {**PROTOCOL, **protocol}}
    (folder / "metrics.jsonl").write_text(json.dumps({"event": "begin"}) + "\n" + json.dumps(record) + "\n")
    return str(folder)


def test_both_stand_side_by_side(tmp_path, capsys):
    a = evaluation(tmp_path / "a")
    b = evaluation(tmp_path / "b", {"AP": 0.625, "APm": 0.2}, checkpoint="b.pth")
    compare_runs.main([a, b])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("(a.pth)") and lines[1].endswith("(b.pth)")
    assert lines[3].split() == ["AP", "0.5000", "0.6250", "+0.1250"]
    assert lines[4].split() == ["APm", "-1.0000", "0.2000", "-"]


@pytest.mark.parametrize(
    "change", [{"images": 47}, {"boxes": "dets.json"}, {"scales": [0.5, 1.0]}, {"flip_test": True}]
)
def test_unlike_protocols_are_refused_and_named(tmp_path, change):
    a, b = evaluation(tmp_path / "a"), evaluation(tmp_path / "b", **change)
    (name,) = change
    with pytest.raises(UserError, match=rf"cannot be compared: {name}: .* say --allow={name}"):
        compare_runs.main([a, b])
    compare_runs.main([a, b, f"--allow={name}"])


def test_the_content_of_annotations_counts_not_their_place(tmp_path):
    for name, text in (("one.json", "{}"), ("two.json", "{}"), ("three.json", "{ }")):
        (tmp_path / name).write_text(text)
    a, b, c = (
        evaluation(tmp_path / folder, annotations=str(tmp_path / f"{name}.json"))
        for folder, name in (("a", "one"), ("b", "two"), ("c", "three"))
    )
    compare_runs.main([a, b])
    with pytest.raises(UserError, match="annotations"):
        compare_runs.main([a, c])


@pytest.mark.parametrize(
    "text", ["", "[]", '{"event": "evaluate", "protocol": {}, "metrics": {"AP": "x"}}', "{", "\xff"]
)
def test_files_of_another_kind_are_one_line(tmp_path, text):
    (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(UserError, match=r"metrics\.jsonl: (line 1|no evaluation)"):
        compare_runs.main([str(tmp_path), str(tmp_path)])
    with pytest.raises(UserError, match="which evaluations"):
        compare_runs.main([])
    with pytest.raises(UserError, match="gone"):
        compare_runs.main([str(tmp_path / "gone"), str(tmp_path)])
