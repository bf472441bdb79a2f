# SPDX-License-Identifier: Apache-2.0
"""Ray: on this machine, bounded and for this process alone, or the cluster of RAY_ADDRESS."""

import contextlib
import logging
import os
import socket
import tempfile
from collections.abc import Generator, Iterator
from typing import Any

import common.device
from common.cli import UserError
from tools.bulk.job import Job
from tools.bulk.worker import Worker
from tools.models import Spec

import ray
import ray.data

STORE_BYTES = 80 << 20  # the least that Ray takes; shards are numbers
WORKER_BYTES = 1.5e9
ACCELERATORS = {"cuda": "GPU", "npu": "NPU"}  # as Ray counts them
ACCELERATOR_BATCH, CPU_BATCH = 32, 4  # images
MOST_THREADS = 16  # of a worker
PATIENCE_S = 10  # with a cluster
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # of every client of gRPC
QUIET = logging.ERROR
MOST_BLOCKS = 10_000  # of shards: Ray keeps each in mind
RETRIES = 5  # of a worker that ends before it has begun


def results(
    job: Job, spec: Spec, to_do: list[int], batch_size: int, workers: int
) -> Generator[dict[str, Any], None, None]:
    """The reports of `Worker`, shard by shard. Raises UserError: no cluster, no device, workers that die."""
    with _started():
        device, devices = _devices(spec)
        count = min(workers or devices, len(to_do))
        size = batch_size or (CPU_BATCH if device == "cpu" else ACCELERATOR_BATCH)
        threads = min(MOST_THREADS, max(1, int(ray.cluster_resources()["CPU"] // count)))
        share = min(1.0, devices / count)  # of a device, a worker's
        shards = ray.data.from_items([{"shard": n} for n in to_do], override_num_blocks=min(len(to_do), MOST_BLOCKS))
        done = shards.map(
            Worker,
            fn_constructor_args=(job, spec, size, threads),
            compute=ray.data.ActorPoolStrategy(size=count),
            num_cpus=1 if device != "cpu" else share,
            num_gpus=share if device == "cuda" else 0,
            resources={"NPU": share} if device == "npu" else None,
        )
        yield from done.iter_rows()


@contextlib.contextmanager
def _started() -> Iterator[None]:
    """Ray for the duration of the block; a Ray started here leaves no processes or files."""
    address = os.environ.get("RAY_ADDRESS", "")
    with tempfile.TemporaryDirectory(prefix="bulk", ignore_cleanup_errors=True) as folder:
        _join(address) if address else _begin(folder)
        try:
            _quiet()
            yield
        finally:
            with _no_notes():  # of shards that are given up
                ray.shutdown()


def _begin(folder: str) -> None:
    """Ray on this machine, for this process alone. Raises UserError where it does not start."""
    options = {"address": "local", "num_cpus": common.device.cpu_count(), "object_store_memory": STORE_BYTES}
    try:
        with _no_notes():
            ray.init(**options, include_dashboard=False, _temp_dir=folder, log_to_driver=False, logging_level=QUIET)
    except Exception as error:  # Ray has no other name for a machine that is too busy
        reason = str(error).partition(". ")[0]
        cure = "look at what keeps this machine busy, at its memory and its disk, then type the command again"
        raise UserError(f"Ray does not start: {reason}; {cure}") from error


def _join(address: str) -> None:
    """The cluster there. Raises UserError where there is none."""
    try:
        _check_answers(address)
        with _no_notes():
            ray.init(log_to_driver=False, logging_level=QUIET)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).split(". ")[0]
        cure = "start Ray there, check port and firewall, or unset RAY_ADDRESS"
        raise UserError(f"RAY_ADDRESS={address}: {reason}; {cure}") from error


def _check_answers(address: str) -> None:
    """Raises OSError if no server speaks gRPC: Ray itself would retry for minutes, or forever."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    with socket.create_connection((host.strip("[]"), int(port)), PATIENCE_S) as server:
        server.sendall(GREETING)
        if server.recv(1) not in (b"\0", b"\x15"):  # a frame of HTTP/2, or an alert of TLS
            raise ConnectionError("something else than Ray answers")


@contextlib.contextmanager
def _no_notes() -> Iterator[None]:
    """Hides a line of Ray's C++ part about its log level; its errors are exceptions."""
    screen, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(screen, 2)
        os.close(screen)
        os.close(nowhere)


def _quiet() -> None:
    """Ray Data does not log its plans, waits for long shards, and restarts workers."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1
    context.max_consecutive_actor_init_deaths = RETRIES
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)


def _devices(spec: Spec) -> tuple[str, int]:
    """The kind of device that the workers compute on, and how many there are; cores as far as memory goes."""
    total = ray.cluster_resources()
    for kind, name in ACCELERATORS.items():
        if total.get(name) and spec.device in ("auto", kind):
            return kind, int(total[name])
    if spec.device not in ("auto", "cpu"):
        raise UserError(f"--device={spec.device}: Ray finds no such device; type --device=cpu")
    return "cpu", max(1, int(min(total["CPU"], total["memory"] / WORKER_BYTES)))
