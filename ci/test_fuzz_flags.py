# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D103  a test says in its name what it checks
"""A sample of ci/fuzz_flags.py: every program refuses a wrong value in one line, or takes it, before it begins."""

from collections import Counter
from typing import Any
from unittest import mock

import common.distributed
from common import cli

import fuzz_flags

COUNT, SECONDS = 300, 60


def test_wrong_values_are_refused_in_one_line_or_taken() -> None:
    checked = cli.check_values

    def then_stop(config: Any) -> Any:
        values = checked(config)
        if not hasattr(type(config), "yaml"):
            raise fuzz_flags.TooLong
        return values  # of a training that checks the keys of its yaml config before its ranks meet

    ends: Counter[str] = Counter()
    with (
        mock.patch.object(cli, "check_values", then_stop),
        mock.patch.object(common.distributed, "process_group", side_effect=fuzz_flags.TooLong),
        fuzz_flags.working_folder(),
    ):
        for program, words in fuzz_flags.cases(COUNT, seed=3):
            end, line = fuzz_flags.outcome(program, words, SECONDS)
            assert end in ("refused", "understood", "too long"), f"{program} {words[-1]!r}: {line}"
            assert "\n" not in line and len(line) < 3000
            ends[end] += 1
    assert ends["refused"] > COUNT / 2
