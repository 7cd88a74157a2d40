"""Remote files onto the disk: streamed, hashed on the way, tried again after faults that pass."""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from seawall.fetch.cache import Cache
from seawall.fetch.log import say
from seawall.fetch.order import Budget
from seawall.fetch.problem import FetchProblem, Interrupted, Reason
from seawall.fetch.sources import RemoteFile, checked_path

T = TypeVar("T")
ATTEMPTS = 5
LOG_SECONDS = 5.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def patiently(work: Callable[[], T], sleep: Callable[[float], None], budget: Budget) -> T:
    """The result of `work`, repeated after an interruption: five attempts, 1 + 2 + 4 + 8 seconds apart."""
    for attempt in range(1, ATTEMPTS + 1):
        budget.check_time()
        try:
            return work()
        except Interrupted as error:
            if attempt == ATTEMPTS:
                raise FetchProblem(
                    Reason.FETCH_FAILED, f"{error} (the last of {ATTEMPTS} attempts)"
                ) from error
            pause = 2.0 ** (attempt - 1)
            say("interrupted, trying again", "warning", error=str(error), seconds=pause)
            sleep(pause)
    raise AssertionError("unreachable")


def download(
    files: Sequence[RemoteFile],
    folder: Path,
    budget: Budget,
    sleep: Callable[[float], None],
    cache: Cache | None = None,
) -> dict[str, str]:
    """Writes all files below `folder`, from the node's cache where it has them; returns the SHA-256 of each
    by path."""
    _require_room(files, folder)
    digests: dict[str, str] = {}
    for file in files:
        target = folder.joinpath(*checked_path(file.path).parts)
        with space_told():
            target.parent.mkdir(parents=True, exist_ok=True)
        digests[file.path] = _obtained(file, target, budget, sleep, cache)
    return digests


def _obtained(
    file: RemoteFile, target: Path, budget: Budget, sleep: Callable[[float], None], cache: Cache | None
) -> str:
    known = file.expected or file.sha256
    if cache is not None and known is not None:
        with space_told():
            if cache.take(known, target, budget):
                return known
    found = patiently(lambda: _write(file, target, budget), sleep, budget)
    if cache is not None and found == known:
        cache.put(found, target)
    return found


def _write(file: RemoteFile, target: Path, budget: Budget) -> str:
    digest, written, told = hashlib.sha256(), 0, budget.elapsed
    try:
        with space_told(), target.open("wb") as sink:
            for piece in file.read():
                budget.charge(len(piece))
                written += len(piece)
                digest.update(piece)
                sink.write(piece)
                if budget.elapsed - told >= LOG_SECONDS:
                    told = budget.elapsed
                    say("fetching", file=file.path, bytes=written, of=file.size)
    except Interrupted:
        budget.refund(written)
        raise
    found = digest.hexdigest()
    if file.sha256 is not None and found != file.sha256:
        raise FetchProblem(
            Reason.DIGEST_MISMATCH, f"{file.path} has the digest {found}, the source promised {file.sha256}"
        )
    say("fetched", file=file.path, bytes=written, sha256=found)
    return found


def _require_room(files: Sequence[RemoteFile], folder: Path) -> None:
    needed, free = sum(file.size or 0 for file in files), shutil.disk_usage(folder).free
    if needed > free:
        raise FetchProblem(
            Reason.NO_SPACE, f"the model has {needed} bytes, the node's disk {free} bytes left"
        )


@contextmanager
def space_told() -> Iterator[None]:
    """A full disk, as a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise FetchProblem(
            Reason.NO_SPACE, "there is no space left for the model on the node or in the volume `models`"
        ) from error


def digest_of(digests: dict[str, str]) -> str:
    """Of one file its SHA-256; of a folder that of the lines `<sha256>  <path>`, sorted by path.

    The latter is what `find . -type f -printf '%P\\0' | sort -z | xargs -0 sha256sum | sha256sum` prints.
    """
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = "".join(f"{digests[path]}  {path}\n" for path in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


def require_digest(wanted: str | None, digests: dict[str, str], uri: str) -> None:
    found = digest_of(digests)
    if wanted is not None and wanted != found:
        raise FetchProblem(
            Reason.DIGEST_MISMATCH,
            f"{uri.split('?', maxsplit=1)[0]} has the SHA-256 {found}, spec.model.sha256 wants {wanted}",
        )
