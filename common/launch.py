# SPDX-License-Identifier: Apache-2.0
"""Starts a program once a rank: `python -m common.launch --ranks=8 --log_dir=logs -m Package.train --flag=value ...`

One rank on one machine runs in this very process; more go through torchrun, which also joins machines: set NNODES,
NODE_RANK, MASTER_ADDR and MASTER_PORT on each. A rank that dies ends the others; MAX_RESTARTS=n in the environment
starts all again so many times (each goes on from its last checkpoint). Ranks end when their launcher does. After the
run its result file and final lines are written, see `common.report`.
"""

import logging
import os
import runpy
import shutil
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import common.parallel
import common.report
from common.cli import USAGE_EXIT_CODE, UserError, environment_number, run

USAGE = "python -m common.launch --ranks=N --log_dir=FOLDER -m MODULE [--flag=value ...]"
MEETING_TIMEOUT_S = 600  # that machines wait for each other: at the start, and for one that has to come back
LARGEST_PORT = 65535


def main(words: list[str]) -> None:
    """Runs the module on one rank or several, then reports. Raises UserError for more ranks than devices."""
    if "-m" not in words[:3] or len(words) < 4:
        raise UserError(f"usage: {USAGE}")
    ranks = _rank_count(words[0].removeprefix("--ranks="))
    log_folder = Path(words[1].removeprefix("--log_dir="))
    module, arguments = words[3], words[4:]
    began = time.perf_counter()
    try:
        _run(ranks, log_folder, module, arguments)
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    if environment_number("NNODES", 1, least=1) > 1 and environment_number("NODE_RANK", 0) > 0:
        return  # rank 0's machine reports
    for line in common.report.write(log_folder, time.perf_counter() - began):
        sys.stdout.write(line + "\n")


def _run(ranks: int, log_folder: Path, module: str, arguments: list[str]) -> None:
    machines, restarts = environment_number("NNODES", 1, least=1), environment_number("MAX_RESTARTS", 0)
    if machines == 1:
        _check_started_once()
    if ranks == machines == 1 and not restarts:
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        _check_devices(ranks, arguments)
        _torchrun(ranks, log_folder, [*_machine_options(machines), f"--max_restarts={restarts}"], [module, *arguments])


def _check_started_once() -> None:
    from common import distributed  # loads torch

    distributed.check_started_once()


def _missing(error: ModuleNotFoundError) -> Exception:
    """A package that this Python lacks, in one line; the error itself where it is a part of this project."""
    package = (error.name or "").split(".")[0]
    if (Path(__file__).parents[1] / package).is_dir():
        return error
    return UserError(
        f"{sys.executable} has no {package}: install requirements.txt there, or name another Python with "
        "PYTHON=/path/to/python"
    )


def _rank_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"--ranks={text}: a whole number, at least 1")
    return int(text)


def _check_devices(ranks: int, arguments: list[str]) -> None:
    """Says once, before any rank starts, that there are too few devices; a CPU serves any number of ranks."""
    from common import device

    flags = dict(word.lstrip("-").split("=", 1) for word in arguments if word.startswith("--device="))
    name = flags.get("device", "auto")
    if name in ("npu", "cuda") or (name == "auto" and any(map(device.count, ("npu", "cuda")))):
        kind = device.resolve(name).type  # type: ignore[arg-type]
        if ranks > (available := device.count(kind)):
            raise UserError(device.too_few(kind, ranks, available))


def _machine_options(machines: int) -> list[str]:
    """How torchrun finds the other machines. Raises UserError where a variable is missing or wrong."""
    if machines == 1:
        return ["--standalone"]
    missing = [name for name in ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise UserError(
            f"NNODES={machines} without {', '.join(missing)}: set NODE_RANK (0 to {machines - 1}, another one on each "
            "machine), MASTER_ADDR and MASTER_PORT (of the machine with NODE_RANK=0)"
        )
    number, address, port = environment_number("NODE_RANK", 0), os.environ["MASTER_ADDR"], _port()
    if number >= machines:
        raise UserError(f"NODE_RANK={number}: with NNODES={machines} from 0 to {machines - 1}")
    return [
        f"--nnodes={machines}", "--rdzv_backend=c10d", f"--rdzv_endpoint={address}:{port}", "--rdzv_id=pose_zoo",
        f"--rdzv_conf=is_host={number == 0},read_timeout={MEETING_TIMEOUT_S},join_timeout={MEETING_TIMEOUT_S}",
        f"--local_addr={_own_address(address, port)}",
    ]  # fmt: skip


def _port() -> int:
    port = environment_number("MASTER_PORT", 0, least=1)
    if port > LARGEST_PORT:
        raise UserError(f"MASTER_PORT={port}: at most {LARGEST_PORT}")
    return port


def _own_address(master: str, port: int) -> str:
    """Where the other machines reach this one: the address that it speaks to the master from."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(master, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(place)  # sends nothing
            return str(probe.getsockname()[0])
    except OSError as error:
        raise UserError(f"MASTER_ADDR={master}: cannot be reached ({error.strerror})") from error


def _torchrun(ranks: int, log_folder: Path, options: list[str], program: list[str]) -> None:
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous.api import RendezvousError

    # Without it a restart may meet the addresses of the attempt before and hang (pytorch issue 135712).
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks)))
    os.environ[common.parallel.LAUNCHER] = str(os.getpid())
    logging.disable(logging.ERROR)  # torchrun's traces hide the rank's own words
    quiet = ",".join(f"{rank}:3" for rank in range(1, ranks))  # rank 0 keeps the terminal, the others have files
    outputs = log_folder / f"{common.report.OUTPUTS_OF_RANKS}_{environment_number('NODE_RANK', 0)}"
    options = [*options, f"--nproc_per_node={ranks}", f"--log_dir={outputs}"]
    try:
        shutil.rmtree(outputs, ignore_errors=True)  # of the run before: torchrun makes a new folder for each
        outputs.mkdir(parents=True, exist_ok=True)
        run.main([*options, *([f"--redirects={quiet}"] if quiet else []), "-m", *program])
    except ChildFailedError as error:
        sys.exit(_say_why(error.failures, environment_number("NODE_RANK", 0) * ranks, log_folder))
    except SignalException as error:
        sys.exit(128 + error.sigval.value)
    except RendezvousError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UserError(f"the machines did not meet at MASTER_ADDR, or one of them has left: {reason}") from error


def _say_why(failures: Mapping[int, Any], first_rank: int, log_folder: Path) -> int:
    """Says on the last line what ended the run; the exit code. `failures`: torchrun's, of the ranks that have ended."""
    failure = min(failures.values(), key=_order)
    rank, code = first_rank + failure.local_rank, failure.exitcode
    if isinstance(failure.message, dict):
        line = failure.message["message"]
        line = line if rank == 0 or code == USAGE_EXIT_CODE else line.replace("error: ", f"error: rank {rank}: ", 1)
    else:
        how = f"exit code {code}" if code > 0 else f"signal {failure.signal_name()}"
        line = f"error: rank {rank} ended with {how}"
    logs = "" if code == USAGE_EXIT_CODE else f"; ranks' logs: {log_folder}"
    sys.stdout.flush()
    sys.stderr.write(f"{line}{logs}\n")
    return int(code if code > 0 else 128 - code)


def _order(failure: Any) -> tuple[bool, bool, bool, float]:
    """What makes a failure the first: ranks complain of a lost neighbour soon after one was killed or gave up.

    A rank that SIGTERM has ended was told to by torchrun, whose times are whole seconds: it comes last.
    """
    stopped = failure.exitcode == -signal.SIGTERM
    killed = failure.exitcode < 0 and not stopped
    told = failure.exitcode == USAGE_EXIT_CODE
    at = failure.message["extraInfo"]["time"] if isinstance(failure.message, dict) else failure.timestamp
    return stopped, not killed, not told, failure.local_rank if told else at


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
