# SPDX-License-Identifier: Apache-2.0
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.cli import UserError
from common.test.programs import environment
from common.train import lock

import pytest

OWNER = """
import sys, time
from pathlib import Path
import common.train.lock
common.train.lock.take(Path(sys.argv[1]))
print("taken", flush=True)
time.sleep(60)
"""


@contextmanager
def owner(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that has the folder."""
    command = [sys.executable, "-c", OWNER, str(folder)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout and process.stdout.readline() == "taken\n"
            yield process
        finally:
            process.kill()


def no_locks(*_: object) -> None:
    raise OSError(errno.ENOTSUP, "Operation not supported")


def write(folder: Path, **changes: object) -> Path:
    """A lock file as another process may have left it."""
    file = folder / lock.LOCK_NAME
    file.write_text(json.dumps({**lock._own_line(), **changes}))
    return file


@pytest.mark.parametrize("with_locks", [True, False])
def test_a_folder_has_one_owner_until_that_one_is_killed(tmp_path: Path, monkeypatch, with_locks: bool) -> None:
    if not with_locks:
        monkeypatch.setattr(lock.fcntl, "flock", no_locks)
    with owner(tmp_path) as process:
        with pytest.raises(UserError) as refused:
            lock.take(tmp_path)
        line = str(refused.value)
        assert f"process {process.pid} on {socket.gethostname()}, begun 20" in line and "\n" not in line
        assert str(tmp_path) in line and "--output_dir" in line
        process.send_signal(signal.SIGKILL)
        process.wait()
    lock.take(tmp_path)
    lock.take(tmp_path)  # the same process again
    assert json.loads((tmp_path / lock.LOCK_NAME).read_text())["process"] == os.getpid()


def test_where_nothing_locks_another_machine_may_be_owner_and_a_reused_number_not(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(lock.fcntl, "flock", no_locks)
    file = write(tmp_path, host="elsewhere")
    with pytest.raises(UserError, match="on elsewhere") as refused:
        lock.take(tmp_path)
    assert f"remove {file}" in str(refused.value)
    write(tmp_path, ticks="1")  # this process's number, at another time
    lock.take(tmp_path)


def test_an_earlier_attempt_of_the_same_run_on_a_lost_server_is_no_owner(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(lock.fcntl, "flock", no_locks)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "77")
    write(tmp_path, host="elsewhere", run="76")
    with pytest.raises(UserError, match="on elsewhere"):
        lock.take(tmp_path)
    write(tmp_path, host="elsewhere", run="77")
    lock.take(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"host": 3}', "null"])
def test_a_strange_file_is_no_owner(tmp_path: Path, content: str) -> None:
    (tmp_path / lock.LOCK_NAME).write_text(content)
    lock.take(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--output_dir"):
        lock.take(tmp_path / "file")
