# SPDX-License-Identifier: Apache-2.0
"""What every request passes before a route sees it: who asks, from which page, and how much is sent how slowly."""

import asyncio
import contextlib
import hmac
import ipaddress
import json
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
API = "/api/"
MOST_REQUESTS, BUSY_RETRY_S = 1000, 2  # at once; seconds until a refused client may retry
BUSY = "Too many ask at once: try again in a moment."
BODY_TAKEN = "pose_zoo.body_taken"  # in a request's scope: nothing more of it comes
DRAIN_S = 10.0  # for which the rest of a refused body is taken and thrown away, so that the browser reads the answer
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


class RefusedError(Exception):
    """An answer of one sentence and a status code; `retry_s`: when to try again."""

    def __init__(self, status: int, sentence: str, retry_s: int = 0) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.retry_s = status, sentence, retry_s


@dataclass(frozen=True)
class Guard:
    """Who may ask: `hosts` are names by which the page may be called, `token` what a request must bring, if any."""

    hosts: frozenset[str]
    any_address: bool = False  # a number as the host is right too: the server listens on all of its addresses
    token: str = ""

    @classmethod
    def of(cls, host: str, token: str) -> "Guard":
        """For a server that listens on `host`."""
        if host in LOOPBACK:
            return cls(LOOPBACK, token=token)
        own = {socket.gethostname().lower(), socket.getfqdn().lower()}
        any_address = is_any_address(host)
        return cls(LOOPBACK | own | {host.lower()}, any_address, token)

    def check(self, path: str, headers: Headers) -> None:
        """Raises RefusedError for a foreign Host or Origin (another page in the same browser), or a wrong token."""
        host = headers.get("host", "")
        if not self._is_ours(host):
            raise RefusedError(403, "This page answers only under its own address: open it as the terminal says.")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise RefusedError(403, "Another page asked: only this page itself may.")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and path.startswith(API):
            raise RefusedError(403, "Another page asked: only this page itself may.")
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if self.token and path.startswith(API) and not hmac.compare_digest(given.encode(), self.token.encode()):
            raise RefusedError(401, "The token is missing or wrong: open the address that the terminal shows.")

    def _is_ours(self, host: str) -> bool:
        name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
        return name.lower() in self.hosts or (self.any_address and _is_address(name))


def is_any_address(host: str) -> bool:
    """Whether a server that listens on `host` listens on all addresses of its machine."""
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Security:
    """ASGI middleware: `Guard`, the headers of every answer, and refusals as JSON {"error": sentence}."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self.app, self.guard, self.active = app, guard, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                have = {name.lower() for name, _ in message["headers"]}
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in have]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        self.active += 1
        try:
            if self.active > MOST_REQUESTS:
                raise RefusedError(503, BUSY, BUSY_RETRY_S)
            self.guard.check(scope["path"], Headers(scope=scope))
            await self.app(scope, receive, with_headers)
        except RefusedError as refusal:
            await refuse(refusal, scope, receive, with_headers)
        finally:
            self.active -= 1


async def refuse(refusal: RefusedError, scope: Scope, receive: Receive, send: Send) -> None:
    """Sends the whole answer at once, then takes what the client still sends: it would not read the answer else."""
    body = json.dumps({"error": refusal.sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.retry_s:
        headers.append((b"retry-after", str(refusal.retry_s).encode()))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    if not scope.get(BODY_TAKEN):  # else it waits for the client to leave, and the connection's next request with it
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_drain(receive), DRAIN_S)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drain(receive: Receive) -> None:
    while (await receive()).get("more_body"):
        pass


async def body_parts(request: Request, most_bytes: int, limit_s: float) -> AsyncIterator[bytes]:
    """The body of a request, piece by piece.

    Raises RefusedError for more than `most_bytes` (before anything is read, where the length is known), and
    for a client that takes longer than `limit_s`; ClientDisconnect where the request is cut off.
    """
    too_large = RefusedError(413, f"That is more than {most_bytes / 1e6:g} MB: make it smaller.")
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > most_bytes:
        raise too_large
    taken, end, more = 0, time.monotonic() + limit_s, True
    while more:
        try:
            message = await asyncio.wait_for(request.receive(), max(0.0, end - time.monotonic()))
        except asyncio.TimeoutError as error:
            raise RefusedError(408, f"Nothing whole arrived in {limit_s:g} seconds: try again.") from error
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part, more = message.get("body", b""), message.get("more_body", False)
        request.scope[BODY_TAKEN] = not more
        taken += len(part)
        if taken > most_bytes:
            raise too_large
        yield part
