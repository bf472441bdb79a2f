# SPDX-License-Identifier: Apache-2.0
"""The shell scripts, with stand-ins for the vendors' tools on PATH."""

import os
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1]
SYSTEM_PATH = "/usr/bin:/bin"  # without the vendors' tools
TRTEXEC_8 = """
[11/21/2026-10:00:01] [I] === Performance summary ===
[11/21/2026-10:00:01] [I] Throughput: 31.5745 qps
[11/21/2026-10:00:01] [I] Latency: min = 31.1 ms, max = 40.2 ms, mean = 32.5 ms, median = 31.9 ms
"""
TRTEXEC_7 = """
[11/21/2020-10:00:01] [I] min: 3.80 ms (end to end 7.1 ms)
[11/21/2020-10:00:01] [I] mean: 4.0 ms (end to end 7.5 ms)
[11/21/2020-10:00:01] [I] GPU Compute mean: 3.9 ms
"""


def tool(folder: Path, name: str, body: str) -> None:
    """A stand-in that writes its words, one a line, to `<name>.log` in the current folder, then runs `body`."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f'#!/usr/bin/env bash\nprintf "%s\\n" "$@" >>{name}.log\n{body}\n')
    path.chmod(0o755)


def script(name: str, folder: Path, *flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
    places = {"PATH": f"{folder / 'tools'}:{SYSTEM_PATH}", "ASCEND_HOME": str(folder / "Ascend")}
    command, environment = ["bash", str(FOLDER / name), *flags], {**os.environ, **places, **variables}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)


def words(folder: Path, name: str) -> list[str]:
    return (folder / f"{name}.log").read_text().splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a blank in its name, and a model in it."""
    folder = tmp_path / "a folder"
    (folder / "output").mkdir(parents=True)
    (folder / "output" / "human-pose-estimation.onnx").write_bytes(b"a network")
    return folder


def gpu_tools(folder: Path, log: str, name: str = "Tesla T4") -> None:
    (folder / "log").write_text(log)
    tool(folder / "tools", "trtexec", "cat log")
    tool(folder / "tools", "nvidia-smi", f"echo '{name}'")


def test_published_lines_of_tensorrt(folder):
    gpu_tools(folder, TRTEXEC_8)
    done = script("perf_gpu.sh", folder, "--device_id=1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["t4 bs1 fps:31.575", "t4 bs16 fps:505.192"]
    network = "--onnx=./output/human-pose-estimation.onnx --fp16"
    calls = [f"{network} --shapes=data:{batch}x3x368x640 --device=1" for batch in (1, 16)]
    assert words(folder, "trtexec") == " ".join(calls).split()
    assert (folder / "OpenPose_b1.log").read_text() == (folder / "OpenPose_b16.log").read_text() == TRTEXEC_8
    assert "--id=1" in words(folder, "nvidia-smi")
    assert "without --input_text_path" in done.stdout


def test_older_logs_tell_a_time(folder):
    gpu_tools(folder, TRTEXEC_7, "NVIDIA H100 80GB HBM3")
    done = script("perf_gpu.sh", folder, "--batch_sizes=1,8")
    assert done.stdout.splitlines()[:2] == ["h100-80gb-hbm3 bs1 fps:250.000", "h100-80gb-hbm3 bs8 fps:2000.000"]


def test_onnxruntime_beside_tensorrt(folder):
    gpu_tools(folder, TRTEXEC_8)
    tool(folder / "tools", "python", "")
    (folder / "prep.info").write_text("")
    python = str(folder / "tools" / "python")
    done = script("perf_gpu.sh", folder, "--input_text_path=prep.info", "--batch_sizes=4", PYTHON=python)
    assert done.returncode == 0, done.stderr
    published = (
        "-m OpenPose_infer.benchmark -model_type=vision -device_id=0 -batch_size=4 "
        "-om_path=./output/human-pose-estimation.onnx -input_text_path=prep.info -input_width=640 -input_height=368 "
        "-output_binary=True -useDvpp=False --provider=tensorrt"
    )
    assert words(folder, "python") == published.split()
    tool(folder / "tools", "python", "exit 2")
    assert script("perf_gpu.sh", folder, "--input_text_path=prep.info", PYTHON=python).returncode == 1


@pytest.mark.parametrize("body", ["exit 1", "echo '[I] mean: nothing'"])
def test_trtexec_that_gives_no_figure(folder, body):
    tool(folder / "tools", "trtexec", body)
    done = script("perf_gpu.sh", folder, "--batch_sizes=1")
    assert done.returncode == 1
    assert done.stderr == "error: trtexec gave no figure for batch 1; OpenPose_b1.log says why\n"


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        ((), 1, "error: no trtexec on PATH"),
        (("--model=none.onnx",), 2, "error: --model=none.onnx: no such file"),
        (("--input_text_path=none.info",), 2, "error: --input_text_path=none.info: no such file"),
        (("--batch_sizes=0",), 2, "error: --batch_sizes=0: "),
        (("--colour=red",), 2, "error: --colour=red: not a flag"),
    ],
)
def test_measuring_says_in_one_line_what_is_missing(folder, flags, code, message):
    done = script("perf_gpu.sh", folder, *flags)
    assert done.returncode == code
    assert done.stderr.startswith(message) and done.stderr.count("\n") == 1
