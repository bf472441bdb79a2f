# SPDX-License-Identifier: Apache-2.0
"""Pairs of best score first, each end once: how limbs are chosen among pairs of peaks."""

from typing import Any

from common.compiled import subroutine

import numpy as np


@subroutine
def rank(values: Any, n: int) -> Any:
    """(n,) int64: what sorts the first n values, rising, equal ones in their order (merge sort)."""
    order, spare = np.arange(n), np.empty(n, np.int64)
    width = 1
    while width < n:
        for low in range(0, n, 2 * width):
            middle, high = min(low + width, n), min(low + 2 * width, n)
            i, j = low, middle
            for k in range(low, high):
                if i < middle and (j >= high or values[order[i]] <= values[order[j]]):
                    spare[k] = order[i]
                    i += 1
                else:
                    spare[k] = order[j]
                    j += 1
        order, spare = spare, order
        width *= 2
    return order


@subroutine
def choose(order: Any, found: Any, num_a: int, num_b: int) -> Any:
    """Rows of `found` that share no end, and how many.

    `order` (n,) int64: rows of `found` (>= n, 2 or more) int64, which begin with the pair's ends, below `num_a` and
    below `num_b`. The pair that comes first has its ends.
    """
    used_a, used_b = np.zeros(num_a, np.bool_), np.zeros(num_b, np.bool_)
    chosen, total = np.empty(len(order), np.int64), 0
    for place in range(len(order)):
        i = order[place]
        if not (used_a[found[i, 0]] or used_b[found[i, 1]]):
            used_a[found[i, 0]], used_b[found[i, 1]] = True, True
            chosen[total] = i
            total += 1
    return chosen, total
