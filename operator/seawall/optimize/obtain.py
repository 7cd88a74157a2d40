"""The fetch stage: the model and its data onto this disk, digests checked before anything reads them.

What a uri means, how it is tried again, how much it may write and how archives are opened is the fetcher's;
a path without a scheme is a file of this machine, for the command line.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from seawall.fetch.archive import unpack
from seawall.fetch.download import digest_of, download, patiently
from seawall.fetch.order import Budget, Credentials, Order
from seawall.fetch.problem import FetchProblem, Reason
from seawall.fetch.sources import ARCHIVE_SUFFIXES, RemoteFile, list_files
from seawall.fetch.web import CHUNK
from seawall.optimize.types import BuildOrder, Fetched, Passing, Refused, Say

MAX_BYTES = 20 * 2**30
MAX_DATA_BYTES = 4 * 2**30
SECONDS = 1800.0
_FOLDERS = ("tensorflow", "repository")
"""formats whose uri names a folder even without a slash at its end"""
Sleep = Callable[[float], None]


def obtain(
    order: BuildOrder, folder: Path, environment: Mapping[str, str], say: Say, sleep: Sleep = time.sleep
) -> Fetched:
    """The model below `folder`. Raises Refused or Passing."""
    budget = Budget(
        int(environment.get("SEAWALL_FETCH_MAX_BYTES", MAX_BYTES)),
        float(environment.get("SEAWALL_FETCH_TIMEOUT_SECONDS", SECONDS)),
        time.monotonic,
    )
    digests = _download(order.model, order.format, folder / "fetched", environment, budget, say, sleep)
    found = digest_of(digests)
    if order.sha256 is not None and order.sha256 != found:
        raise Refused(
            "DigestMismatch", f"{_told(order.model)} has the SHA-256 {found}, wanted is {order.sha256}"
        )
    path = _opened(folder / "fetched", folder / "unpacked", budget)
    return Fetched(path, order.format, found, _bytes(path))


def obtain_data(
    uri: str, folder: Path, environment: Mapping[str, str], say: Say, sleep: Sleep = time.sleep
) -> tuple[Path, str]:
    """One file of data and its SHA-256. Raises Refused or Passing."""
    budget = Budget(MAX_DATA_BYTES, SECONDS, time.monotonic)
    digests = _download(uri, "data", folder, environment, budget, say, sleep)
    if len(digests) != 1:
        raise Refused("InvalidData", f"{_told(uri)} holds {len(digests)} files; one .npz file is needed")
    name = next(iter(digests))
    return folder / name, digests[name]


def is_local(uri: str) -> bool:
    return "://" not in uri


def _download(
    uri: str,
    kind: str,
    folder: Path,
    environment: Mapping[str, str],
    budget: Budget,
    say: Say,
    sleep: Sleep,
) -> dict[str, str]:
    folder.mkdir(parents=True, exist_ok=True)
    with _told_as(say), _as_refusal(budget):
        if is_local(uri):
            files = _local_files(Path(uri))
        else:
            # The fetcher's formats decide one thing only: whether the uri names a file or a folder.
            wanted = Order("model", uri, "repository" if kind in _FOLDERS else "onnx", "", {})
            credentials = Credentials(environment)
            files = patiently(lambda: list_files(wanted, credentials), sleep, budget)
        return download(files, folder, budget, sleep)


def _local_files(path: Path) -> list[RemoteFile]:
    if path.is_file():
        return [_local_file(path, path.name)]
    if not path.is_dir():
        raise Refused("ModelNotFound", f"there is no file {path}")
    found = [
        _local_file(Path(parent, name), Path(parent, name).relative_to(path).as_posix())
        for parent, _, names in os.walk(path)
        for name in sorted(names)
    ]
    if not found:
        raise Refused("ModelNotFound", f"the folder {path} is empty")
    return found


def _local_file(path: Path, relative: str) -> RemoteFile:
    def read() -> Iterator[bytes]:
        with path.open("rb") as source:
            while piece := source.read(CHUNK):
                yield piece

    return RemoteFile(relative, read, path.stat().st_size)


def _opened(fetched: Path, unpacked: Path, budget: Budget) -> Path:
    """The one file, the folder, or what a single archive held."""
    with _as_refusal(budget):
        entries = list(fetched.iterdir())
        if len(entries) == 1 and entries[0].name.lower().endswith(ARCHIVE_SUFFIXES):
            unpacked.mkdir()
            unpack(entries[0], unpacked, budget)
            entries[0].unlink()
            entries, fetched = list(unpacked.iterdir()), unpacked
            if not entries:
                raise Refused("InvalidModel", "the archive is empty")
    return entries[0] if len(entries) == 1 else fetched


@contextlib.contextmanager
def _as_refusal(budget: Budget) -> Iterator[None]:
    """The fetcher's failures in this room's words; what may pass on another try or another node, passes."""
    try:
        yield
    except FetchProblem as problem:
        too_large = problem.reason == Reason.NO_SPACE and budget.used > budget.max_bytes
        if problem.reason in (Reason.FETCH_FAILED, Reason.NO_SPACE) and not too_large:
            raise Passing(f"{problem.reason}: {problem.message}") from problem
        raise Refused(str(problem.reason), problem.message) from problem
    except OSError as error:
        raise Passing(f"FetchFailed: {error.strerror or error}: {error.filename or ''}") from error


class _Lines(io.TextIOBase):
    """The fetcher's log, one JSON object a line, as progress."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._own = sys.stdout

    def write(self, text: str) -> int:
        for line in text.splitlines():
            facts = json.loads(line)
            size, of = facts.get("bytes"), facts.get("of")
            percent = 100.0 * size / of if size and of else None
            with contextlib.redirect_stdout(self._own):
                self._say("fetch", percent, " ".join(filter(None, (facts["message"], facts.get("file")))))
        return len(text)


@contextlib.contextmanager
def _told_as(say: Say) -> Iterator[None]:
    with contextlib.redirect_stdout(_Lines(say)):
        yield


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)


def _told(uri: str) -> str:
    """Without the query, which may carry a signature."""
    return uri.split("?", maxsplit=1)[0]
