# SPDX-License-Identifier: Apache-2.0
"""common/launch.sh with a stand-in for Python."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = '#!/bin/sh\nprintf "%s\\n" "$@" "CANN $CANN" "NPU $ASCEND_RT_VISIBLE_DEVICES" "GPU $CUDA_VISIBLE_DEVICES"\n'


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model directory with one launcher."""
    (tmp_path / "common").mkdir()
    shutil.copy(ROOT / "common" / "launch.sh", tmp_path / "common")
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    (tmp_path / "Model" / "test").mkdir(parents=True)
    script = 'source "$(dirname "${BASH_SOURCE[0]}")/../../common/launch.sh"\nlaunch 1 train "$@"\n'
    (tmp_path / "Model" / "test" / "train.sh").write_text(script)
    return tmp_path / "Model"


def launched(model: Path, *flags: str, **variables: str) -> list[str]:
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": str(model.parent / "python"), "ASCEND_HOME": str(model.parent)}
    command = ["bash", str(model / "test" / "train.sh"), *flags]
    done = subprocess.run(command, env={**environment, **variables}, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("place", ["cann", "ascend-toolkit", "nnae"])
def test_the_toolkits_environment_is_found(model: Path, place: str) -> None:
    (model.parent / place).mkdir()
    (model.parent / place / "set_env.sh").write_text(f"export CANN={place} OTHER=$UNSET_VARIABLE\n")
    assert f"CANN {place}" in launched(model)
    assert "CANN " in launched(model, etp_running_flag="true")  # the training platform has set it


@pytest.mark.parametrize(
    ("flags", "variables", "device"),
    [
        ((), {}, "0"),
        (("--device_id=3",), {}, "3"),
        ((), {"ASCEND_DEVICE_ID": "5"}, "5"),
        (("--device_id=3",), {"ASCEND_DEVICE_ID": "5"}, "3"),
    ],
)
def test_a_device_and_its_log_folder(model: Path, flags: tuple[str, ...], variables: dict, device: str) -> None:
    words = launched(model, *flags, **variables)
    assert f"--log_dir={model}/test/output/{device}" in words
    assert {f"NPU {device}", f"GPU {device}"} <= set(words)
