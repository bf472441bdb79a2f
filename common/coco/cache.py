# SPDX-License-Identifier: Apache-2.0
"""Folders that can be made again at any time."""

import contextlib
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

from common.cli import UserError

ROOT = Path(__file__).resolve().parents[2]


def cache_folder(name: str) -> Path:
    """`name` in `.cache` beside the code, or in your own folder of temporary files where that cannot be written."""
    cache = ROOT / ".cache"
    with contextlib.suppress(OSError):
        cache.mkdir(exist_ok=True)
    return (cache if os.access(cache, os.W_OK) else _own_temporary_folder()) / name


def made_once(folder: Path, fill: Callable[[Path], object]) -> Path:
    """`folder`, filled first where it is absent; it appears whole. Several processes may ask at once."""
    if folder.is_dir():
        return folder
    grown = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    try:
        grown.mkdir(parents=True)
        fill(grown)
        grown.rename(folder)
    except OSError:
        if not folder.is_dir():  # nobody was faster
            raise
    finally:
        shutil.rmtree(grown, ignore_errors=True)
    return folder


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
