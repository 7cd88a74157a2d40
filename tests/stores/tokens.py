"""A registry's front door: a token server (a login in, a JSON Web Token for one scope out), and behind the
same address the registry itself, since logins and models leave a host only inside TLS."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import urllib3
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

SERVICE, ISSUER, KEY_ID = "tests", "tests", "one"


class TokenServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, user: str, password: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.login = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.behind = ""

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def write_keys(self, path: Path) -> None:
        point = self.key.public_key().public_numbers()
        key = {"kty": "EC", "crv": "P-256", "kid": KEY_ID, "alg": "ES256", "use": "sig"}
        key |= {name: _text(number.to_bytes(32)) for name, number in (("x", point.x), ("y", point.y))}
        path.write_text(json.dumps({"keys": [key]}))

    def token(self, scope: str) -> str:
        kind, name, actions = scope.split(":")
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": SERVICE,
            "sub": "tester",
            "jti": str(now),
            "nbf": now - 60,
            "iat": now,
        }
        access = [{"type": kind, "name": name, "actions": actions.split(",")}]
        head = _json({"alg": "ES256", "typ": "JWT", "kid": KEY_ID})
        body = _json({**claims, "exp": now + 60, "access": access})
        signed = self.key.sign(f"{head}.{body}".encode(), ec.ECDSA(SHA256()))
        r, s = decode_dss_signature(signed)
        return f"{head}.{body}.{_text(r.to_bytes(32) + s.to_bytes(32))}"


class Handler(BaseHTTPRequestHandler):
    server: TokenServer
    protocol_version = "HTTP/1.1"

    def front(self) -> None:
        if self.path.startswith("/token"):
            self.hand_out()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
        url = f"http://{self.server.behind}{self.path}"
        answer = urllib3.request(self.command, url, body=body, headers=headers, redirect=False)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "date"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.data)

    do_GET = do_HEAD = do_PUT = do_POST = front  # noqa: N815

    def hand_out(self) -> None:
        if self.headers.get("Authorization") != self.server.login:
            self.send_error(401)
            return
        scope = parse_qs(urlsplit(self.path).query)["scope"][0]
        body = json.dumps({"token": self.server.token(scope)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def token_server(user: str, password: str) -> Iterator[TokenServer]:
    server = TokenServer(user, password)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def _json(value: dict[str, Any]) -> str:
    return _text(json.dumps(value).encode())


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
