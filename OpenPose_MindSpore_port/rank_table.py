# SPDX-License-Identifier: Apache-2.0
"""Ranks from HCCL's rank table: `python -m OpenPose_MindSpore_port.rank_table TABLE LAUNCHER [--flag=value]`

starts a launcher of test/ with the ranks that the table gives this server, on the devices that it names. A table of
several servers is used on each of them; they meet at the server of rank 0, port MASTER_PORT. On a machine without
accelerators the ranks share the CPU.
"""

import contextlib
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.cli import UserError, environment_number, run
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

    Raises UserError, naming the file: not JSON, a missing key, an invalid number, a device named twice, or ranks
    with gaps or not equally many on each server, as torchrun needs.
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
    pairs = sorted((int(str(device["rank_id"])), int(str(device["device_id"]))) for device in entry["device"])
    ranks, devices = tuple(rank for rank, _ in pairs), tuple(device for _, device in pairs)
    if not devices or len(set(devices)) < len(devices) or min(devices) < 0:
        raise ValueError(f"server {entry['server_id']} has no devices, or one twice, or a negative one")
    return Server(ranks, devices, str(entry["server_id"]))


def number_of_this(path: Path, servers: Sequence[Server]) -> int:
    """Which of the servers this machine is: that of NODE_RANK, else that whose address is its own. Raises UserError."""
    if len(servers) == 1:
        return 0
    if "NODE_RANK" in os.environ:
        return environment_number("NODE_RANK", 0)
    for number, server in enumerate(servers):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((server.address, 0))  # a machine may only bind its own addresses
            return number
    raise UserError(f"{path}: no address of {len(servers)} servers is this machine's: NODE_RANK=0, 1, ... names one")


def environment(path: Path, servers: Sequence[Server], number: int) -> dict[str, str]:
    """Variables for the launcher on this server: its devices, and the rendezvous."""
    if number >= len(servers):
        raise UserError(f"{path}: has {len(servers)} servers, none for NODE_RANK={number}")
    devices = ",".join(map(str, servers[number].devices))
    variables = {"ASCEND_RT_VISIBLE_DEVICES": devices, "CUDA_VISIBLE_DEVICES": devices}
    if len(servers) > 1:
        variables |= {"NNODES": str(len(servers)), "NODE_RANK": str(number), "MASTER_ADDR": servers[0].address}
        variables["MASTER_PORT"] = os.environ.get("MASTER_PORT", PORT)
    return variables


def main(words: Sequence[str]) -> None:
    """Replaces this process by the launcher, with the table's number of ranks."""
    if len(words) < 2 or words[0].startswith("-"):
        raise UserError(f"usage: {USAGE}")
    path, servers = Path(words[0]), read(Path(words[0]))
    number = number_of_this(path, servers)
    variables = environment(path, servers, number)
    command = ["bash", words[1], f"--ranks={len(servers[number].ranks)}", *words[2:]]
    os.execvpe(command[0], command, {**os.environ, **variables})


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
