# SPDX-License-Identifier: Apache-2.0
"""common/launch.sh with a stand-in for Python, and what the real launchers would run."""

import shutil
import subprocess
from pathlib import Path

from common.test.programs import ROOT

import pytest

PYTHON = '#!/bin/sh\nprintf "%s\\n" "$@" "CANN $CANN" "NPU $ASCEND_RT_VISIBLE_DEVICES" "GPU $CUDA_VISIBLE_DEVICES"\n'
Done = subprocess.CompletedProcess[str]


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


def launched(model: Path, *flags: str, **variables: str) -> Done:
    places = {"PYTHON": str(model.parent / "python"), "ASCEND_HOME": str(model.parent), "HOME": "/home/one"}
    command = ["bash", str(model / "test" / "train.sh"), *flags]
    environment = {"PATH": "/usr/bin:/bin", **places, **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_toolkits_environment_is_found(model: Path) -> None:
    (model.parent / "cann").mkdir()
    (model.parent / "cann" / "set_env.sh").write_text("export CANN=here OTHER=$UNSET_VARIABLE\n")
    assert "CANN here" in launched(model).stdout.splitlines()
    # where the training platform has set it
    assert "CANN " in launched(model, etp_running_flag="true").stdout.splitlines()


@pytest.mark.parametrize(
    ("flags", "variables", "device"),
    [
        ((), {}, "0"),
        ((), {"ASCEND_DEVICE_ID": "5"}, "5"),
        (("--device_id=3",), {"ASCEND_DEVICE_ID": "5"}, "3"),
        (("--device-id=3",), {"CUDA_VISIBLE_DEVICES": "0,1", "ASCEND_RT_VISIBLE_DEVICES": "0,1"}, "3"),
    ],
)
def test_a_device_and_its_log_folder(model: Path, flags: tuple[str, ...], variables: dict, device: str) -> None:
    words = launched(model, *flags, **variables).stdout.splitlines()
    assert f"--log_dir={model}/test/output/{device}" in words
    assert {f"NPU {device}", f"GPU {device}"} <= set(words)


def test_logs_go_where_log_dir_says_and_the_tilde_is_the_home_folder(model: Path) -> None:
    said = launched(model, "--log_dir=~/logs", "--output-dir=~/out", DRY_RUN="1").stdout
    assert "--log_dir=/home/one/logs -m Model.train --output_dir=/home/one/out --log_dir=/home/one/logs" in said


@pytest.mark.parametrize("flag", ["--device_id", "--output-dir", "--nnodes"])
def test_a_flag_of_the_launcher_needs_its_equals_sign(model: Path, flag: str) -> None:
    done = launched(model, flag, "1")
    assert (done.returncode, done.stderr) == (2, f"error: {flag} without a value: write {flag}=VALUE\n")


@pytest.mark.parametrize("device", ["../..", "", "1\n2"])
def test_a_device_that_is_no_number_is_one_line(model: Path, device: str) -> None:
    done = launched(model, f"--device_id={device}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: --device_id=")
