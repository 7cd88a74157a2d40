"""A Git repository that people commit to, and `git http-backend` behind the standard library's HTTP server.

The library's own CGI handler changes the user, so that Git distrusts the repository, and sends the Status line
of a CGI answer as a header.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

WHO = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Somebody"), ("EMAIL", "somebody@example.com"))
}
ALONE = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}


class Repository:
    """A bare repository, and the working tree of somebody who pushes to it."""

    def __init__(self, folder: Path) -> None:
        self.bare, self.tree = folder / "served" / "fleet.git", folder / "tree"
        self.bare.parent.mkdir(parents=True)
        self._git("init", "--quiet", "--bare", "--initial-branch=main", str(self.bare), at=folder)
        self._git("clone", "--quiet", str(self.bare), str(self.tree), at=folder)

    def commit(self, message: str, files: Mapping[str, list[dict[str, Any]] | None]) -> str:
        """Manifests by path; None removes a file. The commit is pushed."""
        for name, manifests in files.items():
            path = self.tree / name
            if manifests is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(yaml.safe_dump_all(manifests, sort_keys=False))
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", message)
        return self._push()

    def revert(self) -> str:
        """Of the last commit."""
        self._git("revert", "--no-edit", "HEAD")
        return self._push()

    def _push(self) -> str:
        self._git("push", "--quiet", "origin", "HEAD:main")
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *args: str, at: Path | None = None) -> str:
        done = subprocess.run(
            ["git", *args], cwd=at or self.tree, env={**os.environ, **ALONE, **WHO},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"git {' '.join(args)}: {done.stderr}"
        return done.stdout


class GitServer:
    """Smart HTTP, for fetching alone, of all the repositories in a folder."""

    def __init__(self, folder: Path) -> None:
        self.fetches = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(b"")

            def do_POST(self) -> None:
                outer.fetches += 1
                self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

            def _answer(self, body: bytes) -> None:
                done = subprocess.run(
                    ["git", "http-backend"], input=body, env=self._environment(len(body)),
                    capture_output=True, check=False,
                )  # fmt: skip
                head, _, content = done.stdout.partition(b"\r\n\r\n")
                fields = [line.partition(": ")[::2] for line in head.decode().splitlines()]
                told = dict(fields).get("Status", "200 OK")
                self.send_response(int(told.split()[0]))
                for name, value in fields:
                    if name != "Status":
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _environment(self, length: int) -> dict[str, str]:
                url = urlsplit(self.path)
                return {
                    **os.environ,
                    **ALONE,
                    "GIT_PROJECT_ROOT": str(folder),
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                    "REQUEST_METHOD": self.command,
                    "PATH_INFO": url.path,
                    "QUERY_STRING": url.query,
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                    "CONTENT_LENGTH": str(length),
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                }

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/{name}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
