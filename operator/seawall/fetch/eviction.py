"""What lies in a model cache and how it is kept inside its bound: least recently used first.

The folders belong to the pods that write them, and the one who evicts may be root: so nothing here follows
a link, and nothing is deleted that does not look exactly like an entry.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PART = ".part-"
STALE_SECONDS = 3600.0
"""A part that nobody has written to for so long belongs to a fetcher that died."""
_PREFIX = re.compile(r"[0-9a-f]{2}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Entry:
    folder: tuple[str, ...]
    name: str
    bytes: int
    """on the disk, space reserved for what is still being written included"""
    used: float
    """when it was last served; of a part, last written to"""

    @property
    def part(self) -> bool:
        return self.name.startswith(PART)

    def last_used(self, now: float) -> float:
        """A pod may write any time it likes: one in the future would be a place for ever."""
        return self.used if self.used <= now + STALE_SECONDS else 0.0


@dataclass(frozen=True, slots=True)
class Evicted:
    files: int
    freed: int
    left: int
    """bytes of entries and parts that remain"""


def entries(root: Path, *folder: str) -> list[Entry]:
    """All entries and parts of one namespace's cache; whatever else lies there is not looked at."""
    found = list(_parts(root, folder))
    for prefix in _names(root, folder, _PREFIX):
        found += _digests(root, (*folder, prefix))
    return found


def evict(root: Path, among: Sequence[Entry], most: int, now: float) -> Evicted:
    """Stale parts go in any case, then entries until what is left fits into `most` bytes."""
    stale = [e for e in among if e.part and e.last_used(now) < now - STALE_SECONDS]
    gone = [e for e in stale if _deleted(root, e)]
    left = sum(e.bytes for e in among) - sum(e.bytes for e in gone)
    for entry in sorted((e for e in among if not e.part), key=lambda e: (e.last_used(now), e.name)):
        if left <= most:
            break
        if _deleted(root, entry):
            gone.append(entry)
            left -= entry.bytes
    return Evicted(len(gone), sum(e.bytes for e in gone), left)


@contextmanager
def opened(root: Path, *folder: str) -> Iterator[int]:
    """A descriptor of a folder, reached without following a link below the root."""
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in folder:
            inner = os.open(name, _FOLDER, dir_fd=here)
            os.close(here)
            here = inner
        yield here
    finally:
        os.close(here)


def _listed(here: int) -> list[str]:
    with os.scandir(here) as found:
        return [entry.name for entry in found]


def _names(root: Path, folder: tuple[str, ...], pattern: re.Pattern[str]) -> list[str]:
    with opened(root, *folder) as here:
        return sorted(name for name in _listed(here) if pattern.fullmatch(name))


def _parts(root: Path, folder: tuple[str, ...]) -> Iterator[Entry]:
    with opened(root, *folder) as here:
        yield from _entries_in(here, folder, [name for name in _listed(here) if name.startswith(PART)])


def _digests(root: Path, folder: tuple[str, ...]) -> list[Entry]:
    try:
        with opened(root, *folder) as here:
            names = [n for n in _listed(here) if _DIGEST.fullmatch(n) and n.startswith(folder[-1])]
            return list(_entries_in(here, folder, names))
    except OSError:  # a link, a file, or not for us: nothing of ours
        return []


def _entries_in(here: int, folder: tuple[str, ...], names: Sequence[str]) -> Iterator[Entry]:
    for name in names:
        try:
            found = os.stat(name, dir_fd=here, follow_symlinks=False)
        except FileNotFoundError:  # evicted or finished meanwhile
            continue
        if stat.S_ISREG(found.st_mode):
            yield Entry(folder, name, max(found.st_blocks * 512, found.st_size), found.st_mtime)


def _deleted(root: Path, entry: Entry) -> bool:
    try:
        with opened(root, *entry.folder) as here:
            os.unlink(entry.name, dir_fd=here)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
