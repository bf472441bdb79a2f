# SPDX-License-Identifier: Apache-2.0
"""The real programs, launchers and scripts, run as a user runs them: in processes, with their words and exit codes."""

import atexit
import multiprocessing.forkserver
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path

import common.parallel
import common.train.checkpoint

import pytest
import torch

ROOT = Path(__file__).parents[2]
DEADLINE_S = 300
_SMALL = """--device=cpu --net_input_size=32 --batch_size=4 --print_freq=1 --amp=O0 --checkpoint_path=none --recipe=full
    --step=1 --epochs=1 --base_height=64 --val_images=2"""
SMALL_TRAINING = tuple(_SMALL.split())  # of Lightweight OpenPose: seconds
IMPORTED = ["common.train.loop", "common.bottomup.pipeline", "common.topdown.pipeline", "common.runtime.export"]
IMPORTED.append("torch._dynamo")  # which the first optimiser imports
Done = subprocess.CompletedProcess[str]


def environment(**more: str) -> dict[str, str]:
    """One thread a process: sums are added up in one order."""
    return {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **more}


def done(*command: str, cwd: Path | None = None, **more: str) -> Done:
    """Runs a command to its end; `more` are variables of its environment."""
    words = {"env": environment(**more), "cwd": cwd, "timeout": DEADLINE_S}
    return subprocess.run(command, capture_output=True, text=True, check=False, **words)


def launcher(model: str, name: str, *flags: str) -> Done:
    """Runs <model>/test/<name> to its end."""
    return done("bash", str(ROOT / model / "test" / name), *flags)


def started(*command: str) -> "subprocess.Popen[str]":
    """Starts a command in a process group of its own; its output is to be read."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, env=environment(), start_new_session=True, **pipes)


def module(name: str, *flags: str, cwd: Path | None = None, **more: str) -> Done:
    """Runs `python -m <name>` to its end.

    The process comes from a server that has imported torch, OpenCV and numba: that is most of what a program does
    before it complains of a flag. All have the server's hash seed and first random state: where two runs must be equal,
    `done` or `started` has to start one of them.
    """
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder, "out"), Path(folder, "err")
        words = (name, flags, cwd or Path.cwd(), environment(**more), said)
        process = server().Process(target=_run, args=words)
        process.start()
        process.join(DEADLINE_S)
        if process.exitcode is None:
            process.kill()
            process.join()
            pytest.fail(f"{name} {flags} did not end: {said[0].read_text()} {said[1].read_text()}")
        return Done([name, *flags], process.exitcode, *(path.read_text() for path in said))


def snippet(code: str, *flags: str, **more: str) -> Done:
    """Runs a program's text as `python -c` does, in a process as `module` makes them."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "program.py")
        file.write_text(code)
        return module(str(file), *flags, **more)


@cache
def server() -> ForkServerContext:
    """Makes processes that have imported torch, OpenCV and numba."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # torch looks at it when it is imported
        patch.setenv("PYTHONPATH", str(ROOT))
        multiprocessing.forkserver.ensure_running()
    return context


def _run(name: str, flags: Sequence[str], cwd: Path, variables: Mapping[str, str], said: tuple[Path, Path]) -> None:
    for path, number in zip(said, (1, 2), strict=True):
        with path.open("w") as file:
            os.dup2(file.fileno(), number)
    common.parallel.end_with_parent(os.getppid())
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = [name, *flags]
    sys.path.insert(0, str(cwd))  # as by `python -m`
    atexit._clear()  # what is registered is the server's
    try:
        if name.endswith(".py"):
            runpy.run_path(name, run_name="__main__")
        else:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves them out: readers would be waited for without end


def launch_command(name: str, folder: Path, *flags: str, ranks: int = 1) -> list[str]:
    """What the launchers run: `python -m <name>` on `ranks` ranks, with logs in a folder."""
    return [sys.executable, "-m", "common.launch", f"--ranks={ranks}", f"--log_dir={folder}", "-m", name, *flags]


def launched(name: str, folder: Path, *flags: str, ranks: int = 1, cwd: Path | None = None) -> Done:
    """Runs `launch_command` to its end."""
    command = launch_command(name, folder, *flags, ranks=ranks)
    return module(*command[2:], cwd=cwd) if ranks == 1 else done(*command, cwd=cwd)


def complaint(run: Done) -> str:
    """The one line that a program ended with."""
    assert run.returncode == 2, run.stdout + run.stderr
    lines = [line for line in run.stderr.splitlines() if line and not line.startswith("note: ")]
    assert len(lines) == 1 and lines[0].startswith("error: "), run.stderr
    return lines[0]


def weights(folder: Path, name: str = common.train.checkpoint.LAST) -> dict[str, torch.Tensor]:
    """The state dict of a checkpoint."""
    return common.train.checkpoint.state_dict(common.train.checkpoint.read(folder / name))


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two state dicts are the same to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
