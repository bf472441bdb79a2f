# SPDX-License-Identifier: Apache-2.0
"""The checkpoints of a training run: which exist, which one it resumes from, which are kept."""

import itertools
import os
import socket
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import common.distributed
import common.files
import common.train.lock
from common.cli import UserError, settings
from common.train.checkpoint import BEST, LAST, CheckpointError, read, save
from common.train.lock import LOCK_NAME

import torch

PREVIOUS = "previous.pth"  # the state before the last: torch does not notice all damage that a disk does
DAMAGED = "damaged.pth"  # a last state that could not be read
SHARED_WITHIN_S = 40  # that a file server's clients may take to see a new file


def agree_on_recipe(config: Any) -> None:
    """Refuses a server with different code, torch or settings, see `agree`.

    Paths may differ. `config`: TrainFlags of a model; its module's package is the code that counts, with `common`.
    """
    root = Path(__file__).parents[2]
    packages = ("common", type(config).__module__.split(".")[0])
    sources = sorted(path for name in packages for path in (root / name).rglob("*.py"))
    code = {str(path.relative_to(root)): zlib.crc32(path.read_bytes()) for path in sources if "test" not in path.parts}
    flags = {name: str(value) for name, value in settings(config).items() if name not in config.OF_A_SERVER.split()}
    flags = {name: value for name, value in flags.items() if os.sep not in value}
    agree({"torch": torch.__version__, "ranks": common.distributed.recipe_ranks(), **flags, **code})


def agree(facts: Mapping[str, Any]) -> None:
    """Refuses the ranks whose `facts` are not those of most: a UserError names server and difference.

    The others leave with exit code 1: with a range of servers training continues without the refused ones.
    """
    servers, all_facts = zip(*common.distributed.gather_objects((socket.gethostname(), facts)), strict=True)
    most = all_facts.index(max(all_facts, key=all_facts.count))  # rank 0 in doubt
    expected, rank = all_facts[most], common.distributed.rank()
    refused = [other for other, own in enumerate(all_facts) if own != expected]
    if not refused:
        return
    other = rank if rank in refused else refused[0]
    own = all_facts[other]
    names = [name for name in {**expected, **own} if expected.get(name) != own.get(name)]
    differences = "; ".join(f"{name} is {own.get(name)}, not {expected.get(name)}" for name in names)
    line = f"rank {other} on {servers[other]} differs from rank {most} on {servers[most]}: {differences}"
    if other == rank:
        raise UserError(f"{line}: all servers need the same code, torch, data and flags")
    if common.distributed.local_rank() == 0:
        sys.stderr.write(f"note: {line}\n")
    raise SystemExit(1)


class Store:
    """The checkpoints of one run, in one folder: the last two, the best, and every n-th epoch's as far as kept."""

    def __init__(self, folder: Path, keep: int, name_kept: Callable[[int], str] = "checkpoint_{}.pth".format) -> None:
        """`keep`: how many of those stay that have the name `name_kept(epochs done)`."""
        self.folder, self.keep, self.name_kept = folder, keep, name_kept
        self.metrics_file = folder / "metrics.jsonl"  # every number of the run, a line an event

    def unfinished(self, config: Any, num_samples: int, note: Callable[[str], None]) -> dict[str, Any] | None:
        """The state to resume from, on every rank; None for a new run: then call `make_room`, too.

        `config`: a dataclass, with resume and case ("acc" or "perf"). `note` gets what should be logged of it. Raises
        UserError where another process trains in the folder, and where there is a state that cannot be read.
        """
        content = self._take_up(config, num_samples, note) if common.distributed.is_main() else None
        content = common.distributed.broadcast_object(content)
        if common.distributed.may_be_elsewhere():
            self._check_shared()
        return content

    def _take_up(self, config: Any, num_samples: int, note: Callable[[str], None]) -> dict[str, Any] | None:
        common.train.lock.take(self.folder)
        common.files.remove_unfinished(self.folder)
        content = self.newest(note) if config.resume == "auto" else None
        if not content or not (changes := _changes(content, config, num_samples)):
            return content
        if content["epoch"] >= content["epochs"] and not content["pending"]:
            note(f"note: the finished run of this name had other settings: {changes}")
            return None
        note(f"note: settings have changed since: {changes}")
        return content

    def _check_shared(self) -> None:
        """Raises UserError if a server does not see rank 0's folder: as rank 0 it would start over."""
        line = common.distributed.broadcast_object(common.train.lock.line(self.folder))
        deadline = time.monotonic() + SHARED_WITHIN_S
        while (differs := common.train.lock.line(self.folder) != line) and time.monotonic() < deadline:
            time.sleep(1)
        if any(common.distributed.gather_objects(differs)):
            raise UserError(
                f"{self.folder} is not the same folder on all servers: name one on a shared disk with --output_dir; or "
                "fix their number (--nnodes=2) and set NODE_RANK on each, from 0: the first one keeps the checkpoints"
            )

    def newest(self, note: Callable[[str], None]) -> dict[str, Any] | None:
        """The newest readable state, None if there is none; `note` gets what is wrong with a newer one.

        Raises CheckpointError where there are some, and none can be read.
        """
        errors: list[str] = []
        for path in filter(os.path.lexists, (self.folder / LAST, self.folder / PREVIOUS)):
            try:
                content = read(path)
                if "steps_per_epoch" not in content:
                    raise CheckpointError(f"{path}: not the state of a training")
            except CheckpointError as error:
                errors.append(str(error))
                continue
            for damage in errors:
                note(f"note: {damage}; the one before is taken, and this file is kept as {DAMAGED}")
                os.replace(self.folder / LAST, self.folder / DAMAGED)  # the next save would move it over the good one
            return content
        if errors:
            cure = "bring one of them back, or type --resume=no to start over (the folder then gets another name)"
            raise CheckpointError("; ".join([*errors, cure]))
        return None

    def make_room(self, config: Any, note: Callable[[str], None]) -> None:
        """Keeps another run that is in the folder under another name, unless this one only measures speed.

        Every rank calls it, after it has read the weights that it begins with: they may lie there.
        """
        if config.case == "perf":
            return
        common.distributed.barrier()
        kept = common.distributed.broadcast_object(self.set_aside() if common.distributed.is_main() else None)
        if kept:
            note(f"note: the run that was in {self.folder} is kept as {kept.name}")

    def set_aside(self) -> Path | None:
        """Renames the folder where there are checkpoints of an earlier run in it; returns its new name."""
        if not any(os.path.lexists(self.folder / name) for name in (LAST, PREVIOUS, BEST)):
            return None
        folder = self.folder.resolve()
        names = (folder.with_name(f"{folder.name}.old{number}") for number in itertools.count(1))
        other = next(name for name in names if not name.exists())
        os.replace(folder, other)
        folder.mkdir()
        if (other / LOCK_NAME).exists():  # the lock is this process's
            os.replace(other / LOCK_NAME, folder / LOCK_NAME)
        return other

    def save_epoch(self, content: Mapping[str, Any], epoch: int) -> None:
        """Writes a checkpoint that is kept, and removes the oldest of these beyond `keep`."""
        save(self.folder / self.name_kept(epoch), content)
        kept = [path for done in range(1, epoch + 1) if (path := self.folder / self.name_kept(done)).is_file()]
        for path in kept[: -self.keep]:
            path.unlink()


def _changes(content: dict[str, Any], config: Any, num_samples: int) -> str:
    """Changed settings that affect the weights, as `name before -> now`."""
    before = {**content["config"], "samples": content["samples"], "ranks": len(content["random"])}
    now = {**settings(config), "samples": num_samples, "ranks": common.distributed.world_size()}
    compared = [name for name in now if name in before and name not in config.MAY_CHANGE.split()]
    return ", ".join(f"{name} {before[name]} -> {now[name]}" for name in compared if before[name] != now[name])
