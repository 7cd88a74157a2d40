"""Artefacts in an S3-compatible bucket, through obstore.

    <prefix>/<key>/<digest of the manifest>/…    the files, then envelope and manifest
    <prefix>/<key>/published.json                names that digest; written last, and only if it is not there

Two publishers of one key write to different places, so neither can spoil what the other has published.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import obstore
from obstore import exceptions

from seawall.fetch.artifact import ENVELOPE, MANIFEST, OWN_FILES
from seawall.fetch.objects import first_line, object_store, status_of
from seawall.fetch.order import DIGEST, Credentials
from seawall.fetch.web import CHUNK
from seawall.optimize.publish.stores import Found, checked_key, told
from seawall.optimize.types import Passing, Refused

POINTER = "published.json"
# 10 000 parts are the most that S3 takes: 160 GB; four at once are 64 MiB in memory.
_PART = {"chunk_size": 16 * 1024 * 1024, "max_concurrency": 4}
_PASSING = (408, 409, 425, 429)


class ObjectStore:
    def __init__(self, uri: str, credentials: Credentials) -> None:
        self.uri = uri
        scheme, _, rest = uri.partition("://")
        bucket, _, prefix = rest.partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        with told(uri), self._told():
            self._store: Any = object_store(scheme, bucket, credentials)

    def find(self, key: str) -> Found | None:
        pointer = self._get(f"{checked_key(key)}/{POINTER}")
        digest = _digest_in(pointer) if pointer is not None else None
        if pointer is None:
            return None
        folder = f"{key}/{digest}"
        manifest = self._get(f"{folder}/{MANIFEST}") if digest else None
        sizes = self._sizes(folder) if digest else {}
        return Found(f"{self.uri}/{folder}/", manifest or b"", self._get(f"{folder}/{ENVELOPE}"), sizes)

    def publish(
        self, key: str, files: Mapping[str, Path], documents: Mapping[str, bytes], replace: bool
    ) -> None:
        digest = hashlib.sha256(documents[MANIFEST]).hexdigest()
        folder = f"{checked_key(key)}/{digest}"
        with self._told():
            for name, path in files.items():
                obstore.put(self._store, self._at(f"{folder}/{name}"), path, **_PART)
            for name, content in documents.items():
                obstore.put(self._store, self._at(f"{folder}/{name}"), content)
            pointer = json.dumps({"manifest": digest}).encode()
            try:
                obstore.put(
                    self._store,
                    self._at(f"{key}/{POINTER}"),
                    pointer,
                    mode="overwrite" if replace else "create",
                )
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError, FileExistsError):
                self._withdraw(key, digest, [*files, *documents])

    def put_stage(self, key: str, tar: Path) -> None:
        with self._told():
            obstore.put(self._store, self._at(_stage(key)), tar, **_PART)

    def get_stage(self, key: str, tar: Path) -> bool:
        with self._told():
            try:
                content = obstore.get(self._store, self._at(_stage(key)))
            except (exceptions.NotFoundError, FileNotFoundError) as error:
                return _absent(error, self.uri)
            with tar.open("wb") as sink:
                for piece in content.stream(min_chunk_size=CHUNK):
                    sink.write(piece)
        return True

    def _withdraw(self, key: str, digest: str, names: list[str]) -> None:
        """Another publisher was first: what this one wrote serves nobody, unless it is the very same."""
        there = self._get(f"{key}/{POINTER}")
        if there is None or _digest_in(there) == digest:
            return
        for name in names:
            obstore.delete(self._store, self._at(f"{key}/{digest}/{name}"))

    def _sizes(self, folder: str) -> dict[str, int]:
        below = self._at(f"{folder}/")
        with self._told():
            found = {
                meta["path"].removeprefix(below): meta["size"]
                for page in self._store.list(below.rstrip("/"))
                for meta in page
            }
        return {name: size for name, size in found.items() if name not in OWN_FILES}

    def _get(self, path: str) -> bytes | None:
        with self._told():
            try:
                return bytes(obstore.get(self._store, self._at(path)).bytes())
            except (exceptions.NotFoundError, FileNotFoundError) as error:
                _absent(error, self.uri)
                return None

    def _at(self, path: str) -> str:
        return self._prefix + path

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (exceptions.NotFoundError, FileNotFoundError) as error:
            raise _missing(error, self.uri) from error
        except (
            exceptions.PermissionDeniedError,
            exceptions.UnauthenticatedError,
            PermissionError,
        ) as error:
            raise Refused(
                "CredentialsRefused",
                f"the store {self.uri} may not be used with these credentials: {first_line(error)}",
            ) from error
        except (exceptions.BaseError, OSError, ValueError) as error:
            said = f"the store {self.uri}: {first_line(error)}"
            status = status_of(error)
            if status in (401, 403):
                raise Refused("CredentialsRefused", said) from error
            if status == 404:
                raise _missing(error, self.uri) from error
            if isinstance(error, ValueError) or (status in range(400, 500) and status not in _PASSING):
                raise Refused("PublishFailed", said) from error
            raise Passing(said) from error


def _stage(key: str) -> str:
    return f"stages/{checked_key(key)}.tar"


def _digest_in(pointer: bytes) -> str | None:
    try:
        digest = json.loads(pointer)["manifest"]
    except (ValueError, KeyError, TypeError):
        return None
    return digest if isinstance(digest, str) and DIGEST.fullmatch(digest) else None


def _absent(error: Exception, uri: str) -> bool:
    """False: nothing there. Raises Refused where it is the bucket that is not there."""
    if "NoSuchBucket" in str(error):
        raise _missing(error, uri)
    return False


def _missing(error: Exception, uri: str) -> Refused:
    return Refused("ArtifactStoreMissing", f"the store {uri} does not exist: {first_line(error)}")
