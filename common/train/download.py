# SPDX-License-Identifier: Apache-2.0
"""Weights from the internet: complete and the right ones, or none. An interrupted download resumes where it stopped."""

import contextlib
import fcntl
import hashlib
import http.client
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from common.train.checkpoint import CheckpointError

from tqdm import tqdm

TIMEOUT_S, PIECE = 30, 1 << 20  # without a byte; bytes read at once
ZIP, PICKLE, MINDSPORE = b"PK\x03\x04", b"\x80", b"\n"  # what torch's formats and a .ckpt begin with
NETWORK_ERRORS = (ConnectionError, TimeoutError, urllib.error.URLError, http.client.HTTPException)


def fetch(url: str, target: Path, check: Callable[[Path], None]) -> Path:
    """Downloads a file that `check` accepts. A part stays as a hidden file next to `target`, to resume it.

    Raises OSError or CheckpointError, and then there is no `target`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _opened(url) as answer:
        length = int(answer.headers.get("Content-Length") or 0)
    part = target.with_name(f".{target.name}.{zlib.crc32(f'{url} {length}'.encode()):08x}.part")
    with part.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # of several processes, such as ranks, one downloads
        if target.is_file():
            part.unlink(missing_ok=True)
            return target
        _complete(url, file, length, target.name)
        file.flush()
        try:
            check(part)
        except CheckpointError:
            part.unlink()
            raise
        part.replace(target)
    return target


def _opened(url: str, begin: int = 0) -> Any:
    request = urllib.request.Request(url, headers={"Range": f"bytes={begin}-"} if begin else {})  # noqa: S310
    return urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310


def _complete(url: str, file: BinaryIO, length: int, name: str) -> None:
    """Appends the missing bytes, retrying as long as some arrive. Raises CheckpointError when none do."""
    before = -1
    while before < 0 or file.tell() < length:
        if before == (before := file.tell()):
            raise CheckpointError(f"broken off: {before} bytes came of {length}")
        with contextlib.suppress(*NETWORK_ERRORS), _opened(url, before) as answer:
            if before and answer.status != http.HTTPStatus.PARTIAL_CONTENT:
                file.truncate(file.seek(0))
            with tqdm(desc=name, total=length or None, initial=before, unit="B", unit_scale=True, disable=None) as bar:
                while piece := answer.read1(PIECE):
                    bar.update(file.write(piece))


def check(path: Path, sha256: str, least_bytes: int = 0) -> None:
    """Raises CheckpointError where a file is no checkpoint by its first bytes, too short, or has another checksum."""
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(4)
    mindspore = ".ckpt" in path.name and first.startswith(MINDSPORE) and b"<" not in first
    if not (mindspore or first.startswith((ZIP, PICKLE))):
        raise CheckpointError("not a checkpoint but something else, a web page perhaps")
    if size < least_bytes or (first == ZIP and not zipfile.is_zipfile(path)):  # a zip ends with its table
        raise CheckpointError(f"cut short or another file: {size} bytes, its weights alone have {least_bytes}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if sha256 else ""
    if not digest.startswith(sha256):
        raise CheckpointError(f"its SHA-256 begins with {digest[: len(sha256)]}, published is {sha256}")
