# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D103  a test says in its name what it checks
"""Flags and launcher commands that people type change only on purpose: ci/golden/ shows every change."""

import frozen
import pytest


@pytest.mark.parametrize("name", frozen.LISTS)
def test_list_is_as_frozen(name: str) -> None:
    kept = (frozen.GOLDEN / name).read_text().splitlines()
    assert list(frozen.LISTS[name]()) == kept, "a change that is meant: python ci/frozen.py, and look at git diff"


def test_known_flags_are_read_back() -> None:
    flags = frozen.known_flags()
    assert {"--data_path", "--recipe", "--opt_level", "--amp"} <= flags["Lightweight_OpenPose/train.py"]
    assert flags["common/launch.py"] == set()
