# SPDX-License-Identifier: Apache-2.0
"""A training program that something happens to: `FAULT="raise step 0" python -m common.test.fault MODULE [FLAG ...]`.

FAULT is what happens (raise; raise_always: in a restart, too; kill; kill_launcher), where, and to which rank: at a
reader's first sample, at the second step, or before the ranks of an evaluation meet. `run` starts such a program, waits
for its end and looks for what it left behind.
"""

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common.bottomup.pipeline
import common.train.loader
from common.test.programs import environment, launch_command

import torch

HANGS_AFTER_S = 120
MARK = "POSE_ZOO_TEST"  # variable that all processes of a run have
AT = {"reader": 1, "step": 2, "evaluation": 1}  # which call of the place
PLACES = {
    "reader": (common.train.loader.Readable, "__getitem__"),
    "step": (torch.Tensor, "backward"),
    "evaluation": (common.bottomup.pipeline, "concatenate"),
}


def main() -> None:
    what, where, rank = os.environ["FAULT"].split()
    owner, name = PLACES[where]
    original, calls = getattr(owner, name), []

    def faulty(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == AT[where] and os.environ.get("RANK", "0") == rank:
            strike(what)
        return original(*arguments, **named)

    setattr(owner, name, faulty)
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def strike(what: str) -> None:
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0" and what != "raise_always":
        return
    Path(os.environ["FAULT_TIME"]).write_text(str(time.time()))
    if what.startswith("raise"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    os.kill(os.getppid() if what == "kill_launcher" else os.getpid(), signal.SIGKILL)
    time.sleep(HANGS_AFTER_S)


@dataclass
class Outcome:
    """How such a run ended."""

    code: int
    said: str
    seconds: float  # from the fault to the end of the last process
    left: list[int]  # processes that are still there


def run(fault: str, folder: Path, module: str, *flags: str, ranks: int = 1, **variables: str) -> Outcome:
    """Runs `python -m common.launch ... -m common.test.fault MODULE FLAGS` to its end."""
    mark = uuid.uuid4().hex
    folder.mkdir(exist_ok=True)
    at = folder / f"fault-{mark}"
    command = launch_command("common.test.fault", folder / "logs", module, *flags, ranks=ranks)
    variables = environment(FAULT=fault, FAULT_TIME=str(at), **{MARK: mark}, **variables)
    process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said = process.communicate(timeout=HANGS_AFTER_S)[0]  # all that hold the pipe have ended
    except subprocess.TimeoutExpired:
        process.kill()
        said = "it hangs"
    ended = time.time()
    left = marked(mark)
    for number in left:
        os.kill(number, signal.SIGKILL)
    return Outcome(process.wait(), said, ended - float(at.read_text()) if at.exists() else -1.0, left)


def marked(mark: str) -> list[int]:
    """The processes with this mark that are not zombies."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


if __name__ == "__main__":
    main()
