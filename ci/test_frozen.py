# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D103  a test says in its name what it checks
"""Flags and launcher commands that people type change only on purpose: ci/golden/ shows every change."""

from typing import get_args

from tools import compare

import frozen
import pytest


@pytest.mark.parametrize("name", frozen.LISTS)
def test_list_is_as_frozen(name: str) -> None:
    kept = (frozen.GOLDEN / name).read_text().splitlines()
    assert list(frozen.LISTS[name]()) == kept, "a change that is meant: python ci/frozen.py, and look at git diff"


def test_known_flags_are_read_back() -> None:
    flags = frozen.known_flags()
    assert {"--data_path", "--recipe", "--opt_level", "--amp"} <= flags["Lightweight_OpenPose/train.py"]
    assert flags["common/launch/__main__.py"] == set()


@pytest.mark.parametrize("network", get_args(compare.Network))
def test_all_five_know_what_compare_types(network: str) -> None:
    known, config = frozen.known_flags(), compare.Config(network=network, checkpoint_path="a.pth", data_path="mini")
    typed = [(program, words) for _, program, words in compare.programs(config)]
    typed += [compare.evaluation(config, name) for name in compare.FORMATS]
    for program, words in typed:
        assert {word.split("=")[0] for word in words} <= known[program.replace(".", "/") + ".py"], program
