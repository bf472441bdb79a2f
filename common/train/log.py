# SPDX-License-Identifier: Apache-2.0
"""The log of a run: lines on screen and in a file, a progress bar on a terminal, metrics.jsonl, TensorBoard."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import common.distributed

from tqdm import tqdm

WARM_UP_STEPS = 2  # left out of the throughput


class Log:
    """The log of one rank: rank 0 writes to the screen and keeps the metrics, each rank has a file of lines."""

    def __init__(self, metrics: Path, lines: Path, tensorboard: Path | None = None, fresh: bool = False) -> None:
        """`metrics`: metrics.jsonl. `lines`: folder of `train_<rank>.log`. `tensorboard`: its folder.

        Continues the files of an earlier run unless `fresh`. Raises OSError where they cannot be written.
        """
        self.main = common.distributed.is_main()
        self.folder, self.began = lines, time.time()
        self._bar: tqdm[Any] = tqdm(disable=True)
        # a single process has the number of the device that names the folder
        is_device = common.distributed.world_size() == 1 and lines.name.isdecimal()
        number = lines.name if is_device else common.distributed.rank()
        self._files = contextlib.ExitStack()
        places = (lines / f"train_{number}.log", metrics if self.main else Path(os.devnull))
        for place in places:
            place.parent.mkdir(parents=True, exist_ok=True)
            if not fresh and place.is_file() and place.read_bytes()[-1:] not in (b"", b"\n"):
                with place.open("a") as file:
                    file.write("\n")  # ends half a line, which a kill or a full disk left
        self._lines, self._metrics = (
            self._files.enter_context(place.open("w" if fresh else "a", buffering=1)) for place in places
        )
        self._board: Any = None
        if self.main and tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                self.line("note: no TensorBoard curves: pip install tensorboard")
            else:
                self._board = self._files.enter_context(SummaryWriter(str(tensorboard)))

    def line(self, text: str) -> None:
        """One line: in the rank's file, and of rank 0 on screen."""
        self._lines.write(text + "\n")
        if self.main:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()

    def quiet_line(self, text: str) -> None:
        """A routine line: always in the file, on screen only without a progress bar."""
        if self._bar.disable:
            self.line(text)
        else:
            self._lines.write(text + "\n")

    def record(self, event: str, **values: Any) -> None:
        """Appends one line to metrics.jsonl."""
        self._metrics.write(json.dumps({"event": event, "at": round(time.time(), 3), **values}) + "\n")

    def scalars(self, group: str, values: dict[str, float], step: int) -> None:
        """Curves for TensorBoard."""
        if self._board:
            for name, value in values.items():
                self._board.add_scalar(f"{group}/{name}", value, step)

    def progress(self, begin: int, end: int, title: str) -> Iterable[int]:
        """The numbers of the steps of an epoch that are left, counted from 1; with a bar on the terminal of rank 0."""
        shown = self.main and sys.stderr.isatty()
        steps = range(begin + 1, end + 1)
        self._bar = tqdm(steps, title, end, leave=False, initial=begin, dynamic_ncols=True, disable=not shown)
        return self._bar

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Closes the files; the last line of the rank's file is the error that ended the run."""
        if error is not None:
            self._lines.write(f"ended by {type(error).__name__}: {error}\n")
        self._bar.close()
        self._files.close()


class Throughput:
    """Seconds a step and images a second, without the first steps of the process and without pauses."""

    step_s = data_s = 0.0  # of the last step; `data_s`: waiting for data
    mean_step_s = mean_data_s = 0.0  # after the warm-up; during it, of the last step

    def __init__(self, images_per_step: int) -> None:
        self.images_per_step = images_per_step
        self._steps = -WARM_UP_STEPS
        self.resume()

    def resume(self) -> None:
        """Starts the clock of a step: after a pause for evaluation, or at the beginning."""
        self._started = time.perf_counter()

    def step(self, data_s: float) -> None:
        """Ends a step; it waited `data_s` for data."""
        now = time.perf_counter()
        self.step_s, self.data_s, self._started = now - self._started, data_s, now
        self._steps += 1
        share = 1 / max(1, self._steps)
        self.mean_step_s += share * (self.step_s - self.mean_step_s)
        self.mean_data_s += share * (data_s - self.mean_data_s)

    @property
    def images_per_s(self) -> float:
        """Over all ranks."""
        return self.images_per_step / self.mean_step_s if self.mean_step_s else 0.0

    def rates(self) -> dict[str, float]:
        """The means, as metrics.jsonl names them."""
        return {"images_per_s": self.images_per_s, "step_s": self.mean_step_s, "data_s": self.mean_data_s}
