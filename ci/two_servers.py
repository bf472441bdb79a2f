# SPDX-License-Identifier: Apache-2.0
"""Two servers on one machine: network namespaces with a link between them, fast or slow, that can be lost."""

import contextlib
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

ORPHAN_S = 10
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
RATE, DELAY_S, PACKET = "100mbit", 0.02, 9000


class Server:
    """A network namespace with an address, and at most one launcher in it."""

    def __init__(self, number: int, work: Path) -> None:
        self.name, self.address, self.device = f"pose{number}", f"10.77.0.{number + 1}", f"posev{number}"
        self.words = work / f"server_{number}.txt"
        self.core = sorted(os.sched_getaffinity(0))[number]  # one thread, as a rank of two on one server has
        self.files = Path("/etc/netns") / self.name  # what its processes see in /etc
        self.launcher: subprocess.Popen[bytes] | None = None

    def ip(self, *words: str) -> None:
        ip("netns", "exec", self.name, "ip", *words)

    def start(self, command: list[str]) -> None:
        """Types a command on this server."""
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "MAX_RESTARTS": "100", "RDZV_TIMEOUT": "300"}
        with self.words.open("ab") as file:
            words = ["ip", "netns", "exec", self.name, "taskset", "-c", str(self.core), *command]
            self.launcher = subprocess.Popen(words, stdout=file, stderr=file, env=variables, start_new_session=True)

    def processes(self) -> list[int]:
        """All that run here."""
        return list(map(int, subprocess.run(["ip", "netns", "pids", self.name], capture_output=True).stdout.split()))

    def kill_rank(self) -> None:
        """kill -9 of a rank; of the launcher while it has none."""
        assert self.launcher
        ranks = [number for number in self.processes() if _parent(number) == self.launcher.pid]
        _kill(ranks[0] if ranks else self.launcher.pid)

    def kill_launcher(self) -> None:
        """kill -9 of the launcher: what it started has to end by itself."""
        assert self.launcher
        _kill(self.launcher.pid)
        self.launcher.wait()
        began = time.monotonic()
        while self.processes():
            if time.monotonic() > began + ORPHAN_S:
                raise SystemExit(f"orphans on {self.name}: {self.processes()}")
            time.sleep(0.1)

    def kill(self) -> None:
        """kill -9 of everything, then the link goes down, for a moment."""
        for number in self.processes():
            _kill(number)
        if self.launcher:
            self.launcher.wait()
        self.cut_off()
        time.sleep(2)
        self.ip("link", "set", self.device, "up")

    def cut_off(self) -> None:
        """Its link goes down, in both directions."""
        self.ip("link", "set", self.device, "down")


def ip(*words: str) -> None:
    """An administrator's command."""
    subprocess.run(["ip", *words], check=True)


def _kill(number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)


def _parent(number: int) -> int:
    try:
        return int(Path(f"/proc/{number}/stat").read_text().rpartition(") ")[2].split()[1])
    except OSError:
        return 0


@contextlib.contextmanager
def two_servers(work: Path, is_slow: bool = False) -> Iterator[list[Server]]:
    """Two servers with a link between them."""
    servers = [Server(number, work) for number in (0, 1)]
    names = "".join(f"{server.address} {server.name}\n" for server in servers)
    for server in servers:
        ip("netns", "add", server.name)
        server.files.mkdir(parents=True, exist_ok=True)
        (server.files / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
        (server.files / "resolv.conf").write_text("nameserver 127.0.0.1\n")  # no server: lookups fail at once
    try:
        _slow_link(servers) if is_slow else ip("link", "add", "posev0", "type", "veth", "peer", "name", "posev1")
        for server in servers:
            ip("link", "set", server.device, "netns", server.name)
            server.ip("address", "add", f"{server.address}/24", "dev", server.device)
            server.ip("link", "set", "lo", "up")
            server.ip("link", "set", server.device, "up")
            if is_slow:
                limit = ["tbf", "rate", RATE, "burst", "64kb", "latency", "400ms"]
                ip("netns", "exec", server.name, "tc", "qdisc", "add", "dev", server.device, "root", *limit)
        yield servers
    finally:
        for server in servers:
            for number in server.processes():
                _kill(number)
            if server.launcher:
                server.launcher.wait()
            subprocess.run(["ip", "netns", "delete", server.name], check=False)
            shutil.rmtree(server.files, ignore_errors=True)


def _slow_link(servers: list[Server]) -> None:
    """Two tunnels whose packets this process hands over after a while: not every kernel has netem."""
    ends = []
    for server in servers:
        ends.append(os.open("/dev/net/tun", os.O_RDWR))
        fcntl.ioctl(ends[-1], TUNSETIFF, struct.pack("16sH22x", server.device.encode(), IFF_TUN | IFF_NO_PI))
        ip("link", "set", server.device, "mtu", str(PACKET))
    for source, target in (ends, ends[::-1]):
        under_way: deque[tuple[float, bytes]] = deque()
        threading.Thread(target=_take, args=(source, under_way), daemon=True).start()
        threading.Thread(target=_deliver, args=(target, under_way), daemon=True).start()


def _take(source: int, under_way: deque[tuple[float, bytes]]) -> None:
    with contextlib.suppress(OSError):  # the end of the link
        while True:
            packet = os.read(source, PACKET + 100)
            under_way.append((time.monotonic() + DELAY_S, packet))


def _deliver(target: int, under_way: deque[tuple[float, bytes]]) -> None:
    while True:
        if not under_way:
            time.sleep(0.0005)
            continue
        due, packet = under_way.popleft()
        time.sleep(max(0.0, due - time.monotonic()))
        with contextlib.suppress(OSError):
            os.write(target, packet)
