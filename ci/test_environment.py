# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D103  a test says in its name what it checks
"""ci/environment.sh with a stand-in for Python: what it calls, when it calls nothing, and what it says on failure."""

import contextlib
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import project
import pytest

TOOLS = ("bash", "dirname", "cksum", "tail", "mkdir", "touch", "rm", "ls", "flock", "cp", "cat", "chmod")
MORE_TOOLS = ("head", "find", "sleep")
# Writes what it is asked into `calls`; `-m venv` makes a copy of it, `-m pip` fails where a file `broken` is there.
PYTHON = """#!/bin/bash
echo "$*" | head -n 1 >>"{calls}"
case "$1 $2" in
  "-m venv") folder="${{@: -1}}"; [[ " $* " != *" --clear "* ]] || rm -rf "$folder"
    mkdir -p "$folder/bin"; sleep {pause}; cp "$0" "$folder/bin/python"; touch "$folder/pyvenv.cfg"; sleep {pause} ;;
  "-m pip") sleep {pause}; [[ ! -f "{broken}" ]] || {{ echo "no space left on device"; exit 1; }} ;;
  "-c import importlib"*) echo "torch==2.9.0+cu128" ;;
esac
"""
ANSWER = """#!/bin/bash
echo "{words}"
exit {code}
"""


@dataclass
class Clone:
    """A copy of environment.sh in a folder of its own, with a PATH that holds only what the test put there."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, script: str) -> Path:
        path = self.folder / "bin" / name
        path.write_text(script)
        path.chmod(0o755)
        return path

    def add_python(self, name: str = "python3", pause: float = 0) -> Path:
        """A stand-in that takes `pause` seconds for each step of its work."""
        return self.add(name, PYTHON.format(calls=self.folder / "calls", broken=self.folder / "broken", pause=pause))

    def run(self, command: str = "bash ci/environment.sh") -> "subprocess.CompletedProcess[str]":
        environment = {"PATH": str(self.folder / "bin"), **self.settings}
        root = self.folder / "a clone"
        return subprocess.run(["bash", "-c", command], cwd=root, env=environment, capture_output=True, text=True)

    def calls(self) -> list[str]:
        """What the stand-in was asked since the last look."""
        path = self.folder / "calls"
        found = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return found


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    (tmp_path / "a clone" / "ci").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    for name in ("ci/environment.sh", "pyproject.toml"):
        shutil.copy(project.ROOT / name, tmp_path / "a clone" / name)
    for tool in TOOLS + MORE_TOOLS:
        found = shutil.which(tool)
        if found:
            (tmp_path / "bin" / tool).symlink_to(os.path.realpath(found))
    return Clone(tmp_path)


def test_it_installs_once(clone: Clone) -> None:
    clone.add_python()
    first = clone.run()
    assert first.returncode == 0, first.stderr
    venv = clone.folder / "a clone" / ".venv"
    pip = [call for call in clone.calls() if "-m pip install" in call]
    assert pip and pip[-1].endswith(
        "-e .[dev,infer,openvino,tensorboard,web] torch==2.13.0 --config-settings editable_mode=compat"
    )
    assert not (venv / "pose_zoo.begun").exists()
    second = clone.run('source ci/environment.sh && echo "$PYTHON" && echo "$root"')
    assert second.stdout.splitlines() == [str(venv / "bin" / "python"), str(venv.parent)]
    assert clone.calls() == []


def test_it_installs_again_when_the_settings_file_changes(clone: Clone) -> None:
    clone.add_python()
    clone.run()
    clone.calls()
    with (clone.folder / "a clone" / "pyproject.toml").open("a") as file:
        file.write("# more\n")
    assert clone.run().returncode == 0
    calls = clone.calls()
    assert any("pip install" in call for call in calls) and not any("-m venv" in call for call in calls)


def test_a_failure_shows_the_end_of_the_log_and_the_next_call_mends_it(clone: Clone) -> None:
    clone.add_python()
    (clone.folder / "broken").touch()
    failed = clone.run()
    assert failed.returncode == 1
    assert "no space left on device" in failed.stderr and "pose_zoo.log" in failed.stderr.splitlines()[-1]
    clone.calls()
    (clone.folder / "broken").unlink()
    mended = clone.run()
    assert mended.returncode == 0 and "beginning anew" in mended.stdout
    assert any("-m venv" in call for call in clone.calls())
    assert clone.run().returncode == 0 and clone.calls() == []


def test_an_installation_killed_again_and_again_ends_well(clone: Clone) -> None:
    clone.add_python(pause=0.1)
    command = ["bash", "ci/environment.sh"]
    environment = {"PATH": str(clone.folder / "bin")}
    for moment in range(20):  # later and later: each step of the work is met
        call = subprocess.Popen(
            command, cwd=clone.folder / "a clone", env=environment, stdout=subprocess.DEVNULL, start_new_session=True
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            call.wait(0.03 * (moment + 1))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(call.pid, signal.SIGKILL)
        call.wait()
    last = clone.run()
    assert last.returncode == 0, last.stderr
    venv = clone.folder / "a clone" / ".venv"
    assert (venv / "pose_zoo.installed").is_file() and not (venv / "pose_zoo.begun").exists()
    clone.calls()
    assert clone.run().returncode == 0 and clone.calls() == []


def test_a_failure_stops_a_script_that_sources_it(clone: Clone) -> None:
    run = clone.run("set -e; source ci/environment.sh; echo went on")
    assert run.returncode == 1 and "went on" not in run.stdout


def test_no_python(clone: Clone) -> None:
    run = clone.run()
    assert run.returncode == 1
    assert run.stderr.splitlines() == [
        "error: no usable Python 3.10 or newer. Install one, or name it: POSE_ZOO_PYTHON=/path/to/python3"
    ]


def test_an_old_python_is_named_and_a_newer_one_taken(clone: Clone) -> None:
    clone.add("python3", ANSWER.format(words="is older: 3.9.2", code=0))
    assert "python3 is older: 3.9.2" in clone.run().stderr
    clone.add_python("python3.12")
    assert clone.run().returncode == 0


def test_a_python_without_venv_names_the_cure(clone: Clone) -> None:
    clone.add("python3", ANSWER.format(words="lacks its venv module: install python3-venv", code=0))
    run = clone.run()
    assert run.returncode == 1 and "install python3-venv" in run.stderr and len(run.stderr.splitlines()) == 1


def test_an_interpreter_that_is_named_must_run(clone: Clone) -> None:
    clone.add_python()
    clone.settings["POSE_ZOO_PYTHON"] = "/absent/python3"
    run = clone.run()
    assert run.returncode == 1 and "/absent/python3 does not run" in run.stderr


def test_version_check_of_this_interpreter(clone: Clone) -> None:
    """The real question that is put to an interpreter, and its answer."""
    script = 'source ci/environment.sh >/dev/null 2>&1; flaw "$0"'
    python = project.ROOT / ".venv" / "bin" / "python"
    if not python.exists():
        pytest.skip("needs the environment beside the clone")
    run = clone.run(script.replace("$0", str(python)))
    assert run.stdout == ""


def test_a_folder_of_something_else_is_left_alone(clone: Clone) -> None:
    clone.add_python()
    other = clone.folder / "photos"
    other.mkdir()
    (other / "a.jpg").touch()
    clone.settings["POSE_ZOO_VENV"] = str(other)
    run = clone.run()
    assert run.returncode == 1 and f"{other} holds something else" in run.stderr
    assert [path.name for path in other.iterdir()] == ["a.jpg"]


def test_the_torch_of_the_system_is_kept(clone: Clone) -> None:
    clone.add_python()
    clone.settings["POSE_ZOO_TORCH"] = "system"
    assert clone.run().returncode == 0
    calls = clone.calls()
    assert any("-m venv --system-site-packages" in call for call in calls)
    assert any("-e .[" in call and "torch==2.9.0+cu128" in call for call in calls)


def test_words_for_pip_are_passed_on(clone: Clone) -> None:
    clone.add_python()
    clone.settings["POSE_ZOO_TORCH"] = "torch==2.9.0 --extra-index-url https://example.com/whl"
    clone.run()
    assert any(" torch==2.9.0 --extra-index-url https://example.com/whl --config" in call for call in clone.calls())
