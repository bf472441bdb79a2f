# SPDX-License-Identifier: Apache-2.0
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def launched(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a launcher would run."""
    command = ["bash", str(ROOT / "MIPNet" / "test" / "eval.sh"), *flags]
    variables = {"PATH": "/usr/bin:/bin", "PYTHON": "python", "DRY_RUN": "1", "HOME": "/home/one", **environment}
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def test_logs_go_where_log_dir_says_and_the_tilde_is_the_home_folder() -> None:
    assert (
        "--log_dir=/home/one/logs -m MIPNet.eval --output_dir=/home/one/out --log_dir=/home/one/logs"
        in launched("--log_dir=~/logs", "--output-dir=~/out").stdout
    )


def test_the_device_of_the_environment_names_the_log_folder() -> None:
    assert "--log_dir=MIPNet/test/output/3 " in launched(ASCEND_DEVICE_ID="3").stdout
    assert "--log_dir=MIPNet/test/output/5 " in launched("--device_id=5", ASCEND_DEVICE_ID="3").stdout


@pytest.mark.parametrize("device", ["../..", "", "x", "-1", "1\n2"])
def test_a_device_that_is_no_number_is_one_line(device: str) -> None:
    done = launched(f"--device_id={device}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: --device_id=")
