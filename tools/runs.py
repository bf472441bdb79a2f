# SPDX-License-Identifier: Apache-2.0
"""Programs of the project run to their end, and what they left: their records, and where the time of an item went."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import files
from common.cli import UserError
from common.launch.result_file import read_records
from common.report import RUN_FILE

ROOT = Path(__file__).resolve().parents[1]
ITEMS = {"ms_an_image": "images", "ms_a_person": "people", "ms_a_box": "boxes"}
Records = dict[str, dict[str, Any]]  # the last of each event


class FailedError(UserError):
    """A program ended with an error; the message is its reason."""


def complete(
    command: Sequence[str], log: Path, folder: Path | None = None, limit_s: float | None = None, **variables: str
) -> None:
    """Runs a command to its end, in a folder; its output stays in the file `log`. Raises FailedError.

    `limit_s`: seconds after which it is ended. `variables`: of its environment.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        options: dict[str, Any] = {"cwd": folder, "stdout": output, "stderr": subprocess.STDOUT}
        try:
            code = subprocess.run(
                command, env=environment(**variables), timeout=limit_s, check=False, **options
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise FailedError(f"not done after {limit_s:g} s ({log})") from error
    if code:
        raise FailedError(f"{reason(log.read_text(errors='replace'), code)} ({log})")


def environment(**variables: str) -> dict[str, str]:
    """In which this Python finds the project, and launchers this Python."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": paths, **variables}


def reason(output: str, code: int) -> str:
    """Why a program failed: its error, else its last line, else its exit code."""
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return [f"exit code {code}", *lines[-1:], *errors[-1:]][-1]


def records(metrics: Path) -> Records:
    """The last record of each event of a metrics.jsonl. Raises UserError where the file is missing."""
    try:
        return {record["event"]: record for record in read_records(metrics)}
    except OSError as error:
        raise UserError(f"{metrics}: {error.strerror}; has the run begun?") from error


def left(logs: Path) -> Records:
    """The records of the run whose log folder this is. Raises UserError."""
    return records(Path(files.read_json(logs / RUN_FILE)["metrics"]))


def item_ms(record: Mapping[str, Any]) -> tuple[str, dict[str, float]]:
    """What an evaluation counts (images, people or boxes), and milliseconds of each part of its work for one."""
    name, parts = next((name, value) for name, value in record.items() if name in ITEMS)
    return ITEMS[name], parts
