# SPDX-License-Identifier: Apache-2.0
"""The server of the page: uvicorn, with an end to connections that never ask for anything."""

import asyncio
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_S = 10.0  # from a connection to its first request
KEEP_ALIVE_S, GRACE_S = 5, 2


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection whose first request does not arrive."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self.loop.call_later(HEADERS_S, self._close_if_silent)

    def _close_if_silent(self) -> None:
        cycle: Any = self.cycle
        if cycle is None:
            self.transport.close()


def server_of(app: Any) -> uvicorn.Server:
    """A server, not running yet."""
    settings = uvicorn.Config(
        app,
        http=ImpatientProtocol,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    return uvicorn.Server(settings)
