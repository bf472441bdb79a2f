# SPDX-License-Identifier: Apache-2.0
"""A process that decodes images and runs networks, so that a bad file or an endless call cannot take the page along.

It answers one call at a time. A call that takes too long ends with its process; the next call starts another one.
"""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from common.cli import ImageError, RefusedImageError, UserError, as_user_error
from common.parallel import end_with_parent
from tools.page.security import BUSY, BUSY_RETRY_S, RefusedError

OpenTarget = Callable[[], Any]  # in the process: makes the object whose methods are called; can be pickled
REPAIR_RETRY_S = 30
STATUS = {ImageError: 415, RefusedImageError: 422, UserError: 422}  # of a refusal, the first that fits
_spawn = multiprocessing.get_context("spawn")  # a fork would inherit the server's sockets and threads


class Worker:
    """What `open_target` makes, in a process of its own. Not for several threads at once."""

    def __init__(self, open_target: OpenTarget, limit_s: float) -> None:
        self.open_target, self.limit_s = open_target, limit_s
        self._process: Any = None
        self._pipe: Any = None

    def start(self) -> None:
        """Starts the process where none is alive. Raises RefusedError for what cannot be opened."""
        if self._process is not None and self._process.is_alive():
            return
        self._pipe, end = _spawn.Pipe()
        self._process = _spawn.Process(target=_serve, args=(self.open_target, end, os.getpid()), daemon=True)
        self._process.start()
        end.close()
        try:
            self._receive(None)
        except RefusedError as refusal:
            self.stop()
            raise RefusedError(503, refusal.sentence, REPAIR_RETRY_S) from refusal

    @property
    def process_id(self) -> int:
        """Of the process; 0 where none runs."""
        return self._process.pid if self._process is not None else 0

    def call(self, name: str, *words: Any) -> Any:
        """The answer of the method `name`. Raises RefusedError: refused, too slow, or a fault of the program."""
        self.start()
        try:
            self._pipe.send((name, words))
        except OSError:  # it ended since
            self.stop()
            self.start()
            self._pipe.send((name, words))
        return self._receive(self.limit_s)

    def _receive(self, limit_s: float | None) -> Any:
        try:
            if not self._pipe.poll(limit_s):
                self.stop()
                raise RefusedError(504, f"That took more than {limit_s:g} seconds: try a smaller image.")
            status, answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            self.stop()
            sentence = "The process that computes ended, perhaps for lack of memory: try a smaller image."
            raise RefusedError(500, sentence) from error
        if status:
            raise RefusedError(status, answer)
        return answer

    def stop(self) -> None:
        """Kills the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None


class Queue:
    """Calls to a worker from the server's loop, of which at most `longest` wait: a full queue refuses."""

    def __init__(self, worker: Worker, longest: int) -> None:
        self.worker, self.longest, self.waiting = worker, longest, 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="worker")

    @contextlib.contextmanager
    def place(self) -> Any:
        """A place in the queue, taken before a body is read: what waits in memory is bounded. Raises RefusedError."""
        if self.waiting >= self.longest:
            raise RefusedError(503, BUSY, BUSY_RETRY_S)
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    async def call(self, name: str, *words: Any) -> Any:
        """See `Worker.call`."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.worker.call, name, *words)

    def close(self) -> None:
        """Ends the process; calls that wait are not begun."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self.worker.stop()


def _serve(open_target: OpenTarget, pipe: Connection, parent: int) -> None:
    """The process: opens, says that it has, then answers calls until the server is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the server ends us
    end_with_parent(parent)
    ready, target = attempt(open_target)
    pipe.send((ready, target if ready else None))
    if ready:
        return
    with contextlib.suppress(EOFError, OSError):
        while True:
            name, words = pipe.recv()
            pipe.send(attempt(getattr(target, name), *words))


def attempt(function: Callable[..., Any], *words: Any) -> tuple[int, Any]:
    """0 and the answer, or a status code and a sentence."""
    try:
        return 0, function(*words)
    except RefusedError as refusal:
        return refusal.status, refusal.sentence
    except Exception as error:
        problem = as_user_error(error)
        if isinstance(problem, UserError):
            return next(status for kind, status in STATUS.items() if isinstance(problem, kind)), str(problem)
        sys.stderr.write(traceback.format_exc())
        return 500, f"A fault of the program ({type(error).__name__}); the terminal shows where."
