# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D103  a test says in its name what it checks
"""docs/own_keypoints.md from its first command to its last: `pytest -m slow -s ci/test_tutorial.py` says how long."""

import json
import os
import subprocess
import sys
from pathlib import Path

import project
import pytest
import readme_commands

PAGE = "docs/own_keypoints.md"
FINDS = "common.coco"  # ends with 1: it finds the planted mistakes
OF_REPEATED = "--estimate_sigmas=first.json,second.json"  # files that the page does not make
RUNS = {
    "Lightweight_OpenPose": "light",
    "AlphaPose": "alphapose",
    "MIPNet": "mipnet",
    "OpenPose_MindSpore_port": "port",
}
SIDE_BY_SIDE_S = 2 * 25 * 60  # seconds of a processor: 25 minutes on two


@pytest.mark.slow
def test_the_whole_page(tmp_path: Path) -> None:
    spent = dict.fromkeys((*RUNS, "the rest"), 0.0)
    for words in readme_commands.commands(PAGE):
        if OF_REPEATED in words:
            continue
        before = os.times()
        run(words, tmp_path)
        after = os.times()
        model = next(
            (name for name, folder in RUNS.items() if any(f"runs/{folder}" in word for word in words)), "the rest"
        )
        spent[model] += after.children_user + after.children_system - before.children_user - before.children_system
    aps = {name: ap_of(tmp_path / "runs" / folder) for name, folder in RUNS.items()}
    print(
        "\n".join(f"{name}: {seconds:.0f} s of a processor, AP {aps.get(name, '-')}" for name, seconds in spent.items())
    )
    assert min(aps.values()) > 0.9, aps
    assert sum(spent.values()) < SIDE_BY_SIDE_S, spent
    for folder in RUNS.values():
        people = (tmp_path / "runs" / folder / "demo" / "people.jsonl").read_text().splitlines()
        assert sum(len(json.loads(line)["people"]) for line in people) >= len(people) > 0, folder
    assert "<skeleton" in (tmp_path / "to_correct" / "annotations.xml").read_text()


def run(words: list[str], folder: Path) -> None:
    """A command of the page, in an empty folder in place of the project's."""
    words = [sys.executable, *words[1:]]
    if words[1].startswith("ci/"):
        words[1] = str(project.ROOT / words[1])
    environment = os.environ | {"PYTHONPATH": str(project.ROOT)}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == int(words[2:3] == [FINDS]), (
        f"{' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    )


def ap_of(folder: Path) -> float:
    (report,) = folder.rglob("report.json")
    return float(json.loads(report.read_text())["metrics"]["AP"])
