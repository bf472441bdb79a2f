# SPDX-License-Identifier: Apache-2.0
"""What a run leaves for the ModelZoo's result file, which the launcher writes, see `common.launch.result_file`."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from common import files

RUN_FILE = "run.json"  # in the log folder
ACCURACY = "acc"  # the name of an accuracy among the losses


@dataclass(frozen=True)
class Run:
    """What a run leaves for the report."""

    network: str
    kind: str  # perf | acc | eval
    ranks: int
    batch_size: int
    metrics: str  # path of metrics.jsonl
    folder: str  # gets a copy of the log folder
    began: float  # records of metrics.jsonl before it belong to an earlier run

    @property
    def case(self) -> str:
        """The published case name."""
        if self.kind == "eval":
            return f"{self.network}_1p_eval"
        return f"{self.network}_bs{self.batch_size}_{self.ranks}p_{self.kind}"

    def leave(self, logs: Path) -> None:
        """Writes run.json."""
        files.write_atomically(logs / RUN_FILE, json.dumps(asdict(self), indent=1).encode())
