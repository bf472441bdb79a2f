# SPDX-License-Identifier: Apache-2.0
"""Many clients at once against the page, and how it takes it.

python -m tools.page.test.load --clients=50 --seconds=60 --model=Lightweight_OpenPose:model_best.pth
"""

import http.client
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from common import cli
from common.cli import flag
from tools.models import Spec
from tools.page.models import open_model
from tools.page.test.fake import SPECS, open_fake, png
from tools.page.test.serving import Client, serving

import numpy as np

PAUSE_S = 0.05  # of a client that was sent away


@dataclass(frozen=True)
class Options:
    """Sends one image again and again from many clients."""

    clients: int = flag("at once", 50, least=1, most=1000)
    seconds: float = flag("of it", 60.0, above=0, most=3600)
    model: str = flag("Directory:weights; empty: a network of the tests, which takes no time", "")


@dataclass
class Load:
    """What came back."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)  # of answers with people
    failures: list[str] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)  # of server and worker, over time

    def summary(self) -> str:
        """Rows of a table."""
        middle, late = np.percentile(self.seconds, [50, 99])
        statuses = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items()))
        warm = self.memory_mb[len(self.memory_mb) // 4]
        return (
            f"| answers | {statuses}; {len(self.failures)} failures |\n"
            f"| seconds of an answer with people, median and 99 % | {middle:.2f}, {late:.2f} |\n"
            f"| memory of server and worker after a quarter of the time, and at the end | "
            f"{warm:.0f} MB, {self.memory_mb[-1]:.0f} MB |"
        )


def run(client: Client, clients: int, seconds: float) -> Load:
    """The page under load; `memory_mb` has a value every second."""
    load, end, body = Load(), time.monotonic() + seconds, png()
    threads = [threading.Thread(target=_client, args=(client.port, body, end, load)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        load.memory_mb.append(_resident_mb("self") + _resident_mb(client.page.queue.worker.process_id))
        time.sleep(1)
    for thread in threads:
        thread.join()
    return load


def _client(port: int, body: bytes, end: float, load: Load) -> None:
    while time.monotonic() < end:
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("POST", "/api/people", body)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            load.failures.append(repr(error))
            continue
        finally:
            connection.close()
        load.statuses[answer.status] += 1
        if answer.status == 200:
            load.seconds.append(time.monotonic() - began)
        else:
            time.sleep(PAUSE_S)


def _resident_mb(process: int | str) -> float:
    with open(f"/proc/{process}/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))


def main() -> None:
    """The command line."""
    options = cli.parse(Options, {})
    specs = [Spec.of(options.model)] if options.model else SPECS
    with serving(specs=specs, open_spec=open_model if options.model else open_fake) as client:
        print(run(client, options.clients, options.seconds).summary())
        assert client.ask("/api/people", png()).status == 200


if __name__ == "__main__":
    cli.run(main)
