# SPDX-License-Identifier: Apache-2.0
"""One process a folder: two runs in one would write over each other."""

import atexit
import contextlib
import fcntl
import os
import socket
import time
from pathlib import Path
from typing import TextIO

from common.cli import UserError

LOCK_NAME = "run.lock"
PATIENCE_S = 3  # a killed owner's last processes may need a moment
LEASE_S = 100  # for a file server to forget an owner lost with its machine
_taken: dict[Path, TextIO] = {}


def take(folder: Path, flag: str = "--output_dir") -> None:
    """Reserves `folder` for the life of this process, on file systems that have locks.

    The kernel releases the lock when its owner ends, in any way. Raises UserError, naming the owner, where there
    is one; OSError where the folder cannot be written. `flag`: what names the folder at the keyboard.
    """
    path = folder.absolute() / LOCK_NAME
    if path in _taken:
        return
    folder.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    run = os.environ.get("TORCHELASTIC_RUN_ID", "none")  # of the servers that train together
    began = time.monotonic()
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError as error:
            is_earlier_attempt = run != "none" and line(folder).endswith(f"run {run}")  # perhaps of a lost server
            if time.monotonic() > began + (LEASE_S if is_earlier_attempt else PATIENCE_S):
                file.close()
                who = line(folder) or "another process"
                cure = f"wait for its end, or name another folder with {flag}"
                raise UserError(f"{folder}: a run is under way here ({who}): {cure}") from error
            time.sleep(0.1)
        except OSError:  # a file system without locks
            break
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}, begun {time.strftime('%F %T')}, run {run}")
    file.flush()
    _taken[path] = file
    atexit.register(file.close)


def line(folder: Path) -> str:
    """The line about a folder's owner in its lock; empty if there is none."""
    with contextlib.suppress(OSError):
        os.listdir(folder)  # makes a file server's client refresh
        return (folder / LOCK_NAME).read_text(encoding="utf-8", errors="replace")
    return ""
