"""What every store can do, and which one a uri names.

Each store has its own way to let exactly one of several publishers win, and none to show half an artefact.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from seawall.fetch.order import Credentials
from seawall.fetch.problem import FetchProblem, Interrupted, Reason
from seawall.optimize.types import Passing, Refused

T = TypeVar("T")
ATTEMPTS = 4
CREDENTIALS_FOLDER = Path("/var/run/seawall/artifacts")
MOUNT = Path("/artifacts")
_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Found:
    """What a store has under a key, before anybody has looked whether it is whole."""

    uri: str
    manifest: bytes
    envelope: bytes | None
    sizes: Mapping[str, int]
    """of the files that are really there"""


class Store(Protocol):
    """Every method raises Refused or Passing."""

    uri: str

    def find(self, key: str) -> Found | None: ...

    def publish(
        self, key: str, files: Mapping[str, Path], documents: Mapping[str, bytes], replace: bool
    ) -> None:
        """Files first; then, in one step, the key, unless another has it and is not to be replaced."""

    def put_stage(self, key: str, tar: Path) -> None: ...

    def get_stage(self, key: str, tar: Path) -> bool: ...


def open_store(
    uri: str,
    credentials: Credentials | None = None,
    mount: Path = MOUNT,
    sleep: Callable[[float], None] = time.sleep,
) -> Store:
    """`s3://bucket/prefix`, `oci://registry/repository`, `pvc://claim/prefix` (the claim is mounted at
    `mount`), or a folder of this machine. Raises Refused for anything else."""
    known = credentials or store_credentials(os.environ)
    scheme, separator, rest = uri.partition("://")
    if not separator:
        from seawall.optimize.publish.folder import FolderStore  # noqa: PLC0415

        return FolderStore(Path(uri).absolute(), str(Path(uri).absolute()))
    if scheme == "pvc" and rest.partition("/")[0]:
        from seawall.optimize.publish.folder import FolderStore  # noqa: PLC0415

        prefix = [part for part in rest.split("/")[1:] if part]
        if not {".", ".."}.isdisjoint(prefix):
            raise Refused("ArtifactStoreMissing", f"{uri} leads out of the volume")
        return FolderStore(mount.joinpath(*prefix), uri.rstrip("/"))
    if scheme == "s3" and rest.partition("/")[0]:
        from seawall.optimize.publish.objects import ObjectStore  # noqa: PLC0415

        return ObjectStore(uri.rstrip("/"), known)
    if scheme == "oci":
        from seawall.optimize.publish.registry import RegistryStore  # noqa: PLC0415

        return RegistryStore(uri.rstrip("/"), known, sleep)
    raise Refused(
        "ArtifactStoreMissing",
        f"{uri} is no store for artefacts; use s3://bucket/prefix, oci://registry/repository or"
        " pvc://claim/prefix",
    )


def store_credentials(environment: Mapping[str, str]) -> Credentials:
    """The store's own Secret where it is mounted, apart from the model's; else the environment."""
    if CREDENTIALS_FOLDER.is_dir():
        return Credentials({}, CREDENTIALS_FOLDER)
    return Credentials(environment)


def checked_key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no key of an artefact")
    return key


@contextmanager
def told(uri: str) -> Iterator[None]:
    """The fetcher's problems as those of a store."""
    try:
        yield
    except Interrupted as error:
        raise Passing(f"the store {uri} does not answer as it should: {error}") from error
    except OSError as error:
        raise Passing(f"a file on the way to or from the store {uri}: {error}") from error
    except FetchProblem as problem:
        reasons = {
            Reason.MODEL_NOT_FOUND: "ArtifactStoreMissing",
            Reason.CREDENTIALS_REFUSED: "CredentialsRefused",
        }
        reason = reasons.get(problem.reason, "PublishFailed")
        raise Refused(reason, f"the store {uri} cannot be used: {problem.message}") from problem


def retried(work: Callable[[], T], sleep: Callable[[float], None]) -> T:
    """The result of `work`, repeated after an interruption: 1, 2 and 4 seconds apart."""
    for attempt in range(1, ATTEMPTS):
        try:
            return work()
        except Interrupted:
            sleep(2.0 ** (attempt - 1))
    return work()
