# SPDX-License-Identifier: Apache-2.0
"""How far a job is: lines on screen, and metrics.jsonl."""

import datetime
import json
import time
from typing import Any, TextIO

from common import cli
from tools.bulk.job import Job

METRICS = "metrics.jsonl"
REPORT_EVERY_S = 5.0


class Progress:
    """Counts the shards of this call; those of earlier calls do not count for its speed."""

    def __init__(self, job: Job, to_do: list[int], file: TextIO) -> None:
        self.job, self.left, self.file = job, sum(map(job.size, to_do)), file
        self.images = self.people = self.failures = 0
        self.began = self.reported = float("inf")

    def shard(self, row: dict[str, Any]) -> None:
        """Reports a finished shard, see `Worker`. Raises UserError if it failed."""
        if row["error"]:
            raise cli.UserError(row["error"])
        now, size = time.time(), self.job.size(row["shard"])
        self.images, self.left = self.images + size, self.left - size
        self.people, self.failures = self.people + row["people"], self.failures + row["failures"]
        self.began = min(self.began, row["began"])  # the clock starts when the first network does
        rate = self.images / max(now - self.began, 1e-9)
        self.record("shard", images=size, images_per_s=round(rate, 3), remaining_s=round(self.left / rate, 1), **row)
        if now - self.reported > REPORT_EVERY_S or self.reported == float("inf") or not self.left:
            self.reported = now
            left = datetime.timedelta(seconds=round(self.left / rate))
            done = self.job.num_images - self.left
            self.say(
                f"{done} of {self.job.num_images} images, {rate:.1f} images/s, {self.people} people, "
                f"{self.failures} failures, {left} left"
            )

    def record(self, event: str, **values: Any) -> None:
        """A line of metrics.jsonl."""
        self.file.write(json.dumps({"event": event, "at": round(time.time(), 3), **values}) + "\n")

    @staticmethod
    def say(line: str) -> None:
        """A line on screen."""
        print(line, flush=True)  # noqa: T201  the program's answer
