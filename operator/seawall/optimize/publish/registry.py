"""Artefacts in an OCI registry: one layer per file, its path as the title, and the key as the tag.

Registries know no conditional tag. Publishers look at the tag first; when two do so at the same moment the
later one has the tag, and both are whole: they are served by digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from seawall.fetch.artifact import ENVELOPE, MANIFEST, OWN_FILES
from seawall.fetch.oci import MANIFEST_TYPES, TITLE, repository
from seawall.fetch.order import Credentials
from seawall.fetch.problem import FetchProblem, Reason
from seawall.fetch.web import body, small_body
from seawall.optimize.publish.stores import Found, checked_key, retried, told
from seawall.optimize.types import Refused

ARTIFACT_TYPE = "application/vnd.seawall.model-build.v1"
STAGE_TYPE = "application/vnd.seawall.build-stage.v1"
FILE_TYPE = "application/octet-stream"
TAR_TYPE = "application/vnd.oci.image.layer.v1.tar"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"

Descriptor = dict[str, Any]


class RegistryStore:
    def __init__(self, uri: str, credentials: Credentials, sleep: Callable[[float], None]) -> None:
        self.uri = uri
        self._sleep = sleep
        with told(uri):
            self._registry, reference = repository(uri, credentials)
        if reference is not None:
            raise Refused("ArtifactStoreMissing", f"{uri} names one artefact; name a repository")

    def find(self, key: str) -> Found | None:
        with self._told():
            content = self._tagged(checked_key(key))
            if content is None:
                return None
            layers = _layers(content)
            documents = {name: self._blob(layers[name]) for name in OWN_FILES if name in layers}
            return Found(
                f"{self.uri}@{_digest(content)}",
                documents.get(MANIFEST, b""),
                documents.get(ENVELOPE),
                {
                    name: int(layer["size"])
                    for name, layer in layers.items()
                    if name not in OWN_FILES and self._there(layer["digest"])
                },
            )

    def publish(
        self, key: str, files: Mapping[str, Path], documents: Mapping[str, bytes], replace: bool
    ) -> None:
        with self._told():
            layers = [self._file(path, name) for name, path in sorted(files.items())]
            layers += [self._bytes(content, name) for name, content in documents.items()]
            if replace or self._tagged(checked_key(key)) is None:
                self._tag(key, ARTIFACT_TYPE, layers)

    def put_stage(self, key: str, tar: Path) -> None:
        with self._told():
            layer = self._file(tar, "stage.tar", TAR_TYPE)
            self._tag(f"stage-{checked_key(key)}", STAGE_TYPE, [layer])

    def get_stage(self, key: str, tar: Path) -> bool:
        with self._told():
            content = self._tagged(f"stage-{checked_key(key)}")
            layer = _layers(content).get("stage.tar") if content is not None else None
            if layer is None or not self._there(layer["digest"]):
                return False
            digest = retried(lambda: self._download(layer, tar), self._sleep)
            return bool(digest == layer["digest"])

    def _download(self, layer: Descriptor, target: Path) -> str:
        url, digest = self._registry.url(f"blobs/{layer['digest']}"), hashlib.sha256()
        with self._registry.ask("GET", url) as response, target.open("wb") as sink:
            for piece in body(response, url):
                digest.update(piece)
                sink.write(piece)
        return f"sha256:{digest.hexdigest()}"

    def _tagged(self, tag: str) -> bytes | None:
        try:
            return retried(lambda: self._registry.manifest_bytes(tag), self._sleep)
        except FetchProblem as problem:
            if problem.reason is Reason.MODEL_NOT_FOUND:
                return None
            raise

    def _blob(self, layer: Descriptor) -> bytes:
        url = self._registry.url(f"blobs/{layer['digest']}")

        def read() -> bytes:
            with self._registry.ask("GET", url) as response:
                return small_body(response, url)

        return retried(read, self._sleep)

    def _there(self, digest: str) -> bool:
        url = self._registry.url(f"blobs/{digest}")

        def look() -> bool:
            with self._registry.ask("HEAD", url, accept=(200, 302, 307, 404)) as response:
                return response.status != 404

        return retried(look, self._sleep)

    def _file(self, path: Path, title: str, media_type: str = FILE_TYPE) -> Descriptor:
        with path.open("rb") as content:
            digest = f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"
        size = path.stat().st_size
        self._push(digest, size, lambda: path.open("rb"))
        return _descriptor(media_type, digest, size, title)

    def _bytes(self, content: bytes, title: str | None, media_type: str = FILE_TYPE) -> Descriptor:
        self._push(_digest(content), len(content), lambda: content)
        return _descriptor(media_type, _digest(content), len(content), title)

    def _push(self, digest: str, size: int, content: Callable[[], Any]) -> None:
        if self._there(digest):
            return

        def upload() -> None:
            start = self._registry.url("blobs/uploads/")
            with self._registry.ask("POST", start, {"Content-Length": "0"}, accept=(202,)) as response:
                place = urljoin(start, response.headers.get("Location") or "")
            url = f"{place}{'&' if '?' in place else '?'}digest={digest}"
            headers = {"Content-Length": str(size), "Content-Type": FILE_TYPE}
            with self._registry.ask("PUT", url, headers, content, accept=(201, 204)):
                pass

        retried(upload, self._sleep)

    def _tag(self, tag: str, artifact_type: str, layers: list[Descriptor]) -> None:
        content = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPES[0],
                "artifactType": artifact_type,
                "config": self._bytes(EMPTY, None, EMPTY_TYPE),
                "layers": layers,
            },
            sort_keys=True,
            separators=(",", ":"),
        ).encode()
        url = self._registry.url(f"manifests/{tag}")

        def put() -> None:
            headers = {"Content-Type": MANIFEST_TYPES[0]}
            with self._registry.ask("PUT", url, headers, lambda: content, accept=(201,)):
                pass

        retried(put, self._sleep)

    @contextmanager
    def _told(self) -> Iterator[None]:
        with told(self.uri):
            yield


def _descriptor(media_type: str, digest: str, size: int, title: str | None) -> Descriptor:
    made: Descriptor = {"mediaType": media_type, "digest": digest, "size": size}
    return {**made, "annotations": {TITLE: title}} if title else made


def _layers(manifest: bytes) -> dict[str, Descriptor]:
    """By title; what is not as this store writes it is left out, and so found to be missing."""
    try:
        return {
            str(layer["annotations"][TITLE]): layer
            for layer in json.loads(manifest)["layers"]
            if isinstance(layer["digest"], str) and isinstance(layer["size"], int)
        }
    except (ValueError, KeyError, TypeError):
        return {}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
