"""A published artefact: its manifest, and the proof that what was fetched is what was published.

The order names the manifest by its digest, and the manifest names every file: so whoever can write the store
can withhold a model, but not change it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from seawall.fetch.cache import Cache
from seawall.fetch.download import download, patiently
from seawall.fetch.order import DIGEST, ArtifactOrder, Budget, Credentials, Order
from seawall.fetch.problem import FetchProblem, Reason, invalid_model
from seawall.fetch.signature import require_signature
from seawall.fetch.sources import RemoteFile, checked_path, list_files

MANIFEST = "manifest.json"
ENVELOPE = "manifest.dsse.json"
OWN_FILES = (MANIFEST, ENVELOPE)
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://serving.seawall.dev/model-build/v1"
SMALL = 8 * 1024 * 1024
"""the most that a manifest or an envelope may hold"""

Listing = Callable[[], dict[str, RemoteFile]]


@dataclass(frozen=True, slots=True)
class Published:
    """What a manifest says."""

    digest: str
    """of the manifest itself"""
    files: Mapping[str, tuple[str, int]]
    """SHA-256 and size by path"""
    predicate: Mapping[str, Any]

    @property
    def layout(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.predicate["layout"]
        return found

    @property
    def kind(self) -> str:
        return str(self.layout["kind"])


def read_manifest(content: bytes) -> Published:
    """Raises ValueError on what is no manifest of a model build."""
    try:
        raw = json.loads(content)
        if raw["_type"] != STATEMENT_TYPE or raw["predicateType"] != PREDICATE_TYPE:
            raise ValueError(f"a {raw['predicateType']!r} is no model build")
        files = {str(checked_path(s["name"])): _subject(s) for s in raw["subject"]}
        if not files or len(files) != len(raw["subject"]) or not files.keys().isdisjoint(OWN_FILES):
            raise ValueError("its subjects are not the files of a model")
        if not isinstance(raw["predicate"]["layout"]["kind"], str):
            raise TypeError("layout.kind is no text")
    except (KeyError, TypeError, AttributeError, RecursionError, FetchProblem) as error:
        raise ValueError(f"the manifest is not as a build writes it: {error!r}") from error
    return Published(hashlib.sha256(content).hexdigest(), files, raw["predicate"])


def _subject(raw: Mapping[str, Any]) -> tuple[str, int]:
    digest, size = raw["digest"]["sha256"], raw["annotations"]["bytes"]
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise ValueError(f"{digest!r} is no SHA-256")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError(f"{size!r} is no size")
    return digest, size


def fetch_artifact(
    order: Order,
    wanted: ArtifactOrder,
    credentials: Credentials,
    staging: Path,
    budget: Budget,
    sleep: Callable[[float], None],
    cache: Cache | None,
) -> Published:
    """The artefact's files below `staging`, proven, without manifest and envelope. Raises FetchProblem."""

    @lru_cache(maxsize=1)
    def listed() -> dict[str, RemoteFile]:
        return {file.path: file for file in list_files(order, credentials)}

    own = _OwnFiles(order.uri, listed, staging, budget, sleep, cache)
    content = own.manifest(wanted.digest)
    try:
        published = read_manifest(content)
    except ValueError as error:
        raise invalid_model(f"{order.uri}: {error}") from error
    if published.kind != order.format:
        raise invalid_model(f"{order.uri} holds {published.kind!r}, the order wants {order.format!r}")
    if wanted.public_keys:
        require_signature(content, own.envelope(), wanted.public_keys)
    files = [
        RemoteFile(path, _lazy(path, listed, published, order.uri), size, expected=digest)
        for path, (digest, size) in published.files.items()
    ]
    _require_files(order.uri, published, download(files, staging, budget, sleep, cache))
    return published


@dataclass(frozen=True, slots=True)
class _OwnFiles:
    """Manifest and envelope: small, read before anything large is."""

    uri: str
    listed: Listing
    staging: Path
    budget: Budget
    sleep: Callable[[float], None]
    cache: Cache | None

    def manifest(self, digest: str) -> bytes:
        def read() -> Iterator[bytes]:
            yield from _found(self.listed(), MANIFEST, self.uri).read()

        content = self._read(RemoteFile(MANIFEST, read, expected=digest))
        if hashlib.sha256(content).hexdigest() != digest:
            raise _mismatch(f"{self.uri}: {MANIFEST} is not the one that was published, sha256:{digest}")
        return content

    def envelope(self) -> bytes | None:
        file = patiently(self.listed, self.sleep, self.budget).get(ENVELOPE)
        return self._read(file) if file is not None else None

    def _read(self, file: RemoteFile) -> bytes:
        def bounded() -> Iterator[bytes]:
            count = 0
            for piece in file.read():
                count += len(piece)
                if count > SMALL:
                    raise invalid_model(f"{self.uri}: {file.path} is larger than {SMALL} bytes")
                yield piece

        download([replace(file, read=bounded, size=None)], self.staging, self.budget, self.sleep, self.cache)
        path = self.staging / file.path
        content = path.read_bytes()
        path.unlink()
        return content


def _lazy(path: str, listed: Listing, published: Published, uri: str) -> Callable[[], Iterator[bytes]]:
    """The source is asked only when the cache does not have the file: pods restart while a store is away."""

    def read() -> Iterator[bytes]:
        there = listed()
        extra = there.keys() - published.files.keys() - set(OWN_FILES)
        if extra:
            raise _mismatch(f"{uri} holds {min(extra)}, which is no part of what was published")
        yield from _found(there, path, uri).read()

    return read


def _found(there: Mapping[str, RemoteFile], path: str, uri: str) -> RemoteFile:
    if path not in there:
        raise _mismatch(f"{uri} lacks {path}")
    return there[path]


def _require_files(uri: str, published: Published, digests: Mapping[str, str]) -> None:
    for path, (digest, _) in published.files.items():
        if digests[path] != digest:
            raise _mismatch(f"{uri}: {path} has the SHA-256 {digests[path]}, the manifest wants {digest}")


def _mismatch(message: str) -> FetchProblem:
    return FetchProblem(Reason.ARTIFACT_DIGEST_MISMATCH, message)
