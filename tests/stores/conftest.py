"""The stores that artefacts are published to: a folder, a real S3 server and a real registry, on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from seawall_cluster import binaries

from seawall.fetch.order import Credentials
from seawall.fetch.run import main
from seawall.optimize.publish import Store, open_store

from .tokens import token_server

ACCESS, SECRET = "tester", "a-secret-of-the-tests"
# The same pair, as htpasswd -B would write it.
HTPASSWD = "tester:$2b$05$abcdefghijklmnopqrstuuot8dXIaTUgJta8Mg5DOO2rLYHXJ.TZG\n"
CONFIG = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}", relativeurls: true}}
auth: {auth}
"""
BY_PASSWORD = "{{htpasswd: {{realm: tests, path: {folder}/htpasswd}}}}"
BY_TOKEN = """\
{{token: {{realm: "http://{front}/token", service: tests, issuer: tests, jwks: {folder}/keys.json,
  signingalgorithms: [ES256]}}}}"""
OCI_LOGIN = {"OCI_USERNAME": ACCESS, "OCI_PASSWORD": SECRET, "OCI_PLAIN_HTTP": "true"}
LOGIN = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}


@dataclass
class Place:
    """Somewhere to publish to, with what it takes to write and to read there."""

    uri: str
    secret: dict[str, str]
    files: Path
    """where its server keeps what it was given"""

    def store(self, **secret: str) -> Store:
        return open_store(self.uri, Credentials({**self.secret, **secret}), mount=self.files)

    def fetch(self, folder: Path, order: str, **environment: str) -> int:
        """The exit code of the fetcher of a model's pod."""
        (folder / "models").mkdir(exist_ok=True)
        return main(
            {
                "SEAWALL_FETCH": order,
                "SEAWALL_FETCH_MODELS": str(folder / "models"),
                "SEAWALL_TERMINATION_LOG": str(folder / "termination-log"),
                **self.secret,
                **environment,
            },
            lambda _: None,
        )


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def _running(command: list[str], url: str, log: Path, **environment: str) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={"PATH": os.environ["PATH"], **environment}
        )
    try:
        _wait(process, url, log)
        yield
    finally:
        process.terminate()
        process.wait(10)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Until anything answers there at all."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - loopback
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"the server does not start: {log.read_text()[-1000:]}", pytrace=False)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    program = binaries.ensure(["versitygw"])["versitygw"]
    folder, port = tmp_path_factory.mktemp("s3"), _free_port()
    (folder / "data" / "bucket").mkdir(parents=True)
    url = f"http://127.0.0.1:{port}"
    command = [str(program), "--port", f"127.0.0.1:{port}", "posix", str(folder / "data")]
    with _running(command, url, folder / "log", ROOT_ACCESS_KEY=ACCESS, ROOT_SECRET_KEY=SECRET):
        files = folder / "data" / "bucket" / "models"
        yield Place("s3://bucket/models", {**LOGIN, "AWS_ENDPOINT_URL": url}, files)


@pytest.fixture(scope="session")
def oci(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A registry that wants a login."""
    program = binaries.ensure(["registry"])["registry"]
    folder, port = tmp_path_factory.mktemp("oci"), _free_port()
    (folder / "htpasswd").write_text(HTPASSWD)
    auth = BY_PASSWORD.format(folder=folder)
    (folder / "config.yml").write_text(CONFIG.format(port=port, folder=folder, auth=auth))
    command = [str(program), "serve", str(folder / "config.yml")]
    with _running(command, f"http://127.0.0.1:{port}/v2/", folder / "log"):
        yield Place(f"oci://127.0.0.1:{port}/team/models", OCI_LOGIN, folder / "data")


@pytest.fixture(scope="session")
def oci_with_tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A registry that wants a token of the right scope for every request."""
    program = binaries.ensure(["registry"])["registry"]
    folder, port = tmp_path_factory.mktemp("tokens"), _free_port()
    with token_server(ACCESS, SECRET) as front:
        front.write_keys(folder / "keys.json")
        front.behind = f"127.0.0.1:{port}"
        auth = BY_TOKEN.format(folder=folder, front=front.host)
        (folder / "config.yml").write_text(CONFIG.format(port=port, folder=folder, auth=auth))
        command = [str(program), "serve", str(folder / "config.yml")]
        with _running(command, f"http://127.0.0.1:{port}/v2/", folder / "log"):
            yield Place(f"oci://{front.host}/team/models", OCI_LOGIN, folder / "data")


@pytest.fixture
def pvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    claim = tmp_path / "claim"
    claim.mkdir()
    monkeypatch.setenv("SEAWALL_FETCH_SOURCE", str(claim))
    return Place("pvc://claim/models", {}, claim)


@pytest.fixture(params=["pvc", "s3", "oci", "oci_with_tokens"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found
