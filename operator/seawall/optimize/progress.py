"""How far a build is, for the operator to ask the pod: GET /progress."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from seawall.fetch.redact import redacted

PORT = 8085
SENTENCE = 300


class Progress:
    """The latest word of the build; also printed as one line of JSON, for the log."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._log = sys.stdout
        self._now: dict[str, Any] = {"stage": "start", "percent": None, "message": ""}

    def say(self, stage: str, percent: float | None, message: str) -> None:
        now = {
            "stage": stage,
            "percent": None if percent is None else round(percent),
            "message": redacted(message)[:SENTENCE],
        }
        with self._lock:
            changed, self._now = now != self._now, now
        if changed:
            print(json.dumps(now), flush=True, file=self._log)

    @property
    def now(self) -> dict[str, Any]:
        with self._lock:
            return self._now

    @contextmanager
    def served(self, port: int = PORT, address: str = "") -> Iterator[int]:
        """Answers until the end of the block; yields the port."""
        progress = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path != "/progress":
                    self.send_error(404)
                    return
                body = json.dumps(progress.now).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
                """The log is the build's own."""

        with ThreadingHTTPServer((address, port), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield server.server_address[1]
            finally:
                server.shutdown()
                thread.join()
