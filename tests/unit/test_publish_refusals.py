"""Stores that refuse or fail, each in one sentence; and a registry that hands out tokens."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3

from seawall.fetch import objects, web
from seawall.fetch.order import Credentials
from seawall.optimize.publish import Store, find, get_stage, open_store, publish, put_stage
from seawall.optimize.types import Passing, Refused
from support.artifacts import KEY, answering, manifest, result

pytestmark = pytest.mark.long

STATUSES = {
    403: "CredentialsRefused",
    400: "PublishFailed",
    500: "Passing",
    503: "Passing",
}
OPERATIONS: dict[str, Callable[[Store, Path], object]] = {
    "find": lambda store, _: find(KEY, store),
    "publish": lambda store, folder: publish(result(folder / "a"), manifest(), store, None),
    "write": lambda store, folder: store.publish(
        KEY, {"model.onnx": result(folder / "a") / "model.onnx"}, {"manifest.json": b"{}"}, False
    ),
    "put a stage": lambda store, folder: put_stage(KEY, result(folder / "a"), store),
    "get a stage": lambda store, folder: get_stage(KEY, folder / "b", store),
}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    soon = timedelta(milliseconds=1)
    backoff = {"init_backoff": soon, "max_backoff": soon, "base": 2}
    monkeypatch.setattr(objects, "_RETRY", {"max_retries": 1, "backoff": backoff})


def opened(scheme: str, host: str) -> Store:
    secret = {
        "AWS_ENDPOINT_URL": f"http://{host}",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "key",
        "OCI_PLAIN_HTTP": "true",
    }
    uri = "s3://bucket/models" if scheme == "s3" else f"oci://{host}/team/models"
    return open_store(uri, Credentials(secret), sleep=lambda _: None)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("status", "outcome"), STATUSES.items(), ids=str)
@pytest.mark.parametrize("scheme", ["s3", "oci"])
def test_what_a_store_answers_is_told(
    tmp_path: Path, scheme: str, status: int, outcome: str, operation: str
) -> None:
    with answering(status) as host, pytest.raises((Refused, Passing)) as caught:
        OPERATIONS[operation](opened(scheme, host), tmp_path)
    met = caught.value.reason if isinstance(caught.value, Refused) else "Passing"
    assert met == outcome
    assert "/models" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["s3", "oci"])
def test_nobody_at_home_may_pass(scheme: str) -> None:
    with pytest.raises(Passing):
        find(KEY, opened(scheme, "127.0.0.1:9"))


@pytest.mark.parametrize("scheme", ["s3", "oci"])
def test_a_store_that_takes_the_question_and_never_answers_may_pass(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_TIMEOUTS", {"read_timeout": "20ms", "timeout": "50ms"})
    monkeypatch.setattr(web, "_TIMEOUT", urllib3.Timeout(connect=10, read=0.02))
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Passing, match=r"(?i)time"):
        find(KEY, opened(scheme, f"127.0.0.1:{silent.getsockname()[1]}"))


def test_a_repository_that_cannot_be_written_to_is_missing(tmp_path: Path) -> None:
    with answering(404) as host, pytest.raises(Refused, match="ArtifactStoreMissing"):
        publish(result(tmp_path / "a"), manifest(), opened("oci", host), None)


class Registry(ThreadingHTTPServer):
    """As much of a registry as a push needs; its tokens are good for one scope, and for a few requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content: dict[str, bytes] = {}
        self.tokens: dict[str, list[int]] = {}
        self.logins: list[str | None] = []
        self.fail_uploads = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Registry
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if parts.path == "/token":
            self.server.logins.append(self.headers.get("Authorization"))
            token = f"{parse_qs(parts.query)['scope'][0]}#{len(self.server.logins)}"
            self.server.tokens[f"Bearer {token}"] = [3]
            self.answer(200, json.dumps({"token": token}).encode())
            return
        scope = "repository:team/models:pull"
        if self.command in ("POST", "PUT"):
            scope += ",push"
        given = self.headers.get("Authorization") or ""
        left = self.server.tokens.get(given, [0])
        if not given.startswith(f"Bearer {scope}") or left[0] == 0:
            realm = f'Bearer realm="http://{self.server.host}/token",service="s",scope="{scope}"'
            self.answer(401, b"", **{"WWW-Authenticate": realm})
            return
        left[0] -= 1
        self.authorized(parts.path, parse_qs(parts.query), body)

    def authorized(self, path: str, query: dict[str, list[str]], body: bytes) -> None:
        base = "/v2/team/models/"
        if self.command == "POST":
            self.answer(202, b"", Location=f"{base}blobs/uploads/1?state=a")
        elif self.command == "PUT" and "digest" in query:
            if self.server.fail_uploads > 0:
                self.server.fail_uploads -= 1
                self.answer(503, b"")
                return
            assert query["digest"] == [f"sha256:{hashlib.sha256(body).hexdigest()}"]
            self.server.content[f"{base}blobs/{query['digest'][0]}"] = body
            self.answer(201, b"")
        elif self.command == "PUT":
            self.server.content[path] = body
            self.answer(201, b"")
        elif path in self.server.content:
            self.answer(200, self.server.content[path])
        else:
            self.answer(404, b"")

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = handle_any  # noqa: N815

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[Registry]:
    made = Registry()
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_tokens_are_asked_for_again_when_scope_or_time_runs_out(registry: Registry, tmp_path: Path) -> None:
    secret = {"OCI_PLAIN_HTTP": "true", "OCI_USERNAME": "u", "OCI_PASSWORD": "p"}
    store = open_store(f"oci://{registry.host}/team/models", Credentials(secret), sleep=lambda _: None)
    made = publish(result(tmp_path / "a"), manifest(), store, None)
    assert find(KEY, store) == made
    assert set(registry.logins) == {"Basic dTpw"}
    assert len(registry.logins) > 3


def test_an_upload_that_fails_on_the_way_is_sent_again_whole(registry: Registry, tmp_path: Path) -> None:
    registry.fail_uploads = 2
    slept: list[float] = []
    secret = Credentials({"OCI_PLAIN_HTTP": "true"})
    store = open_store(f"oci://{registry.host}/team/models", secret, sleep=slept.append)
    made = publish(result(tmp_path / "a"), manifest(), store, None)
    assert find(KEY, store) == made
    assert slept == [1.0, 2.0]
