# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D103  a test says in its name what it checks
"""ci/accelerator.sh on the CPU with tiny sizes: every part runs to its end; what fails is a line, the rest follows."""

import subprocess
from pathlib import Path

from common.test.programs import environment
from tools import networks

import accelerator
import project
import pytest

DEADLINE_S = 1200
# the words of a call, and how many rows it leaves
ROWS = [("correctness,Lightweight_OpenPose,MIPNet", 4), ("training,evaluation", 8), ("inference", 8)]
ROWS += [pytest.param("correctness,AlphaPose,OpenPose_MindSpore_port", 3, marks=pytest.mark.slow)]


def called(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = ["bash", str(project.ROOT / "ci" / "accelerator.sh"), "--device=cpu", f"--output={folder / 'found.md'}"]
    said = {"capture_output": True, "text": True, "check": False, "timeout": DEADLINE_S}
    return subprocess.run([*command, *words], env=environment(), cwd=folder, **said)


@pytest.mark.parametrize(("only", "count"), ROWS)
def test_a_part_runs_to_its_end(only: str, count: int, tmp_path: Path) -> None:
    done = called(tmp_path, "--tiny", f"--only={only}")
    text = (tmp_path / "found.md").read_text()
    assert done.returncode == 0 and text == done.stdout, done.stdout + done.stderr
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| what")]
    assert len(rows) == count and "FAILED" not in text
    parts, names = ([word for word in group if word in only] for group in (accelerator.PARTS, networks.PUBLISHED))
    assert text.count("\n## ") == len(parts)
    assert all(any(name in row for row in rows) for name in names or networks.PUBLISHED)
    assert "- command: `bash ci/accelerator.sh --device=cpu" in text and "\n0 lines failed, " in text


def test_what_fails_is_a_line_and_the_others_follow(tmp_path: Path) -> None:
    parts = "--only=training,inference,Lightweight_OpenPose"
    done = called(tmp_path, "--tiny", parts, f"--data_path={tmp_path / 'nowhere'}")
    rows = [line for line in done.stdout.splitlines() if "FAILED" in line]
    assert done.returncode == 1 and len(rows) == 1, done.stdout + done.stderr
    assert rows[0].startswith("| Lightweight_OpenPose, O1 | FAILED: ") and "nowhere" in rows[0]
    assert "| Lightweight_OpenPose | float16 | 1 | " in done.stdout
    assert "1 lines failed, " in (tmp_path / "found.md").read_text()


def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    done = called(tmp_path, "--tiny", "--only=inference,MIPNet", "--limit=0.1")
    assert done.returncode == 1 and "| MIPNet | FAILED: not done after 0.1 s" in done.stdout


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    done = called(tmp_path, "--only=speed")
    assert done.returncode == 2 and done.stderr.startswith("error: --only=speed: choose from correctness, training, ")
    assert done.stderr.count("\n") == 1 and not list(tmp_path.iterdir())
