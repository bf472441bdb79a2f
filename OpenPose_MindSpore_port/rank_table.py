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
from pathlib import Path
from typing import Any, NamedTuple

from common.cli import UserError, run
from common.files import read_json

USAGE = "python -m OpenPose_MindSpore_port.rank_table TABLE LAUNCHER [--flag=value ...]"
PORT = "29500"  # torchrun's own


class Server(NamedTuple):
    """A machine of the table: its address; `devices` in the order of their `ranks`."""

    ranks: tuple[int, ...]
    devices: tuple[int, ...]
    address: str


def read(path: Path) -> list[Server]:
    """The servers of a table, that of rank 0 first.

    Raises UserError, naming the file: not JSON, a missing key, a number that is none, a device given twice, or ranks
    with gaps or not as many on each server, which is how torchrun starts them.
    """
    table = read_json(path)
    try:
        servers = sorted(_server(entry) for entry in table["server_list"])
        count = len(servers[0].ranks)
        if any(list(server.ranks) != list(range(n * count, (n + 1) * count)) for n, server in enumerate(servers)):
            raise ValueError("ranks must run from 0 without gaps, as many on each server")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else error
        raise UserError(f"{path}: not a rank table: {what}; make it with hccl_tools.py") from error
    return servers


def _server(entry: Mapping[str, Any]) -> Server:
    pairs = sorted((_whole(device["rank_id"]), _whole(device["device_id"])) for device in entry["device"])
    ranks, devices = tuple(rank for rank, _ in pairs), tuple(device for _, device in pairs)
    if not devices or len(set(devices)) < len(devices):
        raise ValueError(f"server {entry['server_id']} has no devices, or one twice")
    return Server(ranks, devices, str(entry["server_id"]))


def _whole(value: str | int) -> int:
    """HCCL writes numbers as text. Raises ValueError for anything but a whole number from 0, which `int` cuts off."""
    if not str(value).isdecimal():
        raise ValueError(f"{str(value)[:20]!r} is no whole number")
    return int(value)


def own(path: Path, servers: Sequence[Server]) -> int:
    """Which of the servers this machine is: the only one, that of NODE_RANK, or that whose address is ours.

    Raises UserError where none is.
    """
    stated = os.environ.get("NODE_RANK", "")
    for number, server in enumerate(servers):
        if len(servers) == 1 or (str(number) == stated if stated else _is_own(server.address)):
            return number
    names = ", ".join(server.address for server in servers)
    raise UserError(
        f"{path}: this machine is none of its {len(servers)} servers {names} (NODE_RANK={stated}); NODE_RANK=0, 1, ... "
        "names one"
    )


def _is_own(address: str) -> bool:
    """Whether this machine has an address: then it is also the one that a way to it begins at."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 1))  # sends nothing
            return str(probe.getsockname()[0]) == address
    except OSError:
        return False


def environment(servers: Sequence[Server], number: int) -> dict[str, str]:
    """Variables for the launcher of the server of this number: its devices, and where the servers meet."""
    devices = ",".join(map(str, servers[number].devices))
    variables = {"ASCEND_RT_VISIBLE_DEVICES": devices, "CUDA_VISIBLE_DEVICES": devices}
    if len(servers) > 1:
        variables |= {"NNODES": str(len(servers)), "NODE_RANK": str(number), "MASTER_ADDR": servers[0].address}
        variables["MASTER_PORT"] = os.environ.get("MASTER_PORT", PORT)
    return variables


def main(words: Sequence[str]) -> None:
    """Becomes the launcher, with the table's number of ranks; the exit status is the run's."""
    if len(words) < 2 or words[0].startswith("-"):
        raise UserError(f"usage: {USAGE}")
    servers = read(Path(words[0]))
    number = own(Path(words[0]), servers)
    command = ["bash", words[1], f"--ranks={len(servers[number].ranks)}", *words[2:]]
    os.execvpe(command[0], command, {**os.environ, **environment(servers, number)})


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
