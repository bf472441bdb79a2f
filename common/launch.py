# SPDX-License-Identifier: Apache-2.0
"""Starts a program once a rank: `python -m common.launch --ranks=8 --log_dir=logs -m Package.train --flag=value ...`

One rank on one machine runs in this very process; more go through torchrun, which also joins machines: set NNODES,
NODE_RANK, MASTER_ADDR and MASTER_PORT as on any torchrun cluster. A rank that dies ends the others; MAX_RESTARTS=n in
the environment starts all again so many times (each goes on from its last checkpoint). After the run its result file
and final lines are written, see `common.report`.
"""

import logging
import os
import runpy
import sys
import time
from pathlib import Path

import common.cli
import common.report

USAGE = "python -m common.launch --ranks=N --log_dir=FOLDER -m MODULE [--flag=value ...]"


def main(words: list[str]) -> None:
    """Runs the module on one rank or several, then reports. Raises UserError for more ranks than devices."""
    if "-m" not in words[:3] or len(words) < 4:
        raise common.cli.UserError(f"usage: {USAGE}")
    ranks = _rank_count(words[0].removeprefix("--ranks="))
    log_folder = Path(words[1].removeprefix("--log_dir="))
    module, arguments = words[3], words[4:]
    began = time.perf_counter()
    if ranks == 1 and os.environ.get("NNODES", "1") == "1":
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        _check_devices(ranks, arguments)
        _torchrun(ranks, log_folder, module, arguments)
    for line in common.report.write(log_folder, time.perf_counter() - began):
        sys.stdout.write(line + "\n")


def _rank_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise common.cli.UserError(f"--ranks={text}: a whole number, at least 1")
    return int(text)


def _check_devices(ranks: int, arguments: list[str]) -> None:
    """Says once, before any rank starts, that there are too few devices; a CPU serves any number of ranks."""
    from common import device

    flags = dict(word.lstrip("-").split("=", 1) for word in arguments if word.startswith("--device="))
    name = flags.get("device", "auto")
    if name in ("npu", "cuda") or (name == "auto" and any(map(device.count, ("npu", "cuda")))):
        kind = device.resolve(name).type  # type: ignore[arg-type]
        if ranks > (available := device.count(kind)):
            raise common.cli.UserError(device.too_few(kind, ranks, available))


def _torchrun(ranks: int, log_folder: Path, module: str, arguments: list[str]) -> None:
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # Without it a restart may meet the addresses of the attempt before and hang (pytorch issue 135712).
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks)))
    log_folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # its traces hide the rank's own words
    options = [f"--nproc_per_node={ranks}", f"--max_restarts={os.environ.get('MAX_RESTARTS', '0')}"]
    nodes = int(os.environ.get("NNODES", "1"))
    if nodes == 1:
        options.append("--standalone")
    else:
        options += [f"--nnodes={nodes}", f"--node_rank={os.environ['NODE_RANK']}"]
        options += [f"--master_addr={os.environ['MASTER_ADDR']}", f"--master_port={os.environ['MASTER_PORT']}"]
    quiet = ",".join(f"{rank}:3" for rank in range(1, ranks))  # rank 0 keeps the terminal, the others have files
    options += [f"--log_dir={log_folder}", f"--redirects={quiet}"] if quiet else []
    try:
        run.main([*options, "-m", module, *arguments])
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        sys.stderr.write(f"error: rank {rank} ended with exit code {failure.exitcode}; ranks' logs: {log_folder}\n")
        sys.exit(failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode)
    except SignalException as error:
        sys.exit(128 + error.sigval.value)


if __name__ == "__main__":
    common.cli.run(lambda: main(sys.argv[1:]))
