# SPDX-License-Identifier: Apache-2.0
"""Two ranks add a number up through the launcher of trainings: tests HCCL, NCCL or gloo.

`check` starts this module as a program on each rank.
"""

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import common.device
from common import cli, distributed
from common.cli import UserError, flag
from tools.doctor.machine import Finding, Machine

import torch

NUM_RANKS = 2
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Config:
    """One of two ranks of the doctor's check; `python -m tools.doctor` starts it."""

    device: common.device.DeviceName = flag("what the ranks compute on", "cpu")
    result_file: str = flag("file that rank 0 writes on success", "")


def main() -> None:
    """Adds the ranks' numbers up on their device."""
    config = cli.parse(Config, {})
    with distributed.process_group(config.device) as device:
        mean = float(distributed.mean(torch.full((1,), float(distributed.rank()), device=device)))
        if mean != (expected := (distributed.world_size() - 1) / 2):
            raise UserError(f"the mean of the ranks' numbers is {mean}, not {expected}")
    if distributed.is_main() and config.result_file:
        Path(config.result_file).touch()


def check(machine: Machine, kind: str, time_limit_s: float) -> list[Finding]:
    """Starts two ranks and waits for them no longer than the limit."""
    name = common.device.BACKENDS[kind]
    count = len({"npu": machine.npus, "cuda": machine.gpus}.get(kind, (None,) * NUM_RANKS))
    if count < NUM_RANKS:
        return [Finding("ok", f"{name} is not tried: it takes {NUM_RANKS} devices, there are {count}")]
    with tempfile.TemporaryDirectory(prefix="doctor_") as folder:
        complaint = _complaint(kind, folder, time_limit_s)
    shown = f"{name} between {NUM_RANKS} ranks"
    if complaint:
        return [Finding("error", f"{shown}: {complaint}", _cure(kind))]
    return [Finding("ok", f"{shown} works")]


def _complaint(kind: str, folder: str, time_limit_s: float) -> str:
    """What went wrong; empty if nothing did. No process is left running.

    The launcher misses the metrics of a training at the end: the file that rank 0 leaves shows success.
    """
    result = Path(folder) / "done"
    words = ["-m", "common.launch", f"--ranks={NUM_RANKS}", f"--log_dir={folder}", "-m", "tools.doctor.ranks"]
    words += [f"--device={kind}", f"--result_file={result}"]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": path},
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as ranks:
        try:
            output, _ = ranks.communicate(timeout=time_limit_s)
        except subprocess.TimeoutExpired:
            return f"no answer within {time_limit_s:g} s"
        finally:
            if ranks.poll() is None:  # the ranks end with their launcher
                os.killpg(ranks.pid, signal.SIGKILL)
    if result.exists():
        return ""
    lines = [line for line in output.splitlines() if line.strip()] or [f"exit code {ranks.returncode}"]
    return lines[-1].removeprefix("error: ")


def _cure(kind: str) -> str:
    if kind == "npu":
        return "check the links (hccn_tool -i 0 -link -g) and HCCL_IF_IP, or train on one rank: --ranks=1"
    if kind == "cuda":
        return "run again with NCCL_DEBUG=INFO, try NCCL_P2P_DISABLE=1, or train on one rank: --ranks=1"
    return "check that localhost has an address, unset RANK and WORLD_SIZE, allow longer: --time_limit"


if __name__ == "__main__":
    cli.run(main)
