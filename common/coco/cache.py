# SPDX-License-Identifier: Apache-2.0
"""Where folders lie that can be made again at any time."""

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from common.cli import UserError

ROOT = Path(__file__).resolve().parents[2]


def cache_folder(name: str) -> Path:
    """`name` in `.cache` beside the code, or in your own folder of temporary files where that cannot be written."""
    cache = ROOT / ".cache"
    try:
        cache.mkdir(exist_ok=True)
        writable = os.access(cache, os.W_OK)
    except OSError:
        writable = False
    return cache / name if writable else _own_temporary_folder() / name


def _own_temporary_folder() -> Path:
    """A folder of this user alone. Raises UserError where another has made it: what it holds is not to be trusted."""
    if not hasattr(os, "getuid"):  # Windows: each user has a folder of temporary files of their own
        return Path(tempfile.gettempdir()) / "pose-zoo"
    folder = Path(tempfile.gettempdir()) / f"pose-zoo-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise UserError(f"{folder}: not a folder of your own alone; remove it, or set TMPDIR to another place")
    return folder
