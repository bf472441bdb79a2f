# SPDX-License-Identifier: Apache-2.0
"""Work done ahead in threads, in order and within bounds."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int) -> Iterator[Result]:
    """`function` of each item, in the order of the items, while the pool works up to `ahead` items further.

    The items are asked for in the calling thread, so that two of these in a row make a pipeline of bounded memory. An
    exception of `function` comes out where its result would; what waits behind it is not begun.
    """
    begun: deque[Future[Result]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(function, item))
            if len(begun) > ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()
