"""Sources on the network, played by one small server on loopback: S3, a Hugging Face hub, a registry."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from seawall.fetch.download import download, patiently
from seawall.fetch.order import Budget, Credentials, Order
from seawall.fetch.problem import FetchProblem, Interrupted, Reason
from seawall.fetch.sources import list_files
from seawall.fetch.web import Web, small_body

CONTENT = b"model" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Answers from a table; remembers who asked for what."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.table: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.fail_first: dict[str, int] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.token: str | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def put(self, path: str, body: bytes, status: int = 200, **headers: str) -> None:
        self.table[path] = (status, headers, body)


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path, authorization = unquote(parts.path), self.headers.get("Authorization")
        self.server.asked.append((path, authorization))
        if self.server.fail_first.get(path, 0) > 0:
            self.server.fail_first[path] -= 1
            self._answer(503, {}, b"")
        elif self.server.token and path != "/token" and authorization != self.server.token:
            challenge = f'Bearer realm="{self.server.url}/token",service="s",scope="repository:t/m:pull"'
            self._answer(401, {"WWW-Authenticate": challenge}, b"")
        elif "list-type" in parse_qs(parts.query):
            self._answer(*self.server.table[f"{path}?list"])
        else:
            self._answer(*self.server.table.get(path, (404, {}, b"")))

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def fetched(uri: str, folder: Path, model_format: str = "onnx", **secret: str) -> dict[str, str]:
    order = Order("m", uri, model_format, "24.10", {})
    budget = Budget(10**9, 60, lambda: 0.0)
    files = patiently(lambda: list_files(order, Credentials(secret, folder / "none")), lambda _: None, budget)
    return download(files, folder, budget, lambda _: None)


S3_SECRET = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}


def test_an_object_from_an_s3_server_of_ones_own(server: Server, tmp_path: Path) -> None:
    server.put("/models/a/b.onnx", CONTENT)
    server.put("/models/a/b.onnx", CONTENT, ETag='"1"', **{"Last-Modified": "Wed, 21 Oct 2026 07:28:00 GMT"})
    made = fetched("s3://models/a/b.onnx", tmp_path, AWS_ENDPOINT_URL=server.url, **S3_SECRET)
    assert made == {"b.onnx": DIGEST}
    assert all((auth or "").startswith("AWS4-HMAC-SHA256 Credential=id/") for _, auth in server.asked)


def test_without_a_key_a_bucket_is_read_as_a_public_one(server: Server, tmp_path: Path) -> None:
    server.put("/models/b.onnx", CONTENT, ETag='"1"', **{"Last-Modified": "Wed, 21 Oct 2026 07:28:00 GMT"})
    assert fetched("s3://models/b.onnx", tmp_path, AWS_ENDPOINT_URL=server.url) == {"b.onnx": DIGEST}
    assert {auth for _, auth in server.asked} == {None}


def test_a_folder_in_a_bucket(server: Server, tmp_path: Path) -> None:
    stamp = {"Last-Modified": "Wed, 21 Oct 2026 07:28:00 GMT"}
    entries = "".join(
        f"<Contents><Key>p/{name}</Key><Size>{len(CONTENT)}</Size>"
        f'<LastModified>2026-10-21T07:28:00.000Z</LastModified><ETag>"1"</ETag></Contents>'
        for name in ("model.py", "sub/x.txt")
    )
    listing = f"<ListBucketResult><KeyCount>2</KeyCount>{entries}</ListBucketResult>".encode()
    server.put("/models?list", listing)
    for name in ("model.py", "sub/x.txt"):
        server.put(f"/models/p/{name}", CONTENT, ETag='"1"', **stamp)
    made = fetched("s3://models/p/", tmp_path, "python", AWS_ENDPOINT_URL=server.url, **S3_SECRET)
    assert made == {"model.py": DIGEST, "sub/x.txt": DIGEST}
    assert (tmp_path / "sub" / "x.txt").read_bytes() == CONTENT


REFUSALS = {
    404: Reason.MODEL_NOT_FOUND,
    403: Reason.CREDENTIALS_REFUSED,
    401: Reason.CREDENTIALS_REFUSED,
}


@pytest.mark.parametrize(("status", "reason"), REFUSALS.items(), ids=str)
def test_what_a_bucket_refuses(server: Server, tmp_path: Path, status: int, reason: Reason) -> None:
    server.put("/models/b.onnx", b"<Error><Code>X</Code></Error>", status)
    with pytest.raises(FetchProblem) as caught:
        fetched("s3://models/b.onnx", tmp_path, AWS_ENDPOINT_URL=server.url, **S3_SECRET)
    assert caught.value.reason is reason
    assert "s3://models/b.onnx" in caught.value.message


@pytest.mark.parametrize(("status", "reason"), REFUSALS.items(), ids=str)
def test_what_a_bucket_refuses_to_list(server: Server, tmp_path: Path, status: int, reason: Reason) -> None:
    server.put("/models?list", b"<Error><Code>X</Code></Error>", status)
    with pytest.raises(FetchProblem) as caught:
        fetched("s3://models/p/", tmp_path, "python", AWS_ENDPOINT_URL=server.url, **S3_SECRET)
    assert caught.value.reason is reason
    assert "s3://models/p/" in caught.value.message


def test_a_file_from_a_hub_with_a_token(server: Server, tmp_path: Path) -> None:
    server.put("/org/repo/resolve/v1/onnx/m.onnx", CONTENT)
    made = fetched("hf://org/repo@v1/onnx/m.onnx", tmp_path, HF_ENDPOINT=server.url, HF_TOKEN="t")
    assert made == {"m.onnx": DIGEST}
    assert server.asked == [("/org/repo/resolve/v1/onnx/m.onnx", "Bearer t")]


def test_a_folder_from_a_hub(server: Server, tmp_path: Path) -> None:
    tree = [
        {"type": "directory", "path": "p/sub"},
        {"type": "file", "path": "p/sub/x"},
        {"type": "file", "path": "p/y"},
    ]
    server.put("/api/models/org/repo/tree/main/p", json.dumps(tree).encode())
    for name in ("sub/x", "y"):
        server.put(f"/org/repo/resolve/main/p/{name}", CONTENT)
    made = fetched("hf://org/repo/p/", tmp_path, "python", HF_ENDPOINT=server.url)
    assert made == {"sub/x": DIGEST, "y": DIGEST}


def _artefact(server: Server, **layer: object) -> None:
    digest = layer.pop("digest", f"sha256:{DIGEST}")
    manifest = {
        "layers": [{"mediaType": "application/octet-stream", "digest": digest, "size": len(CONTENT), **layer}]
    }
    server.put("/v2/t/m/manifests/1", json.dumps(manifest).encode())
    server.put(f"/v2/t/m/blobs/{digest}", CONTENT)


def test_an_artefact_from_a_registry_that_wants_a_token(server: Server, tmp_path: Path) -> None:
    server.token = "Bearer secret"
    server.put("/token", b'{"token": "secret"}')
    _artefact(server, annotations={"org.opencontainers.image.title": "m.onnx"})
    login = {"OCI_PLAIN_HTTP": "true", "OCI_USERNAME": "u", "OCI_PASSWORD": "p"}
    assert fetched(f"oci://{server.host}/t/m:1", tmp_path, **login) == {"m.onnx": DIGEST}
    assert ("/token", "Basic dTpw") in server.asked


def test_a_registry_that_gives_other_bytes_is_found_out(server: Server, tmp_path: Path) -> None:
    _artefact(server, digest="sha256:" + "0" * 64)
    with pytest.raises(FetchProblem) as caught:
        fetched(f"oci://{server.host}/t/m:1", tmp_path, OCI_PLAIN_HTTP="true")
    assert caught.value.reason is Reason.DIGEST_MISMATCH


def test_an_artefact_whose_title_leads_out_is_refused(server: Server, tmp_path: Path) -> None:
    _artefact(server, annotations={"org.opencontainers.image.title": "../../evil"})
    with pytest.raises(FetchProblem, match="does not stay inside"):
        fetched(f"oci://{server.host}/t/m:1", tmp_path, OCI_PLAIN_HTTP="true")


def test_a_fault_that_passes_is_tried_again_and_the_bytes_are_counted_once(
    server: Server, tmp_path: Path
) -> None:
    server.put("/org/repo/resolve/main/m.onnx", CONTENT)
    server.fail_first["/org/repo/resolve/main/m.onnx"] = 4
    assert fetched("hf://org/repo/m.onnx", tmp_path, HF_ENDPOINT=server.url) == {"m.onnx": DIGEST}
    assert len(server.asked) == 5


def test_a_fault_that_stays_is_told_after_five_attempts(server: Server, tmp_path: Path) -> None:
    server.fail_first["/org/repo/resolve/main/m.onnx"] = 99
    with pytest.raises(FetchProblem, match=r"answers 503.*last of 5 attempts"):
        fetched("hf://org/repo/m.onnx", tmp_path, HF_ENDPOINT=server.url)
    assert len(server.asked) == 5


def test_a_refusal_is_not_tried_again(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FetchProblem, match="404"):
        fetched("hf://org/repo/m.onnx", tmp_path, HF_ENDPOINT=server.url)
    assert len(server.asked) == 1


def test_a_short_body_is_an_interruption_and_not_a_short_file(server: Server) -> None:
    server.put("/a", b"half", **{"Content-Length": "9", "Connection": "close"})
    web = Web(frozenset({server.host}))
    with pytest.raises(Interrupted, match="connection broke"), web.get(f"{server.url}/a") as response:
        small_body(response, server.url)


def test_secrets_stay_behind_when_another_host_takes_over(server: Server) -> None:
    other = Server()
    threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
    other.put("/b", b"ok")
    server.put("/a", b"", 302, Location=f"{other.url}/b")
    with Web(frozenset({server.host, other.host})).get(f"{server.url}/a", {"Authorization": "x"}) as response:
        assert small_body(response, "") == b"ok"
    assert server.asked == [("/a", "x")]
    assert other.asked == [("/b", None)]
    other.shutdown()
    other.server_close()


def test_no_redirect_leaves_tls(server: Server) -> None:
    server.put("/a", b"", 302, Location="http://127.0.0.1:1/b")
    with (
        pytest.raises(FetchProblem, match="is not https"),
        Web(frozenset({server.host})).get(f"{server.url}/a"),
    ):
        pass


def test_a_redirect_in_a_circle_ends(server: Server) -> None:
    server.put("/a", b"", 302, Location="/a")
    with (
        pytest.raises(FetchProblem, match="redirects more than"),
        Web(frozenset({server.host})).get(f"{server.url}/a"),
    ):
        pass


@pytest.mark.parametrize("uri", ["s3://bucket", "oci://host", "hf://org"])
def test_a_uri_that_names_nothing_is_told(tmp_path: Path, uri: str) -> None:
    with pytest.raises(FetchProblem) as caught:
        fetched(uri, tmp_path)
    assert caught.value.reason is Reason.MODEL_NOT_FOUND
