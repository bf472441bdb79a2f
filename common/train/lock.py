# SPDX-License-Identifier: Apache-2.0
"""One process a folder: two runs in one would write over each other."""

import atexit
import contextlib
import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import Any, TextIO

from common.cli import UserError

LOCK_NAME = "run.lock"
PATIENCE_S = 3  # a killed owner's last processes may need a moment
LEASE_S = 100  # and a file server, to forget one that was lost with its machine
START_TIME = 22  # the number of this field in /proc/<process>/stat; what follows the name begins with the third
_taken: dict[Path, TextIO] = {}


def take(folder: Path, flag: str = "--output_dir") -> None:
    """Makes `folder` this process's for as long as it lives.

    The kernel lets go of the lock when its owner ends, however it ends. On a file system without locks the line
    in the file counts: that of a process that is gone is not heeded. Raises UserError, naming the owner, where there
    is one, and where the folder cannot be written. `flag`: what names the folder at the keyboard.
    """
    path = folder.absolute() / LOCK_NAME
    if path in _taken:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
        try:
            _take(file, path, flag)
            file.truncate(0)
            file.write(json.dumps(_own_line()))
            file.flush()
        except BaseException:
            file.close()
            raise
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; name another folder with {flag}") from error
    _taken[path] = file
    atexit.register(_unlock, path, os.getpid())


def line(folder: Path) -> str:
    """The content of a folder's lock, about its owner; empty where there is none."""
    with contextlib.suppress(OSError):
        os.listdir(folder)  # a file server's client looks anew
        return (folder / LOCK_NAME).read_text(encoding="utf-8")
    return ""


def _take(file: TextIO, path: Path, flag: str) -> None:
    """Locks the open file. Raises UserError where another process has it."""
    began = time.monotonic()
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            patience = LEASE_S if _is_of_this_run(owner := _owner(file)) else PATIENCE_S
            if time.monotonic() > began + patience:
                raise _refusal(path, owner, flag) from None
        except OSError:  # no locks here
            if (owner := _owner(file)) and not _has_ended(owner):
                raise _refusal(path, owner, flag) from None
            return
        time.sleep(0.1)


def _refusal(path: Path, owner: dict[str, Any], flag: str) -> UserError:
    who = f"process {owner['process']} on {owner['host']}, begun {owner['begun']}" if owner else "another process"
    return UserError(
        f"{path.parent}: a run is under way here ({who}): wait for its end, or name another folder with {flag}; "
        f"if that process is no more, remove {path}"
    )


def _own_line() -> dict[str, Any]:
    number = os.getpid()
    begun = time.strftime("%Y-%m-%d %H:%M:%S")
    ticks, run = _start_ticks(number), os.environ.get("TORCHELASTIC_RUN_ID", "")
    return {"host": socket.gethostname(), "process": number, "begun": begun, "ticks": ticks, "run": run}


def _owner(file: TextIO) -> dict[str, Any]:
    """Who wrote the line of a lock; empty where it has none."""
    file.seek(0)
    try:
        owner = json.loads(file.read())
        return {name: owner[name] for name in ("host", "process", "begun", "ticks", "run")}
    except (ValueError, KeyError, TypeError):
        return {}


def _is_of_this_run(owner: dict[str, Any]) -> bool:
    """Whether the owner was of an earlier attempt of the servers that have met again: this one begins after its end."""
    return bool(owner and owner["run"] and owner["run"] == os.environ.get("TORCHELASTIC_RUN_ID"))


def _has_ended(owner: dict[str, Any]) -> bool:
    """Whether the owner is known to be gone; a process on another machine cannot be looked up here."""
    here = owner["host"] == socket.gethostname()
    return _is_of_this_run(owner) or bool(here and owner["ticks"] != _start_ticks(owner["process"]))


def _start_ticks(process: int) -> str:
    """When a process of this machine started, by the kernel's clock; empty where there is none, or no /proc."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()[START_TIME - 3]
    except OSError:
        return ""


def _unlock(path: Path, owner: int) -> None:
    """At the exit: the line goes, for file systems where it counts."""
    if os.getpid() == owner:
        with contextlib.suppress(OSError), _taken.pop(path) as file:
            file.truncate(0)
