"""oci:// sources: a model pushed to a registry as an artefact, one file or tar per layer."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from urllib3.response import BaseHTTPResponse

from seawall.fetch.https import basic
from seawall.fetch.order import Credentials
from seawall.fetch.problem import FetchProblem, Reason, invalid_model, not_found
from seawall.fetch.sources import RemoteFile, checked_path
from seawall.fetch.web import Body, Web, body, small_body

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
TITLE = "org.opencontainers.image.title"
_URI = re.compile(
    r"oci://(?P<host>[^/]+)/(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64})|:(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?"
)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


def artefact_files(uri: str, credentials: Credentials) -> list[RemoteFile]:
    registry, reference = repository(uri, credentials)
    manifest = registry.manifest(reference or "latest", uri)
    layers = manifest.get("layers")
    if not isinstance(layers, list) or not layers:
        raise invalid_model(f"{uri} has no layers")
    titled = [_title(layer) for layer in layers]
    if len(layers) > 1 and not all(titled):
        raise invalid_model(f"{uri} is an image of {len(layers)} layers and not a model artefact")
    return [
        registry.layer(layer, title or _plain_name(layer))
        for layer, title in zip(layers, titled, strict=True)
    ]


def repository(uri: str, credentials: Credentials) -> tuple[Registry, str | None]:
    """The repository that the uri names, and the digest or tag in it if it names one."""
    match = _URI.fullmatch(uri)
    if match is None:
        raise not_found(f"{uri} does not look like oci://registry.example.com/team/model:tag")
    return Registry(match["host"], match["name"], credentials), match["digest"] or match["tag"]


def _title(layer: dict[str, Any]) -> str | None:
    title = (layer.get("annotations") or {}).get(TITLE)
    return str(checked_path(title)) if isinstance(title, str) and title else None


def _plain_name(layer: dict[str, Any]) -> str:
    """A layer without a title is a tar if its media type says so, else the model file itself."""
    media = str(layer.get("mediaType", ""))
    if "tar" not in media:
        return "model"
    return "model.tar.gz" if "gzip" in media else "model.tar"


@dataclass(slots=True)
class Registry:
    """One repository of a registry."""

    host: str
    name: str
    credentials: Credentials
    _token: str | None = None
    _connections: Web | None = None

    @property
    def _scheme(self) -> str:
        return "http" if self.credentials.flag("OCI_PLAIN_HTTP") else "https"

    @property
    def _web(self) -> Web:
        if self._connections is None:
            self._connections = Web(frozenset({self.host}) if self._scheme == "http" else frozenset())
        return self._connections

    def manifest_bytes(self, reference: str) -> bytes:
        url = self.url(f"manifests/{reference}")
        with self.ask("GET", url, {"Accept": ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))}) as response:
            return small_body(response, url)

    def manifest(self, reference: str, uri: str) -> dict[str, Any]:
        content = self.manifest_bytes(reference)
        if reference.startswith("sha256:"):
            _require_digest(content, reference, uri)
        try:
            found = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise FetchProblem(Reason.FETCH_FAILED, f"{uri}: the manifest is no JSON") from error
        if not isinstance(found, dict):
            raise FetchProblem(Reason.FETCH_FAILED, f"{uri}: the manifest is no object")
        if found.get("mediaType") in INDEX_TYPES or "manifests" in found:
            inner = found.get("manifests") or []
            if len(inner) != 1:
                raise invalid_model(f"{uri} is an index of {len(inner)} manifests; name one by its digest")
            return self.manifest(str(inner[0]["digest"]), uri)
        return found

    def layer(self, layer: dict[str, Any], path: str) -> RemoteFile:
        digest, size = str(layer.get("digest", "")), layer.get("size")
        if not re.fullmatch("sha256:[0-9a-f]{64}", digest):
            raise invalid_model(f"layer {path} has a digest that is not supported: {digest}")
        url = self.url(f"blobs/{digest}")

        def read() -> Iterator[bytes]:
            with self.ask("GET", url) as response:
                yield from body(response, url)

        return RemoteFile(path, read, size if isinstance(size, int) else None, digest.removeprefix("sha256:"))

    def url(self, path: str) -> str:
        return f"{self._scheme}://{self.host}/v2/{self.name}/{path}"

    @contextmanager
    def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        content: Callable[[], Body] | None = None,
        accept: tuple[int, ...] = (200,),
    ) -> Iterator[BaseHTTPResponse]:
        """One request, once more after a challenge: another scope, or a token that is no longer good."""
        for challenged in (False, True):
            # An upload may continue elsewhere; the token is for this host.
            mine = self._token if urlsplit(url).netloc == self.host else None
            known = {"Authorization": mine} if mine else {}
            with self._open(method, url, {**(headers or {}), **known}, content, accept) as response:
                if response.status != 401:
                    yield response
                    return
                challenge = response.headers.get("WWW-Authenticate") or ""
            if not challenged:
                self._token = self._answer(challenge)
        raise FetchProblem(
            Reason.CREDENTIALS_REFUSED, f"{self.host} refuses {self.name} to these credentials"
        )

    @contextmanager
    def _open(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        content: Callable[[], Body] | None,
        accept: tuple[int, ...],
    ) -> Iterator[BaseHTTPResponse]:
        if method == "GET":
            with self._web.get(url, headers, accept=(*accept, 401)) as response:
                yield response
            return
        sent = content() if content else None
        try:
            with self._web.send(method, url, headers, sent, accept=(*accept, 401)) as response:
                yield response
        finally:
            if sent is not None and not isinstance(sent, bytes):
                sent.close()

    def _answer(self, challenge: str) -> str:
        """What the registry wants to see in Authorization."""
        login = self._login()
        kind, _, rest = challenge.partition(" ")
        if kind.lower() == "basic" and login:
            return basic(*login)
        asked = dict(_PARAMETER.findall(rest))
        if kind.lower() != "bearer" or "realm" not in asked:
            raise FetchProblem(
                Reason.CREDENTIALS_REFUSED,
                f"{self.host} wants a login; put OCI_USERNAME and OCI_PASSWORD into credentialsSecret",
            )
        query = {k: asked[k] for k in ("service", "scope") if k in asked}
        url = f"{asked['realm']}?{urlencode(query)}"
        # The login goes where the registry says: at least over TLS, as Web demands.
        headers = {"Authorization": basic(*login)} if login else {}
        with self._web.get(url, headers) as response:
            body = small_body(response, url)
        try:
            told = json.loads(body)
            token = told.get("token") or told.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = None
        if not isinstance(token, str):
            raise FetchProblem(Reason.CREDENTIALS_REFUSED, f"{urlsplit(url).netloc} gives no token")
        return f"Bearer {token}"

    def _login(self) -> tuple[str, str] | None:
        user, password = self.credentials.get("OCI_USERNAME"), self.credentials.get("OCI_PASSWORD")
        if user and password:
            return user, password
        return self._docker_login()

    def _docker_login(self) -> tuple[str, str] | None:
        """From a Secret of type kubernetes.io/dockerconfigjson."""
        text = self.credentials.get(".dockerconfigjson")
        if not text:
            return None
        try:
            entry = json.loads(text)["auths"][self.host]
            user, password = entry.get("username"), entry.get("password")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return (user, password) if user and password else None


def _require_digest(content: bytes, digest: str, uri: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if f"sha256:{found}" != digest:
        raise FetchProblem(Reason.DIGEST_MISMATCH, f"{uri}: the manifest's digest is sha256:{found}")
