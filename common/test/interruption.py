# SPDX-License-Identifier: Apache-2.0
"""Ends programs in the middle of their work, as kill -9, a scheduler or a dying machine do."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

STEP_LINE = re.compile(r"^Epoch: \[\d+\]\[")
DEADLINE_S = 180
Process = subprocess.Popen[str]


def kill_after(lines: int, process: Process, victim: Callable[[Process, Path], None], folder: Path = Path()) -> str:
    """Waits for this many lines of steps, then kills `victim`; returns the run's output until its end.

    A test fails where the run is over before, and where it takes too long.
    """
    assert process.stdout
    said = []
    alarm = threading.Timer(DEADLINE_S, everything, (process, Path()))
    alarm.start()
    try:
        for line in process.stdout:
            said.append(line)
            lines -= bool(STEP_LINE.match(line))
            if lines <= 0:
                break
        else:
            pytest.fail("the run ended before it was killed: " + "".join(said))
        victim(process, folder)
        return "".join([*said, process.communicate()[0]])
    finally:
        alarm.cancel()
        if process.poll() is None:
            everything(process, Path())


def everything(process: Process, folder: Path) -> None:
    """kill -9 of the process and of all that it started."""
    os.killpg(process.pid, signal.SIGKILL)


def rank_one(process: Process, folder: Path) -> None:
    """kill -9 of the process with this rank among those that work for `folder`; each has a session of its own."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            variables, words = ((entry / name).read_bytes().split(b"\0") for name in ("environ", "cmdline"))
        except OSError:
            continue
        if f"--output_dir={folder}".encode() in words and b"RANK=1" in variables:
            os.kill(int(entry.name), signal.SIGKILL)
            return
    pytest.fail("rank 1 is not to be found")


def main_process(process: Process, folder: Path) -> None:
    """SIGTERM, as a user or a scheduler asks one process to end."""
    process.terminate()


def everybody_is_asked(process: Process, folder: Path) -> None:
    """SIGTERM as timeout, Slurm or torchrun send it: the processes that read data are asked, too."""
    os.killpg(process.pid, signal.SIGTERM)
