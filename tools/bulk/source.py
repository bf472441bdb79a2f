# SPDX-License-Identifier: Apache-2.0
"""The images: a folder, a list, a table, here or anywhere that fsspec reads."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.arrays import UInt8Array
from common.cli import ImageError, UserError
from common.coco.images import decode, read_file
from common.media.source import IMAGE_SUFFIXES, LIST_SUFFIX, URL

import cv2
import fsspec
import numpy as np
import pyarrow
import pyarrow.parquet

COLUMNS = ("path", "url", "image", "file_name", "source")  # of a table, the first that it has
ATTEMPTS, PAUSE_S = 3, 1.0  # at reading from elsewhere


class UnreachableError(ImageError):
    """An image that may exist, but cannot be fetched: no rights, or no answer of a server."""


def names(source: str, column: str = "") -> Iterator[str]:
    """The images of a folder and those in it, of a list (.txt) or of a column of a Parquet file, in order.

    Paths in full, or URLs. Names of a list count from its own folder. Raises UserError where nothing can be read.
    """
    try:
        yield from _names(source, column)
    except ImportError as error:
        raise UserError(f"--source={source}: {error}") from error
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        if isinstance(error, UserError):
            raise
        absent = "not there, or no answer" if isinstance(error, FileNotFoundError) else ""  # fsspec's says no more
        reason = getattr(error, "strerror", None) or absent or str(error) or type(error).__name__
        raise UserError(f"--source={source}: {reason}; name a folder, a list (.txt) or a table (.parquet)") from error


def _names(source: str, column: str) -> Iterator[str]:
    files, path = fsspec.core.url_to_fs(source)
    kind = os.path.splitext(path)[1].lower()
    if kind == LIST_SUFFIX:
        with files.open(path, "r", encoding="utf-8-sig") as lines:
            yield from (_beside(source, line.strip()) for line in lines if line.strip())
    elif kind == ".parquet":
        with files.open(path) as file:
            yield from (_beside(source, name) for name in _column(pyarrow.parquet.ParquetFile(file), source, column))
    elif images := [name for name in sorted(files.find(path)) if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES]:
        yield from (files.unstrip_protocol(name).removeprefix("file://") for name in images)
    else:
        raise FileNotFoundError(0, "not there, or nothing that names images")


def _column(table: Any, source: str, column: str) -> Iterator[str]:
    there = table.schema_arrow.names
    chosen = column or next((name for name in COLUMNS if name in there), "")
    if chosen not in there:
        raise UserError(f"{source}: no column {chosen or 'of paths'} in it: --column= one of {', '.join(there)}")
    for batch in table.iter_batches(columns=[chosen]):
        for name in batch.column(0).to_pylist():
            if not isinstance(name, str) or not name:
                raise UserError(f"{source}: {name!r} in the column {chosen}, where each line must name an image")
            yield name


def _beside(source: str, name: str) -> str:
    if URL.match(name) or os.path.isabs(name):
        return name
    if URL.match(source):
        return f"{source.rpartition('/')[0]}/{name}"
    return os.path.join(os.path.dirname(os.path.abspath(source)), name)


def read(name: str) -> UInt8Array:
    """(h, w, 3) uint8 BGR, turned upright as EXIF says. Raises ImageError, UnreachableError with the reason alone."""
    try:
        content = np.frombuffer(_fetched(name), np.uint8) if URL.match(name) else read_file(Path(name))
        image = decode(content, "turn")
    except FileNotFoundError as error:
        raise ImageError("no such file") from error
    except cv2.error as error:
        raise ImageError("too large") from error
    except OSError as error:
        raise UnreachableError(error.strerror or str(error) or type(error).__name__) from error
    if image is None:
        raise ImageError("not an image, or damaged")
    return image


def _fetched(name: str) -> bytes:
    """The content of a URL. Raises OSError when it could not be fetched several times in a row."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            files, path = fsspec.core.url_to_fs(name)
            return bytes(files.cat_file(path))
        except FileNotFoundError:
            raise
        except Exception as error:  # each protocol has its own
            if attempt == ATTEMPTS:
                raise OSError(f"{type(error).__name__} {error}"[:200]) from error
            time.sleep(PAUSE_S * attempt)
    raise AssertionError
