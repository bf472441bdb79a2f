# SPDX-License-Identifier: Apache-2.0
"""Batches for the training loop: one stream over all epochs, the same whatever the workers and ranks, resumable."""

import atexit
import functools
import multiprocessing
import re
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import common.distributed
import common.parallel
from common.cli import ImageError, UserError

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

Position = tuple[int, int]  # (epoch, index of a sample): all that a sample's randomness depends on, with the seed
FILES, FILES_PER_WORKER = 128, 32  # open files at a time: of a training; of queues and batches
MAX_SKIPPED = 100  # images in a row that may be unreadable before a data set counts as broken


@dataclass(frozen=True)
class Plan:
    """How a run is divided into optimiser steps, and when it logs, evaluates and saves."""

    epochs: int
    num_samples: int
    micro_batch_size: int  # samples that a rank takes at once
    accumulation_steps: int = 1  # micro-batches of a rank whose gradients are accumulated, where all ranks take part
    asked_images: int = 0  # of a step, before `divide`; 0: as many as there are
    max_steps: int = 0  # of an epoch; 0: as many as the data give
    num_workers: int = 0  # processes of a rank that read images
    clip_norm: float = 0.0  # largest norm of all gradients; 0: no clipping
    log_every: int = 10
    evaluate_every: int = 0  # epochs; 0: never
    save_every: int = 0  # steps, beside the end of each epoch; 0: at the end of epochs only
    keep_every: int = 0  # epochs between checkpoints that stay; 0: none stays
    watched: tuple[str, ...] = ()  # entries among the losses that are logged and not minimised: an accuracy

    @property
    def images_per_step(self) -> int:
        """Over all ranks and micro-batches."""
        return self.micro_batch_size * self.micro_batches

    @property
    def micro_batches(self) -> int:
        """Of a step, over all ranks: as in the recipe, even while fewer ranks share them."""
        return self.accumulation_steps * common.distributed.recipe_ranks()

    @property
    def own_micro_batches(self) -> range:
        """This rank's share of a step, equal to the others' but for one."""
        rank, ranks = common.distributed.rank(), common.distributed.world_size()
        return range(self.micro_batches * rank // ranks, self.micro_batches * (rank + 1) // ranks)

    @property
    def steps_per_epoch(self) -> int:
        """Whole optimiser steps: samples that do not fill a last one are left out."""
        steps = self.num_samples // self.images_per_step
        return min(steps, self.max_steps or steps)


def positions(plan: Plan, seed: int, epoch: int = 0, step: int = 0) -> Iterator[list[Position]]:
    """The positions of every batch of a run, from a step of an epoch on, for this rank.

    One stream over all epochs: workers read the next epoch's first batches while the last steps of this one run.
    Several ranks take what one rank with as many micro-batches would. The order changes with the epoch.
    """
    size = plan.micro_batch_size
    for number in range(epoch, plan.epochs):
        order = np.random.default_rng((seed, number)).permutation(plan.num_samples)
        for done in range(step if number == epoch else 0, plan.steps_per_epoch):
            for begin in (done * plan.images_per_step + size * own for own in plan.own_micro_batches):
                yield [(number, int(index)) for index in order[begin : begin + size]]


def stream(
    samples: Any,
    batches: Iterator[list[Position]],
    collate: Callable[[list[Any]], Any],
    num_workers: int,
    device: torch.device,
    skip_bad: bool = False,
) -> Iterator[Any]:
    """Batches of samples in the order of their positions, made by `num_workers` processes.

    `samples[epoch, index]` is one training sample. Its UserError, of a worker too, arrives in one line; of an
    ImageError `skip_bad` makes a line, and takes the next sample. A worker that dies is a RuntimeError.
    """
    if num_workers:
        _allow_files(FILES + FILES_PER_WORKER * num_workers)
        atexit.register(_kill_children)  # whatever ends the program
    loader: DataLoader[Any] = DataLoader(
        Readable(samples, MAX_SKIPPED if skip_bad else 0),
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=functools.partial(_collated, collate),
        pin_memory=device.type != "cpu",
        worker_init_fn=_quiet_worker,
        generator=torch.Generator(),  # else it draws from the state that training uses
        multiprocessing_context="fork" if num_workers else None,  # workers share the arrays of the data index
    )
    try:
        yield from loader
    except UserError as error:  # a worker's message has the trace before it
        raise type(error)(re.sub(r"(?s)^Caught .* DataLoader worker .*\n[\w.]+: ", "", str(error)).rstrip()) from None


@dataclass(frozen=True)
class Readable(Dataset[Any]):
    """Samples, of which the next one takes the place of one whose image cannot be read, up to `most_skipped` times."""

    samples: Any
    most_skipped: int

    def __getitem__(self, position: Position) -> Any:
        """Raises ImageError for too many in a row."""
        (epoch, index), count = position, len(self.samples)
        for ahead in range(self.most_skipped):
            try:
                return self.samples[epoch, (index + ahead) % count]
            except ImageError as error:
                sys.stderr.write(f"skipped: {error}\n")
        return self.samples[epoch, (index + self.most_skipped) % count]


def _allow_files(needed: int) -> None:
    """Raises this process's limit of open files. Raises UserError where it cannot: readers would wait forever."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != hard < needed:
        cure = f"type `ulimit -n {needed}` before, or --num_workers=0"
        raise UserError(f"{hard} open files are too few for processes that read images: {cure}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))


def _kill_children() -> None:
    """Kills the readers that are left at the exit: multiprocessing would send SIGTERM, which they ignore, and wait."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler calls a killed worker an error
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def workers_for(asked: int, device: torch.device) -> int:
    """Processes that read: as asked, or for -1 one for each core of this rank, one on a CPU that trains."""
    if asked >= 0:
        return asked
    return 1 if device.type == "cpu" else common.distributed.num_cores()


def divide(asked_images: int, num_samples: int, ranks: int, limit: int) -> dict[str, int]:
    """The fields of a Plan that follow from the images a step; a rank takes at most `limit` at once (0: any number).

    Micro-batches that leave no sample out are taken where they are at least half of `limit`. Raises UserError where
    there are fewer samples than ranks.
    """
    images = min(asked_images, num_samples)
    a_rank = images // ranks
    if not a_rank:
        raise UserError(f"{images} images a step for {ranks} ranks: type --ranks={images} at most")
    fewest = -(-a_rank // (limit or a_rank))
    even = (count for count in range(fewest, a_rank + 1) if a_rank % count == 0 and 2 * a_rank >= count * limit)
    steps = next(even, fewest)
    sizes = {"micro_batch_size": a_rank // steps, "accumulation_steps": steps}
    return {"num_samples": num_samples, "asked_images": asked_images, **sizes}


def _collated(collate: Callable[[list[Any]], Any], samples: list[Any]) -> Any:
    """A batch; a worker's is in shared memory. Raises UserError where there is too little of that."""
    batch = collate(samples)
    try:
        for value in batch.values() if get_worker_info() and isinstance(batch, dict) else ():
            if isinstance(value, Tensor):
                value.share_memory_()  # type: ignore[no-untyped-call]
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"a process that reads images cannot hand them on ({error}): enlarge /dev/shm (docker run --shm-size=8g), "
            "or type --num_workers=0"
        ) from error
    return batch


def _quiet_worker(worker: int) -> None:
    """A worker uses one core, ends with its parent, and leaves interrupts to it.

    A request to stop often goes to all processes at once (torchrun, timeout, Slurm): a worker that ended at it would
    take the step away that its parent is about to save.
    """
    parent = multiprocessing.parent_process()
    assert parent and parent.pid
    common.parallel.end_with_parent(parent.pid)
    for request in (signal.SIGINT, signal.SIGTERM):
        signal.signal(request, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
