# SPDX-License-Identifier: Apache-2.0
"""Ranks: which of torchrun's processes this is, and how the processes communicate."""

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import common.cli
import common.device
from common.cli import environment_number
from common.parallel import LAUNCHER, RECIPE_RANKS

import torch
import torch.distributed
from torch import Tensor, nn

T = TypeVar("T")


def world_size() -> int:
    """How many processes train together; 1 without torchrun."""
    return environment_number("WORLD_SIZE", 1, least=1)


def recipe_ranks() -> int:
    """The number of ranks that a recipe's batch is for: of all servers, even while some are lost."""
    return environment_number(RECIPE_RANKS, world_size(), least=1)


def rank() -> int:
    """This process's number among all. With NODE_RANK it follows the server's number, not the order of arrival."""
    if _servers_are_numbered():
        return environment_number("NODE_RANK", 0) * environment_number("LOCAL_WORLD_SIZE", 1) + local_rank()
    return environment_number("RANK", 0)


def local_rank() -> int:
    """This process's number on its machine, which is its device's, too."""
    return environment_number("LOCAL_RANK", 0)


def _servers_are_numbered() -> bool:
    """Whether the launcher fixed this server's number for its ranks: torchrun numbers servers arbitrarily."""
    return LAUNCHER in os.environ and "NODE_RANK" in os.environ


def num_cores() -> int:
    """Cores per rank on this machine."""
    return max(1, common.device.cpu_count() // environment_number("LOCAL_WORLD_SIZE", world_size(), least=1))


def check_started_once() -> None:
    """Raises UserError where MPI or Slurm started several processes that would not know of each other."""
    if "RANK" in os.environ or "WORLD_SIZE" in os.environ:
        return
    names = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")
    name = next((name for name in names if name in os.environ), "")
    if name and (count := environment_number(name, 1)) > 1:
        raise common.cli.UserError(
            f"{name}={count}, but RANK and WORLD_SIZE are not set: each of these processes would train alone. "
            f"Start one, which starts the others: bash test/train_full_8p.sh --ranks={count}; or `unset {name}`"
        )


def may_be_elsewhere() -> bool:
    """Whether rank 0, which keeps the files, may be another server's after a failure."""
    return world_size() > environment_number("LOCAL_WORLD_SIZE", world_size()) and not _servers_are_numbered()


def is_main() -> bool:
    """Whether this process writes the files."""
    return rank() == 0


@contextlib.contextmanager
def process_group(name: common.device.DeviceName) -> Iterator[torch.device]:
    """The device of this rank, and the ranks joined for as long as the context lasts.

    Raises UserError where there are more ranks than accelerators.
    """
    check_started_once()
    if rank() >= world_size():
        raise common.cli.UserError(f"RANK={rank()} in the environment: below WORLD_SIZE={world_size()}")
    device = common.device.resolve(name, local_rank())
    if world_size() == 1:
        yield device
        return
    if device.type == "cpu":
        torch.set_num_threads(num_cores())
    timeout = datetime.timedelta(seconds=common.device.collective_timeout_s(device))
    try:
        _join(common.device.BACKENDS[device.type], timeout)
    except (RuntimeError, ValueError) as error:
        if isinstance(error, RuntimeError) and LAUNCHER in os.environ:  # lost in the rendezvous: repeat it
            raise
        raise common.cli.UserError(f"rank {rank()} could not join the others: {str(error).splitlines()[0]}") from error
    yield device
    torch.distributed.destroy_process_group()  # not after an error: the others may never reach it


def _join(backend: str, timeout: datetime.timedelta) -> None:
    if not _servers_are_numbered():
        torch.distributed.init_process_group(backend, timeout=timeout)
        return
    if world_size() != recipe_ranks():
        raise ValueError(f"{world_size()} ranks instead of {recipe_ranks()}: type the same --ranks on every server")
    is_host = environment_number("RANK", 0) == 0  # torchrun's rank: MASTER_ADDR is that process's machine
    place = os.environ["MASTER_ADDR"], environment_number("MASTER_PORT", 0)
    store = torch.distributed.TCPStore(*place, world_size(), is_host, timeout)  # type: ignore[attr-defined]
    if store.add(f"rank {rank()}", 1) > 1:
        raise ValueError("another server has the same NODE_RANK")
    torch.distributed.init_process_group(backend, store=store, rank=rank(), world_size=world_size(), timeout=timeout)


def wrap(model: nn.Module, device: torch.device) -> nn.Module:
    """The model itself, or one whose gradients are averaged over the ranks. Rank 0's buffers apply to all."""
    if not torch.distributed.is_initialized():
        return model
    devices = None if device.type == "cpu" else [device.index]
    return nn.parallel.DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)


def no_sync(network: nn.Module, is_partial: bool) -> contextlib.AbstractContextManager[Any]:
    """`is_partial`: gradients stay on their rank, as for all but the last micro-batch of an accumulated step."""
    if is_partial and isinstance(network, nn.parallel.DistributedDataParallel):
        return network.no_sync()
    return contextlib.nullcontext()


def communication_s(network: nn.Module) -> float:
    """Seconds of a step in which gradients are exchanged and no backward pass hides it: a mean over steps that torch
    samples; 0 on one rank."""
    if not isinstance(network, nn.parallel.DistributedDataParallel):
        return 0.0
    times: dict[str, int] = network._get_ddp_logging_data()  # type: ignore[no-untyped-call]
    hidden_ns = times.get("avg_backward_compute_comm_overlap_time", 0)
    return max(0, times.get("avg_backward_comm_time", 0) - hidden_ns) / 1e9


def sync_buffers(model: nn.Module) -> None:
    """Gives every rank rank 0's buffers (running means): what is evaluated and saved is then one model."""
    if torch.distributed.is_initialized():
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, src=0)


def mean(values: Tensor) -> Tensor:
    """The mean over the ranks of a tensor of any shape."""
    if torch.distributed.is_initialized():
        values = values.clone()
        torch.distributed.all_reduce(values)
        values /= world_size()
    return values


def gather_objects(item: T) -> list[T]:
    """Every rank's item, on every rank, in the order of the ranks."""
    if not torch.distributed.is_initialized():
        return [item]
    items: list[Any] = [None] * world_size()
    torch.distributed.all_gather_object(items, item)
    return items


def broadcast_object(item: T) -> T:
    """Rank 0's item, on every rank."""
    if not torch.distributed.is_initialized():
        return item
    items = [item]
    torch.distributed.broadcast_object_list(items, src=0)
    return items[0]


def main_process_first(make: Callable[[], T]) -> T:
    """`make()` on rank 0, then on the first rank of each machine, then on all others, which see what was written."""
    turn = 0 if is_main() else 1 if local_rank() == 0 else 2
    for number in range(3):
        if number == turn:
            result = make()
        barrier()
    return result


def barrier() -> None:
    """Waits for all ranks."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
