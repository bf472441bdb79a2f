# SPDX-License-Identifier: Apache-2.0
"""Starts a program once a rank: `python -m common.launch --ranks=8 --log_dir=logs -m Package.train --flag=value ...`

One rank on one server runs in this very process; more go through torchrun. On several servers type the same command on
each, with `--nnodes=2 --rdzv_endpoint=HOST:PORT`, HOST one of them; `--nnodes=1:4` trains with as many as there are. Or
set NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT. A lost rank or server ends the attempt; MAX_RESTARTS (0 on one
server, else 3) is how often all start again, each time from the last checkpoint. Ranks end when their launcher does.
After the run its result file and final lines are written, see `common.launch.result_file`.
"""

import runpy
import sys
import time
from pathlib import Path

from common.cli import UserError, environment_number, run
from common.launch import result_file
from common.launch.servers import Servers

USAGE = (
    "python -m common.launch --ranks=N --log_dir=FOLDER [--nnodes=2 or 1:4 --rdzv_endpoint=HOST:PORT --rdzv_id=NAME] "
    "-m MODULE [--flag=value ...]"
)
RESTARTS = 3  # of a run on several servers
FLAGS = {"ranks", "log_dir", "nnodes", "rdzv_endpoint", "rdzv_id"}


def main(argv: list[str]) -> None:
    """Runs the module on one rank or several, then reports. Raises UserError for invalid flags."""
    end = argv.index("-m") if "-m" in argv[:-1] else 0
    if {"-h", "--help"} & set(argv[: end or None]):
        sys.stdout.write(f"usage: {USAGE}\n\n{__doc__}")
        return
    flags = dict(word.removeprefix("--").partition("=")[::2] for word in argv[:end])
    if not {"ranks", "log_dir"} <= flags.keys() <= FLAGS:
        raise UserError(f"usage: {USAGE}")
    if not flags["ranks"].isdecimal() or int(flags["ranks"]) < 1:
        raise UserError(f"--ranks={flags['ranks']}: a whole number, at least 1")
    servers, log_folder, began = Servers.of(flags, int(flags["ranks"])), Path(flags["log_dir"]), time.perf_counter()
    try:
        is_first = _run(servers, log_folder, argv[end + 1], argv[end + 2 :])
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if (Path(__file__).parents[2] / package).is_dir():  # a part of this project
            raise
        cure = "install requirements.txt there, or name another Python with PYTHON=/path/to/python"
        raise UserError(f"{sys.executable} has no {package}: {cure}") from error
    for line in result_file.write(log_folder, time.perf_counter() - began) if is_first and "--help" not in argv else ():
        sys.stdout.write(line + "\n")


def _run(servers: Servers, log_folder: Path, module: str, arguments: list[str]) -> bool:
    """Runs the module; whether rank 0 was here."""
    restarts = environment_number("MAX_RESTARTS", 0 if servers.most == 1 else RESTARTS)
    if servers.most == 1:
        from common import distributed  # loads torch

        distributed.check_started_once()
    if servers.ranks == servers.most == 1 and not restarts:
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return True
    _check_devices(servers.ranks, arguments)
    from common.launch import torchrun  # loads torch

    return torchrun.run(servers, restarts, log_folder, [module, *arguments])


def _check_devices(ranks: int, arguments: list[str]) -> None:
    """Reports once, before any rank starts, that there are too few devices."""
    from common import device

    names = [word.removeprefix("--device=") for word in arguments if word.startswith("--device=")]
    name = names[-1] if names else "auto"
    if name in ("npu", "cuda") or (name == "auto" and any(map(device.count, ("npu", "cuda")))):
        device.resolve(name, ranks - 1)  # type: ignore[arg-type]


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
