"""The node's model cache, as one fetcher sees it: files by their SHA-256, shared by the pods of a namespace.

What is taken out is hashed on the way; what goes in is renamed into place when it is whole. No fault of the
cache is a fault of the fetch: then the model comes from its source.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from seawall.fetch.eviction import PART, entries, evict
from seawall.fetch.log import say
from seawall.fetch.order import DIGEST, Budget

CHUNK = 1024 * 1024
KEEP_FREE = 0.10
"""Share of the file system that a fetcher leaves free: there a kubelet begins to evict pods."""
_PLAIN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def model_cache(environment: Mapping[str, str]) -> Cache | None:
    """The cache that SEAWALL_MODEL_CACHE names, inside SEAWALL_MODEL_CACHE_BYTES if that is told."""
    folder = environment.get("SEAWALL_MODEL_CACHE")
    if not folder:
        return None
    bound = environment.get("SEAWALL_MODEL_CACHE_BYTES")
    return Cache(Path(folder), int(bound) if bound else None)


@dataclass(frozen=True, slots=True)
class Cache:
    root: Path
    most: int | None = None
    """bytes that this namespace may use; the node's bound over all namespaces is kept by `seawall cache`"""
    clock: Callable[[], float] = time.time

    def entry(self, sha256: str) -> Path:
        if not DIGEST.fullmatch(sha256):
            raise ValueError(f"{sha256!r} is no SHA-256")
        return self.root / sha256[:2] / sha256

    def take(self, sha256: str, target: Path, budget: Budget) -> bool:
        """True: `target` now is the file with this digest. Raises FetchProblem, and OSError of the target."""
        entry = self.entry(sha256)
        try:
            handle = _opened(entry)
        except OSError as error:
            if error.errno != errno.ENOENT:
                say("the cache's entry is of no use", "warning", sha256=sha256, error=str(error))
                self._remove(entry)
            return False
        before = budget.used
        if _copied(handle, target, budget) == sha256:
            self._touch(entry)
            say("taken from the node's cache", file=target.name, bytes=budget.used - before, sha256=sha256)
            return True
        budget.refund(budget.used - before)
        say("the cache's entry is damaged: removed, and fetched again", "warning", sha256=sha256)
        self._remove(entry)
        return False

    def put(self, sha256: str, source: Path) -> None:
        """Keeps a copy of the file, which has this digest, if there is room for it."""
        entry = self.entry(sha256)
        try:
            if entry.exists():
                self._touch(entry)
                return
            size = source.stat().st_size
            if not self._fits(size):
                say("not cached: the file does not fit", sha256=sha256, bytes=size, most=self.most)
                return
            self._copy_in(source, size, entry)
        except OSError as error:
            say("not cached", "warning", sha256=sha256, error=str(error))

    def _fits(self, size: int) -> bool:
        if self.most is not None and size > self.most:
            return False
        disk = os.statvfs(self.root)
        return disk.f_bavail * disk.f_frsize - size >= KEEP_FREE * disk.f_blocks * disk.f_frsize

    def _copy_in(self, source: Path, size: int, entry: Path) -> None:
        handle, name = tempfile.mkstemp(dir=self.root, prefix=PART)
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as sink, source.open("rb") as content:
                if size:
                    # Seen by every other fetcher's count from now on.
                    os.posix_fallocate(sink.fileno(), 0, size)
                os.utime(sink.fileno(), (self.clock(), self.clock()))
                if not self._inside_bound():
                    say("not cached: others are filling the cache", sha256=entry.name, bytes=size)
                    return
                shutil.copyfileobj(content, sink, CHUNK)
                os.fchmod(sink.fileno(), 0o644)
            _make_folder(entry.parent)
            part.replace(entry)
        finally:
            part.unlink(missing_ok=True)
        say("cached on the node", sha256=entry.name, bytes=size)

    def _inside_bound(self) -> bool:
        if self.most is None:
            return True
        return evict(self.root, entries(self.root), self.most, self.clock()).left <= self.most

    def _touch(self, entry: Path) -> None:
        now = self.clock()
        try:
            os.utime(entry, (now, now), follow_symlinks=False)
        except OSError as error:  # another uid's, or evicted meanwhile
            say("the time of use is not noted", "warning", sha256=entry.name, error=str(error))

    def _remove(self, entry: Path) -> None:
        try:
            entry.unlink(missing_ok=True)
        except OSError as error:
            say("the cache's entry cannot be removed", "warning", sha256=entry.name, error=str(error))


def _opened(entry: Path) -> int:
    """A descriptor of a plain file: a link leads elsewhere, and a pipe would wait for ever."""
    handle = os.open(entry, _PLAIN_FILE)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "no plain file")
    return handle


def _copied(handle: int, target: Path, budget: Budget) -> str | None:
    """The digest of what was copied; None where the disk under the cache fails."""
    digest = hashlib.sha256()
    with os.fdopen(handle, "rb") as source, target.open("wb") as sink:
        while True:
            try:
                piece = source.read(CHUNK)
            except OSError:
                return None
            if not piece:
                return digest.hexdigest()
            budget.charge(len(piece))
            digest.update(piece)
            sink.write(piece)


def _make_folder(path: Path) -> None:
    """Pods of the namespace may run under several uids: each may add entries and remove its own."""
    try:
        path.mkdir()
        path.chmod(0o1777)
    except FileExistsError:
        pass
