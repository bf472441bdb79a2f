# SPDX-License-Identifier: Apache-2.0
"""Ends programs in the middle of their work, as kill -9, a scheduler or a dying machine do."""

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

STEP_LINE = re.compile(r"^Epoch: \[\d+\]\[")
DEADLINE_S = 180
Process = subprocess.Popen[str]


def kill_after(lines: int, process: Process, victim: Callable[[Process, Path], None], folder: Path = Path()) -> str:
    """Waits for so many lines of steps, then kills what `victim` says; what the run said until its end.

    A test fails where the run is over before, and where it takes too long.
    """
    assert process.stdout
    said = []
    with _ended_at_last(process):
        for line in process.stdout:
            said.append(line)
            lines -= bool(STEP_LINE.match(line))
            if lines <= 0:
                break
        else:
            pytest.fail("the run ended before it was killed: " + "".join(said))
        victim(process, folder)
        return "".join([*said, process.communicate()[0]])


@contextlib.contextmanager
def _ended_at_last(process: Process) -> Iterator[None]:
    """Kills what the process started where it hangs, and whatever happens in the test."""
    alarm = threading.Timer(DEADLINE_S, lambda: everything(process, Path()))
    alarm.start()
    try:
        yield
    finally:
        alarm.cancel()
        if process.poll() is None:
            everything(process, Path())


def everything(process: Process, folder: Path) -> None:
    """kill -9 of the process and of all that it started."""
    os.killpg(process.pid, signal.SIGKILL)


def rank_one(process: Process, folder: Path) -> None:
    """kill -9 of the process with this rank among those that work for `folder`; each has a session of its own."""
    for number, variables in _working_for(folder):
        if b"RANK=1" in variables:
            os.kill(number, signal.SIGKILL)
            return
    pytest.fail("rank 1 is not to be found")


def all_processes_are_asked(process: Process, folder: Path) -> None:
    """SIGTERM to the launcher, the ranks and what they started, as scancel and systemd send it."""
    for number, _ in _working_for(folder):
        os.kill(number, signal.SIGTERM)


def _working_for(folder: Path) -> list[tuple[int, list[bytes]]]:
    """Numbers and environments of the processes with this output folder among their words."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"--output_dir={folder}".encode() in words:
            found.append((int(entry.name), variables))
    return found


def main_process(process: Process, folder: Path) -> None:
    """SIGTERM, as a user or a scheduler asks one process to end."""
    process.terminate()


def everybody_is_asked(process: Process, folder: Path) -> None:
    """SIGTERM as timeout, Slurm or torchrun send it: the processes that read data are asked, too."""
    os.killpg(process.pid, signal.SIGTERM)
