# SPDX-License-Identifier: Apache-2.0
"""Folders that can be regenerated at any time."""

import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def cache_folder(name: str) -> Path:
    """`name` in `.cache` beside the code, or in your home folder where that cannot be written."""
    return (ROOT if os.access(ROOT, os.W_OK) else Path.home()) / ".cache" / "pose_zoo" / name


def made_once(folder: Path, fill: Callable[[Path], object]) -> Path:
    """`folder`, filled first where it is absent; it appears whole. Several processes may ask at once."""
    if folder.is_dir():
        return folder
    growing = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    try:
        growing.mkdir(parents=True)
        fill(growing)
        growing.rename(folder)
    except OSError:
        if not folder.is_dir():  # unless another process was faster
            raise
    finally:
        shutil.rmtree(growing, ignore_errors=True)
    return folder
