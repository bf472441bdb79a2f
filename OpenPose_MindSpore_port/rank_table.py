# SPDX-License-Identifier: Apache-2.0
"""Ranks from HCCL's rank table: `python -m OpenPose_MindSpore_port.rank_table TABLE LAUNCHER [--flag=value]`

starts a launcher of test/ with the ranks that the table gives this server, on the devices that it names. A table of
several servers is used on each of them; the ranks meet at the server of rank 0, port MASTER_PORT. On a machine without
accelerators the ranks share the CPU.
"""

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.cli import UserError, run
from common.files import read_json

USAGE = "python -m OpenPose_MindSpore_port.rank_table TABLE LAUNCHER [--flag=value ...]"
PORT = "29500"  # torchrun's own
CURE = "make it with hccl_tools.py"
CPU_RANKS = 8  # the devices of one Ascend server: its table may be tried on any machine


@dataclass(frozen=True)
class Server:
    """A machine of the table; `devices` in the order of their ranks, the first of them `first_rank`."""

    server_id: str  # its address
    first_rank: int
    devices: tuple[int, ...]


def read(path: Path) -> list[Server]:
    """The servers of a table, that of rank 0 first.

    Raises UserError, naming the file: not JSON, a missing key, a number that is none, a rank or a device given twice,
    ranks with gaps, or servers that cannot be joined (torchrun starts as many ranks on each).
    """
    table = read_json(path)
    try:
        servers = [_server(path, entry) for entry in table["server_list"]]
    except UserError:
        raise
    except KeyError as error:
        raise UserError(f"{path}: the rank table has no {error}: {CURE}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: not a rank table ({error}): {CURE}") from error
    servers.sort(key=lambda server: server.first_rank)
    sizes = {len(server.devices) for server in servers}
    if not servers or len(sizes) > 1:
        raise UserError(f"{path}: every server must have the same number of devices, found {sorted(sizes)}")
    size = sizes.pop()
    starts = [server.first_rank for server in servers]
    if starts != [number * size for number in range(len(servers))]:
        raise UserError(f"{path}: ranks must run from 0 without gaps, server by server; servers begin at {starts}")
    return servers


def _server(path: Path, entry: Mapping[str, Any]) -> Server:
    name = str(entry["server_id"])
    device_of_rank: dict[int, int] = {}
    for device in entry["device"]:
        rank, number = _whole(device["rank_id"]), _whole(device["device_id"])
        if rank in device_of_rank or number in device_of_rank.values():
            raise UserError(f"{path}: server {name} has rank {rank} or device {number} twice: each may stand once")
        device_of_rank[rank] = number
    ranks = sorted(device_of_rank)
    if not ranks or ranks != list(range(ranks[0], ranks[0] + len(ranks))):
        raise UserError(f"{path}: server {name} needs devices with ranks in a row, found ranks {ranks}: {CURE}")
    if (least := min(device_of_rank.values())) < 0:
        raise UserError(f"{path}: server {name} has device {least}, they count from 0: {CURE}")
    return Server(name, ranks[0], tuple(device_of_rank[rank] for rank in ranks))


def _whole(value: str | int) -> int:
    """HCCL writes numbers as texts. Raises ValueError where it is no whole number, which `int` would cut off."""
    if not str(value).removeprefix("-").isdecimal():
        raise ValueError(f"{str(value)[:20]!r} is no whole number")
    return int(str(value))


def own(path: Path, servers: Sequence[Server]) -> int:
    """Which of the servers this machine is: the only one, or that whose address is ours (NODE_RANK says it too).

    Raises UserError where none is.
    """
    if len(servers) == 1:
        return 0
    if os.environ.get("NODE_RANK", "").isdecimal():
        return int(os.environ["NODE_RANK"])
    for number, server in enumerate(servers):
        if _is_own(server.server_id):
            return number
    names = ", ".join(server.server_id for server in servers)
    raise UserError(f"{path}: no address of this machine is among its servers {names}; NODE_RANK=0, 1, ... names one")


def _is_own(address: str) -> bool:
    """Whether this machine has an address: then it is also the one that a way to it begins at."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 1))  # sends nothing
            return str(probe.getsockname()[0]) == address
    except OSError:
        return False


def check_devices(path: Path, server: Server) -> None:
    """Raises UserError where the table names devices that this machine does not have."""
    from common import device  # loads torch, which a wrong table need not wait for

    kind = next((kind for kind in ("npu", "cuda") if device.count(kind)), "cpu")
    there = device.count(kind)
    if kind == "cpu":
        there = max(CPU_RANKS, os.cpu_count() or 1)
        absent = [f"rank {server.first_rank + place}" for place in range(there, len(server.devices))]
    else:
        absent = [f"device {number}" for number in server.devices if number >= there]
    if absent:
        has = f"{there} {kind} devices" if kind != "cpu" else f"no accelerator, and runs {there} ranks at most"
        raise UserError(
            f"{path}: names {len(server.devices)} devices, this machine has {has} ({absent[0]} is too many): make "
            "the table anew with hccl_tools.py"
        )


def environment(servers: Sequence[Server], number: int) -> dict[str, str]:
    """Variables for the launcher of the server of this number: its devices, and where the servers meet."""
    server = servers[number]
    devices = ",".join(map(str, server.devices))
    variables = {"ASCEND_RT_VISIBLE_DEVICES": devices, "CUDA_VISIBLE_DEVICES": devices}
    if len(servers) > 1:
        variables |= {"NNODES": str(len(servers)), "NODE_RANK": str(number), "MASTER_ADDR": servers[0].server_id}
        variables["MASTER_PORT"] = os.environ.get("MASTER_PORT", PORT)
    return variables


def main(words: Sequence[str]) -> None:
    """Becomes the launcher, with the table's number of ranks; the exit status is the run's."""
    if len(words) < 2 or words[0].startswith("-"):
        raise UserError(f"usage: {USAGE}")
    path = Path(words[0])
    servers = read(path)
    number = own(path, servers)
    if number >= len(servers):
        raise UserError(f"NODE_RANK={number}: {path} has {len(servers)} servers")
    check_devices(path, servers[number])
    command = ["bash", words[1], f"--ranks={len(servers[number].devices)}", *words[2:]]
    sys.stdout.flush()
    os.execvpe(command[0], command, {**os.environ, **environment(servers, number)})


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
