# SPDX-License-Identifier: Apache-2.0
"""Work divided among threads."""

import multiprocessing
import threading
import time
from typing import Any

from common.work_sharing import reassembled, shares, side_by_side

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20), st.integers(1, 5))
def test_every_piece_has_one_owner_and_nobody_much_more_than_others(work: list[int], parts: int) -> None:
    found = shares(np.array(work), parts)
    assert sorted(np.concatenate(found)) == list(range(len(work)))
    loads = [sum(work[piece] for piece in part) for part in found]
    assert len(found) <= parts and max(loads) <= sum(work) / parts + max(work)
    assert all((np.diff(part) > 0).all() for part in found)


def test_parts_run_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=10)  # breaks, and so fails, where one waits for the other to end
    found = side_by_side(lambda part: (meeting.wait(), part.tolist())[1], shares(np.ones(2), 2))
    assert sorted(found) == [[0], [1]]


@pytest.mark.parametrize("bad, ended", [(0, [1]), (1, [0])])
def test_an_error_in_a_thread_is_raised_when_all_have_ended(bad: int, ended: list[int]) -> None:
    done = []

    def refuse(part: np.ndarray) -> None:
        if bad in part:
            raise ValueError("one of them")
        time.sleep(0.05)
        done.extend(part.tolist())

    with pytest.raises(ValueError, match="one of them"):
        side_by_side(refuse, shares(np.ones(2), 2))
    assert done == ended


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="the platform has no fork")
def test_a_forked_process_has_threads_of_its_own() -> None:
    def in_child(found: Any) -> None:
        found.put(side_by_side(np.sum, shares(np.ones(3), 3)))

    assert sum(side_by_side(np.sum, shares(np.ones(3), 3))) == 3  # the parent's threads have begun
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    child = context.Process(target=in_child, args=(found,), daemon=True)
    child.start()
    assert sum(found.get(timeout=20)) == 3
    child.join(20)
    assert child.exitcode == 0


@given(st.lists(st.integers(0, 4), min_size=1, max_size=9), st.integers(1, 4))
def test_what_was_found_goes_back_into_order(lengths: list[int], parts: int) -> None:
    pieces = [np.full((length, 2), piece) for piece, length in enumerate(lengths)]
    found = shares(np.array(lengths), parts)
    lists = [(np.cumsum([0, *(lengths[p] for p in part)]), np.concatenate([pieces[p] for p in part])) for part in found]
    starts, values = reassembled(found, lists)
    assert np.array_equal(values, np.concatenate(pieces))
    assert starts.tolist() == np.cumsum([0, *lengths]).tolist()
