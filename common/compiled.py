# SPDX-License-Identifier: Apache-2.0
"""How functions are compiled: numba, without Python's lock, kept on disk, right after any change of their sources.

A file whose functions are compiled imports this one by the words `common.compiled`: that is how it is known.
"""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba
import numpy as np

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
MARK = b"from common.compiled import"  # this file has it too

U0, U1, U2, U3, U4, U5, U6 = (np.uintp(i) for i in range(7))  # unsigned: a signed index costs a test


@lru_cache(maxsize=16)
def source_digest(folder: Path) -> str:
    """Eight hexadecimal digits that change with the source of any compiled function in `folder` or in common."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in compiled_files(folder))).hexdigest()[:8]


def compiled_files(folder: Path) -> list[Path]:
    """The files of `folder` and of common that have compiled functions."""
    folders = dict.fromkeys((folder, Path(__file__).parent))
    files = [path for one in folders for path in sorted(one.glob("*.py"))]
    return [path for path in files if MARK in path.read_bytes()]


def kernel(function: Callable[..., Any]) -> Any:
    """numba for a function that Python calls: without the global lock, kept on disk where a folder can be written.

    The cache looks at a function's own file only, so a change in a file that it calls would go unseen: the name under
    which it is kept carries the digest of all files.
    """
    function.__qualname__ += f"_{source_digest(Path(function.__code__.co_filename).parent)}"
    try:
        return numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:
        return numba.njit(**OPTIONS)(function)


def subroutine(function: Callable[..., Any]) -> Any:
    """numba for a function that kernels call; it is kept as a part of them."""
    return numba.njit(**OPTIONS)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """A subroutine that becomes part of its callers: a call of its own counts the references of each array argument."""
    return numba.njit(forceinline=True, **OPTIONS)(function)
