# SPDX-License-Identifier: Apache-2.0
"""The page on a port of its own, with the networks of `fake`, and what a browser would send to it."""

import contextlib
import functools
import http.client
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

from tools.models import Spec
from tools.page.__main__ import listen
from tools.page.app import Limits, Page, build
from tools.page.connections import server_of
from tools.page.jobs import Jobs
from tools.page.security import Guard
from tools.page.service import Service
from tools.page.test.fake import SPECS, open_fake
from tools.page.worker import Queue, Worker


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class Client:
    port: int
    page: Page

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def connection(self, timeout: float = 60) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(self, path: str, body: bytes | None = None, method: str = "", headers=None, **words) -> Answer:
        connection = self.connection()
        query = f"?{urlencode(words)}" if words else ""
        try:
            how = method or ("GET" if body is None else "POST")
            connection.request(
                how, path + query, body, headers or {}, encode_chunked="Transfer-Encoding" in (headers or {})
            )
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()


@contextlib.contextmanager
def serving(
    limit_s: float = 20.0, queue: int = 16, limits: Limits | None = None, specs: list[Spec] = SPECS, open_spec=open_fake
) -> Iterator[Client]:
    openers = [functools.partial(open_spec, spec) for spec in specs]
    worker = Worker(functools.partial(Service, openers), limit_s)
    worker.start()
    page = Page(Queue(worker, queue), openers, Jobs(), limits=limits or Limits(body_s=10))
    listening = listen("127.0.0.1", 0)
    server = server_of(build(page, Guard.of("127.0.0.1", "")))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield Client(listening.getsockname()[1], page)
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
