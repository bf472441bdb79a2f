# SPDX-License-Identifier: Apache-2.0
from concurrent.futures import ThreadPoolExecutor

from common.parallel import in_order

import pytest


def test_results_come_in_order_and_only_so_many_are_begun() -> None:
    taken = []

    def items():
        for number in range(20):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(4) as pool:
        results = in_order(pool, lambda number: number * number, items(), 3)
        assert next(results) == 0 and len(taken) == 4  # the one asked for and three ahead
        assert list(results) == [number * number for number in range(1, 20)]


def test_an_exception_comes_where_its_result_would() -> None:
    found = []
    with ThreadPoolExecutor(2) as pool, pytest.raises(ZeroDivisionError):
        for result in in_order(pool, lambda number: 1 / (2 - number), range(9), 4):
            found.append(result)
    assert found == [0.5, 1.0]
