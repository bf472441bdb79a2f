# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OLD = sorted(Path.home().glob(".pyenv/versions/3.[6-9].*/bin/python"))
TRAINERS = sorted(ROOT.glob("*/train.py"))


def complaint(command: list[str], folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    return done.stderr


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda path: path.parent.name)
def test_one_line_from_a_python_that_is_too_old(trainer: Path) -> None:
    for python in OLD:
        assert complaint([str(python), "train.py"], trainer.parent).startswith(
            "error: Python 3.10 or newer is needed, not 3."
        )
        line = complaint([str(python), "-m", f"{trainer.parent.name}.train"], ROOT)
        assert line.startswith("error: Python 3.10 or newer") and line.count("\n") == 1


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda path: path.parent.name)
def test_the_line_stands_before_all_that_needs_a_newer_one(trainer: Path) -> None:
    run = f"import sys, runpy; sys.version_info = (3, 9, 1); runpy.run_path({str(trainer)!r}, run_name='__main__')"
    assert complaint([sys.executable, "-c", run], trainer.parent).startswith("error: Python 3.10 or newer is needed")
