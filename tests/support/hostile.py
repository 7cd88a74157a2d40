"""A store that says back whatever it is told: headers, addresses and bodies, in its status line and its answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class Echo(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = status
        self.heard: list[str] = []

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Echo
    protocol_version = "HTTP/1.1"

    def _echo(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        heard = f"{self.path} {unquote(self.path)} {dict(self.headers)} {self.rfile.read(length)!r}"
        self.server.heard.append(heard)
        body = heard.encode()
        # A status line has no bounds that a client enforces.
        self.send_response(self.server.status, heard.replace("\r", " ").replace("\n", " "))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = _echo  # noqa: N815 - the library's names

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def echoing(status: int) -> Iterator[Echo]:
    with Echo(status) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
