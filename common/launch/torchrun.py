# SPDX-License-Identifier: Apache-2.0
"""Several ranks through torchrun's elastic agent: attempts, how they end, and the line that reports it."""

import logging
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import common.parallel
from common.cli import USAGE_EXIT_CODE, UserError
from common.launch.result_file import OUTPUTS_OF_RANKS
from common.launch.servers import Servers

import torch.distributed.launcher.api
import torch.distributed.run
from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous.api import RendezvousClosedError, RendezvousError, RendezvousTimeoutError

EXIT_BARRIER_S = 30  # that a server that is done waits for the others


class Agent(LocalElasticAgent):
    """torchrun's agent, which does not retry what only a user can fix, and notices a silent server."""

    group_rank: int | None = 0  # of the newest agent: this server's number in the rendezvous

    def __init__(self, *words: Any, **named: Any) -> None:
        super().__init__(*words, **{**named, "exit_barrier_timeout": EXIT_BARRIER_S})

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        result: RunResult = super()._monitor_workers(worker_group)
        Agent.group_rank = worker_group.group_rank
        rendezvous: Any = self._rdzv_handler
        holder, met = getattr(rendezvous, "_state_holder", None), worker_group.group_world_size or 0
        if any(failure.exitcode == USAGE_EXIT_CODE for failure in result.failures.values()):
            self._remaining_restarts = 0
            settings = getattr(rendezvous, "settings", None)
            if settings and settings.min_nodes < settings.max_nodes:  # torchrun would end the others, too
                rendezvous.shutdown = lambda: True
        elif result.state == WorkerState.HEALTHY and holder and 0 < len(holder.state.participants) < met:
            self._shutdown(signal.SIGKILL)  # ranks wait for those of the silent server, and ignore signals
            result.state = WorkerState.UNHEALTHY
        return result


def run(servers: Servers, restarts: int, log_folder: Path, program: list[str]) -> bool:
    """Runs `python -m <program>` on all ranks, retrying up to `restarts` times; returns whether rank 0 was here.

    Ends the process with the line and the exit code of the rank that failed first. Raises UserError where the servers
    do not meet.
    """
    _set_variables(servers)
    logging.disable(logging.ERROR)  # torchrun's traces hide the rank's message
    torch.distributed.launcher.api.LocalElasticAgent = Agent  # type: ignore[attr-defined]
    quiet = ",".join(f"{rank}:3" for rank in range(1, servers.ranks))  # rank 0 keeps the terminal, others have files
    for left in range(restarts, -1, -1):
        try:
            name, options = servers.meet()
            outputs = log_folder / f"{OUTPUTS_OF_RANKS}_{name}"
            if left == restarts:  # keep the outputs of all attempts of this run
                shutil.rmtree(outputs, ignore_errors=True)
            outputs.mkdir(parents=True, exist_ok=True)
            options += [f"--nproc_per_node={servers.ranks}", *([f"--redirects={quiet}"] if quiet else [])]
            torch.distributed.run.main([*options, f"--max_restarts={left}", f"--log_dir={outputs}", "-m", *program])
            break
        except ChildFailedError as error:
            sys.exit(_say_why(error.failures, servers, log_folder))
        except SignalException as error:
            sys.exit(128 + error.sigval.value)
        except RendezvousClosedError as error:
            raise UserError("another server has ended the run: its last line says why") from error
        except RendezvousTimeoutError as error:
            raise UserError(f"fewer than {servers.least} servers have met: start the same command on each") from error
        except RendezvousError as error:  # the server with the endpoint is gone, and may come back
            if not left:
                raise UserError(f"the server with the endpoint {servers.host}:{servers.port} is lost") from error
    return servers.number == 0 if servers.are_numbered else Agent.group_rank == 0


def _set_variables(servers: Servers) -> None:
    # Without it a restart may meet the addresses of the attempt before and hang (pytorch issue 135712).
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // servers.ranks)))
    os.environ[common.parallel.LAUNCHER] = str(os.getpid())
    os.environ[common.parallel.RECIPE_RANKS] = str(servers.most * servers.ranks)
    if not servers.are_numbered:
        os.environ.pop("NODE_RANK", None)


def _say_why(failures: Mapping[int, Any], servers: Servers, log_folder: Path) -> int:
    """Prints the cause of the end as the last line; returns the exit code. `failures`: torchrun's."""
    number, failure = min(failures.items(), key=lambda item: _order(item[1]))
    rank = servers.number * servers.ranks + failure.local_rank if servers.are_numbered else number  # type: ignore[operator]
    code = failure.exitcode
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
    """Sort key of the first failure: ranks report a lost peer soon after one was killed or gave up.

    Ranks ended by SIGTERM come last: torchrun ends them, and its times are whole seconds.
    """
    stopped = failure.exitcode == -signal.SIGTERM
    killed = failure.exitcode < 0 and not stopped
    is_users = failure.exitcode == USAGE_EXIT_CODE
    at = failure.message["extraInfo"]["time"] if isinstance(failure.message, dict) else failure.timestamp
    return stopped, not killed, not is_users, failure.local_rank if is_users else at
