# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D103  a test says in its name what it checks
"""Each model directory trains, evaluates and predicts in an empty folder, with only common/ beside it."""

import subprocess
from pathlib import Path

from common.test.programs import environment

import alone
import project
import pytest

DEADLINE_S = 600


@pytest.mark.parametrize("model", project.model_directories())
def test_the_smoke_job_of(model: str, tmp_path: Path) -> None:
    alone.main(model, str(tmp_path))
    command = ["bash", str(tmp_path / model / "test" / "smoke.sh")]
    said = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "timeout": DEADLINE_S}
    job = subprocess.run(command, env=environment(), check=False, **said)
    assert job.returncode == 0 and f"smoke job of {model} passed" in job.stdout, job.stdout
