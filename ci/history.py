# SPDX-License-Identifier: Apache-2.0
"""What a metrics.jsonl says about its run; a run that was resumed is one run."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.cli import UserError

Record = dict[str, Any]


@dataclass
class History:
    """The records of one run, by event. A step or epoch that was done twice is there once, as done last."""

    start: Record = field(default_factory=dict)
    end: Record = field(default_factory=dict)  # of the last part of a resumed run
    steps: dict[tuple[int, int], Record] = field(default_factory=dict)  # by epoch and step
    evaluations: dict[int, Record] = field(default_factory=dict)  # by epoch; -1 where the run was no training

    def add(self, record: Record) -> None:
        """Takes one record."""
        match record["event"]:
            case "start":
                self.start = record
            case "end":
                self.end = record
            case "step":
                self.steps[record["epoch"], record["step"]] = record
            case "evaluate":
                self.evaluations[record.get("epoch", -1)] = record

    @property
    def epochs(self) -> list[float]:
        """For each of `steps`, the epochs that were done after it."""
        longest = max((step + 1 for _, step in self.steps), default=1)
        return [epoch + (step + 1) / longest for epoch, step in self.steps]


def read(path: str | Path) -> History:
    """The run of a metrics.jsonl; a line that a killed part of it left half written is passed over.

    Raises UserError where the file is missing or has no record.
    """
    history, found = History(), 0
    try:
        lines = Path(path).read_text().splitlines()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; has the run begun?") from error
    for line in lines:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        history.add(record)
        found += 1
    if not found:
        raise UserError(f"{path}: no record of a run in it")
    history.steps = dict(sorted(history.steps.items()))
    return history
