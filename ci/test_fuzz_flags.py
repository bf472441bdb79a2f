# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D103  a test says in its name what it checks
"""A sample of ci/fuzz_flags.py: every program refuses a wrong value in one line, or takes it, before it begins."""

from collections import Counter
from typing import Any
from unittest import mock

from common import cli

import fuzz_flags

COUNT, SECONDS = 300, 60


def test_wrong_values_are_refused_in_one_line_or_taken() -> None:
    checked = cli.check_values

    def then_stop(config: Any) -> None:
        checked(config)
        raise fuzz_flags.TooLong

    ends: Counter[str] = Counter()
    with mock.patch.object(cli, "check_values", then_stop), fuzz_flags.working_folder():
        for program, words in fuzz_flags.cases(COUNT, seed=3):
            end, line = fuzz_flags.outcome(program, words, SECONDS)
            assert end in ("refused", "understood", "too long"), f"{program} {words[-1]!r}: {line}"
            assert "\n" not in line and len(line) < 3000
            ends[end] += 1
    assert ends["refused"] > COUNT / 3  # values of keys are looked at after these
