"""A TLS server whose context may be changed while it runs.

OpenSSL can add an authority to a context and never take one out, so a change makes a new context. The
listening socket is handed to a second server before the first lets go of it: no connection is refused or
dropped.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable

from aiohttp import web

HANDSHAKE_SECONDS = 10.0
HEADERS, HEADER_BYTES, LINE_BYTES = 512, 8190, 4096
"""Each of a user's groups is a header of its own, and some users have hundreds."""
GRACE_SECONDS = 2.0
"""for answers in the making when the server ends"""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def server_context(certificate: str, key: str) -> ssl.SSLContext:
    """A server's context for this pair of PEM texts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # OpenSSL reads files only; this one is memory, so that the key is on no disk.
    with os.fdopen(os.memfd_create("pair"), "w") as pair:
        pair.write(certificate + key)
        pair.flush()
        context.load_cert_chain(f"/proc/self/fd/{pair.fileno()}")
    return context


class Listener:
    def __init__(self, host: str, port: int, handler: Handler) -> None:
        self._address = (host, port)
        self._web = web.Server(
            handler,
            access_log=None,
            max_line_size=LINE_BYTES,
            max_headers=HEADERS,
            max_field_size=HEADER_BYTES,
            # A body is never asked for: whoever sends one is answered and cut off.
            lingering_time=0,
        )
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self.context: ssl.SSLContext | None = None

    @property
    def port(self) -> int:
        """Where it listens; 0 while it does not."""
        return int(self._socket.getsockname()[1]) if self._socket else 0

    async def use(self, context: ssl.SSLContext) -> None:
        """From now on connections are accepted under this context alone."""
        if self._socket is None:
            family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
            dual = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
            self._socket = socket.create_server(self._address, family=family, dualstack_ipv6=dual)
        previous = self._server
        self._server = await asyncio.get_running_loop().create_server(
            self._web, sock=self._socket.dup(), ssl=context, ssl_handshake_timeout=HANDSHAKE_SECONDS
        )
        self.context = context
        if previous is not None:
            previous.close()

    async def close(self) -> None:
        """Nothing is accepted any more, and what is connected is cut off."""
        if self._server is not None:
            self._server.close()
        if self._socket is not None:
            self._socket.close()
        self._server = self._socket = self.context = None
        await self._web.shutdown(GRACE_SECONDS)
