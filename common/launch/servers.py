# SPDX-License-Identifier: Apache-2.0
"""The servers that train together: their number, the rendezvous, and the network devices that they use."""

import contextlib
import errno
import fcntl
import os
import re
import socket
import struct
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

from common.cli import UserError, environment_number

PORT, LARGEST_PORT = 29400, 65535  # the first is torchrun's
MEETING_TIMEOUT_S = 600  # that servers wait for each other: at the start, and for a lost one
LAST_CALL_S = 15  # that a sufficient number of servers waits for more
ANSWER_S = 5
INTERFACE_ADDRESS = 0x8915  # SIOCGIFADDR


@dataclass(frozen=True)
class Servers:
    """The servers that train together, as a launcher knows them before the rendezvous."""

    ranks: int  # of each server
    least: int = 1
    most: int = 1
    host: str = ""  # of the rendezvous
    port: int = PORT
    run_id: str = ""
    number: int | None = None  # of this server; None: they are numbered when they have met

    @staticmethod
    def of(flags: Mapping[str, str], ranks: int) -> "Servers":
        """From --nnodes, --rdzv_endpoint, --rdzv_id, or the variables in their place. Raises UserError."""
        name, text = ("--nnodes", flags["nnodes"]) if "nnodes" in flags else ("NNODES", os.environ.get("NNODES", "1"))
        counts = re.fullmatch(r"(\d{1,5})(?::(\d{1,5}))?", text)
        least, most = (int(counts[1]), int(counts[2] or counts[1])) if counts else (0, 0)
        if not 1 <= least <= most:
            raise UserError(f"{name}={text}: how many servers, such as 2, or from how many to how many, such as 1:4")
        if most == 1:
            return Servers(ranks)
        number = environment_number("NODE_RANK", 0) if os.environ.get("NODE_RANK") else None
        if number is not None and number >= most:
            raise UserError(f"NODE_RANK={number}: with {name}={text} from 0 to {most - 1}")
        variables = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
        if not flags.get("rdzv_endpoint") and (missing := [one for one in variables if not os.environ.get(one)]):
            raise UserError(
                f"{name}={text} without {', '.join(missing)}: type --rdzv_endpoint=HOST:PORT of one of the servers; or "
                f"set NODE_RANK (0 to {most - 1}, another one on each server), MASTER_ADDR and MASTER_PORT (of the "
                "server with NODE_RANK=0)"
            )
        endpoint = flags.get("rdzv_endpoint") or f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        host, _, port = endpoint.rpartition(":") if ":" in endpoint else (endpoint, ":", str(PORT))
        if not host or not port.isdecimal() or not 1 <= int(port) <= LARGEST_PORT:
            shown = f"--rdzv_endpoint={endpoint}" if flags.get("rdzv_endpoint") else f"MASTER_PORT={port}"
            raise UserError(f"{shown}: a port from 1 to {LARGEST_PORT}, as in host:{PORT}")
        return Servers(ranks, least, most, host.strip("[]"), int(port), flags.get("rdzv_id") or endpoint, number)

    @property
    def are_numbered(self) -> bool:
        """Whether ranks follow NODE_RANK: the number of servers is fixed, and each one has a number."""
        return self.number is not None and self.least == self.most

    def meet(self) -> tuple[str, list[str]]:
        """A name for this server, and torchrun's options, as soon as a server answers at the endpoint.

        Raises UserError where none does, or its port is taken.
        """
        if self.most == 1:
            return "0", ["--standalone"]
        patience = environment_number("RDZV_TIMEOUT", MEETING_TIMEOUT_S, least=1)
        address, is_host = self._find_endpoint(patience)
        if name := _interface(address):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)  # gloo would take the device of the host's name
        return address if self.number is None else str(self.number), [
            f"--nnodes={self.least}:{self.most}",
            "--rdzv_backend=c10d",
            f"--rdzv_endpoint={self.host}:{self.port}",
            f"--rdzv_id={self.run_id}",
            f"--local_addr={address}",
            f"--rdzv_conf=is_host={is_host},join_timeout={patience},last_call_timeout={LAST_CALL_S}",
        ]

    def _find_endpoint(self, patience: int) -> tuple[str, bool]:
        """The address of this server that the others reach, and whether the endpoint is here."""
        deadline = time.monotonic() + patience
        while True:
            try:
                address, endpoint = _own_address(self.host, self.port)
                is_host = self.number == 0 if self.number is not None else address == endpoint
                if is_host:
                    socket.create_server(("", self.port)).close()
                else:
                    socket.create_connection((self.host, self.port), ANSWER_S).close()
                return address, is_host
            except OSError as error:
                reason = error.strerror or error
                if error.errno in (errno.EADDRINUSE, errno.EACCES):
                    raise UserError(
                        f"port {self.port} of this server cannot be had ({reason}): name another one on all servers, "
                        f"or end what uses it: `ss -ltnp sport = :{self.port}` shows it"
                    ) from error
                if time.monotonic() > deadline:
                    raise UserError(
                        f"no answer at {self.host}:{self.port} for {patience} s ({reason}): start the same command on "
                        "that server; else check name and port, and that no firewall separates the servers, on "
                        "any port"
                    ) from error
            time.sleep(1)


def _own_address(host: str, port: int) -> tuple[str, str]:
    """This server's address towards `host`, and that of `host`. Raises OSError; UserError."""
    family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(place)  # sends nothing
        own, found = str(probe.getsockname()[0]), str(place[0])
    if found.startswith("127.") and not host.startswith(("127.", "localhost")):
        raise UserError(f"{host} is {found} on this server (/etc/hosts): name the address that the others know")
    return own, found


def _interface(address: str) -> str:
    """The name of the network device with this address; empty if there is none, or it is unknown."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex() if sys.platform == "linux" else ():
            with contextlib.suppress(OSError):  # it has no address
                answer = fcntl.ioctl(probe, INTERFACE_ADDRESS, struct.pack("256s", name.encode()))
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return ""
