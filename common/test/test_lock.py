# SPDX-License-Identifier: Apache-2.0
import errno
import os
import signal
import socket
import subprocess
import sys
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


def test_a_folder_has_one_owner_until_that_one_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "taken\n"
        with pytest.raises(UserError) as refused:
            lock.take(tmp_path)
        line = str(refused.value)
        assert f"process {process.pid} on {socket.gethostname()}, begun 20" in line and "\n" not in line
        assert str(tmp_path) in line and "--output_dir" in line
        process.send_signal(signal.SIGKILL)
    lock.take(tmp_path)
    lock.take(tmp_path)  # the same process again
    assert lock.line(tmp_path).startswith(f"process {os.getpid()} on ")


def test_an_earlier_attempt_of_the_same_run_is_waited_for(tmp_path: Path, monkeypatch) -> None:
    """A file server may take a while to forget the lock of a server that was lost."""
    answers = iter([BlockingIOError] * 3)

    def flock(*_: object) -> None:
        for error in answers:
            raise error

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    monkeypatch.setattr(lock, "PATIENCE_S", 0)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "77")
    (tmp_path / lock.LOCK_NAME).write_text("process 3 on elsewhere, begun 2026-12-01 10:00:00, run 76")
    with pytest.raises(UserError, match="process 3 on elsewhere"):
        lock.take(tmp_path)
    (tmp_path / lock.LOCK_NAME).write_text("process 3 on elsewhere, begun 2026-12-01 10:00:00, run 77")
    lock.take(tmp_path)


def test_a_file_system_without_locks_is_worked_on(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(lock.fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOTSUP, "no locks")))
    lock.take(tmp_path)
