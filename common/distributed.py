# SPDX-License-Identifier: Apache-2.0
"""Ranks: who we are among the processes that torchrun started, and how the processes speak to each other."""

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import common.cli
import common.device

import torch
import torch.distributed
from torch import Tensor, nn

T = TypeVar("T")


def world_size() -> int:
    """How many processes train together; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Our number among all processes."""
    return int(os.environ.get("RANK", 0))


def local_rank() -> int:
    """Our number among the processes of this machine: the device that is ours."""
    return int(os.environ.get("LOCAL_RANK", 0))


def is_main() -> bool:
    """Whether this process writes the files."""
    return rank() == 0


@contextlib.contextmanager
def joined(name: common.device.DeviceName) -> Iterator[torch.device]:
    """The device of this rank, and the ranks joined for as long as the context lasts.

    Raises UserError where there are more ranks than accelerators.
    """
    device = common.device.resolve(name, local_rank())
    if device.type == "cpu" and world_size() > 1:
        _share_cores()
    if world_size() == 1:
        yield device
        return
    timeout = datetime.timedelta(seconds=common.device.collective_timeout_s(device))
    try:
        torch.distributed.init_process_group(common.device.backend(device), timeout=timeout)
    except (RuntimeError, ValueError) as error:
        raise common.cli.UserError(f"rank {rank()} could not join the others: {str(error).splitlines()[0]}") from error
    try:
        yield device
    finally:
        torch.distributed.destroy_process_group()


def _share_cores() -> None:
    local_ranks = int(os.environ.get("LOCAL_WORLD_SIZE", world_size()))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(max(1, cores // local_ranks))


def is_joined() -> bool:
    """Whether there are other ranks to speak to."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def wrap(model: nn.Module, device: torch.device) -> nn.Module:
    """The model itself, or one whose gradients are averaged over the ranks. Rank 0's buffers hold for all."""
    if not is_joined():
        return model
    devices = None if device.type == "cpu" else [device.index]
    return nn.parallel.DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)


def without_reduction(network: nn.Module, wanted: bool) -> contextlib.AbstractContextManager[Any]:
    """Where `wanted`, gradients stay on their rank: all but the last part of an accumulated batch."""
    if wanted and isinstance(network, nn.parallel.DistributedDataParallel):
        return network.no_sync()
    return contextlib.nullcontext()


def share_buffers(model: nn.Module) -> None:
    """Gives every rank rank 0's buffers (running means): what is evaluated and saved is then one model."""
    if is_joined():
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, src=0)


def mean(values: Tensor) -> Tensor:
    """The mean over the ranks of a tensor of any shape."""
    if is_joined():
        values = values.clone()
        torch.distributed.all_reduce(values)
        values /= world_size()
    return values


def gather_objects(item: T) -> list[T]:
    """Every rank's item, on every rank, in the order of the ranks."""
    if not is_joined():
        return [item]
    items: list[Any] = [None] * world_size()
    torch.distributed.all_gather_object(items, item)
    return items


def from_main(item: T) -> T:
    """Rank 0's item, on every rank."""
    if not is_joined():
        return item
    items = [item]
    torch.distributed.broadcast_object_list(items, src=0)
    return items[0]


def main_first(make: Callable[[], T]) -> T:
    """`make()` on rank 0, then on the others, which find what it has written."""
    if not is_main():
        barrier()
        return make()
    result = make()
    barrier()
    return result


def barrier() -> None:
    """Waits for all ranks."""
    if is_joined():
        torch.distributed.barrier()
