# SPDX-License-Identifier: Apache-2.0
"""Weights from the network: whole, of the published sum or at least of the right kind, or not at all."""

import hashlib
import http.client
import urllib.request
from pathlib import Path
from typing import Any

from common import files

TIMEOUT_S = 30  # without a byte
CHECKPOINT_BEGINNINGS = (b"PK\x03\x04", b"\x80")  # of torch's new and old format


class WrongContentError(ValueError):
    """What came is not what was asked for."""


def fetch(url: str, target: Path, sha256: str | None = None) -> None:
    """Downloads a checkpoint; `sha256` begins its sum, where it is known.

    Raises OSError, UserError or WrongContentError, and then leaves no file.
    """
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, files.replacing(target) as file:  # noqa: S310
        while piece := _read(answer):
            file.write(piece)
        file.flush()
        promised = answer.headers.get("Content-Length")
        if promised and int(promised) != file.tell():
            raise WrongContentError(f"{file.tell()} bytes came of {promised}")
        check(Path(file.name), sha256)


def _read(source: Any) -> bytes:
    try:
        return bytes(source.read(1 << 20))
    except (OSError, http.client.HTTPException) as error:
        raise WrongContentError(f"broken off: {error or type(error).__name__}") from error


def check(path: Path, sha256: str | None) -> None:
    """Raises WrongContentError where a file is no checkpoint by its first bytes, or has another sum."""
    with path.open("rb") as file:
        if not file.read(4).startswith(CHECKPOINT_BEGINNINGS):
            raise WrongContentError("not a checkpoint but something else, a web page perhaps")
        file.seek(0)
        digest = hashlib.sha256()
        while piece := _read(file):
            digest.update(piece)
    found = digest.hexdigest()
    if sha256 and not found.startswith(sha256):
        raise WrongContentError(f"its SHA-256 begins with {found[: len(sha256)]}, published is {sha256}")
