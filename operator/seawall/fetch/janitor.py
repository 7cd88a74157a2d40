"""One look at a node's model cache, all namespaces together: usable for pods, and inside the bound."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path

from seawall.fetch.eviction import PART, Entry, entries, evict, opened
from seawall.fetch.log import say

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_OPEN_TO_ALL = 0o1777
MARKER = ".seawall-model-cache"
_CONTENT = re.compile(rf"[0-9a-f]{{2}}|{re.escape(PART)}.*")


def keep(root: Path, most: int, clock: Callable[[], float] = time.time) -> bool:
    """False when the folder itself cannot be looked at. Everything else is logged and met again next time."""
    try:
        namespaces = _namespaces(root)
        if not _ours(root, namespaces):
            say("the folder holds something else: it is left as it is", "error", path=str(root))
            return False
    except OSError as error:
        say("the cache cannot be read", "error", path=str(root), error=str(error))
        return False
    _opened_to_all(root)
    found: list[Entry] = []
    for name in namespaces:
        _opened_to_all(root, name)
        try:
            found += entries(root, name)
        except OSError as error:
            say("a namespace's cache cannot be read", "warning", namespace=name, error=str(error))
    done = evict(root, found, most, clock())
    say(
        "looked at the cache",
        "info" if done.left <= most else "warning",
        namespaces=len(namespaces),
        bytes=done.left,
        most=most,
        evicted=done.files,
        freed=done.freed,
    )
    return True


def _namespaces(root: Path) -> list[str]:
    with os.scandir(root) as found:
        return sorted(
            e.name for e in found if _NAMESPACE.fullmatch(e.name) and e.is_dir(follow_symlinks=False)
        )


def _ours(root: Path, namespaces: list[str]) -> bool:
    """A path with a slip in it, such as /var/lib, must not be opened to everybody: a folder counts as the
    cache once it was seen with nothing else in it, and is marked then."""
    if (root / MARKER).is_file():
        return True
    with os.scandir(root) as found:
        if {e.name for e in found} - set(namespaces) - {"lost+found"}:
            return False
    for name in namespaces:
        with opened(root, name) as here, os.scandir(here) as found:
            if not all(_CONTENT.fullmatch(e.name) for e in found):
                return False
    (root / MARKER).touch()
    return True


def _opened_to_all(root: Path, *folder: str) -> None:
    """Pods run as uid 1000 or whatever their template says; each may add, and remove what it added."""
    try:
        with opened(root, *folder) as here:
            if stat.S_IMODE(os.fstat(here).st_mode) != _OPEN_TO_ALL:
                os.fchmod(here, _OPEN_TO_ALL)
                say("opened to the pods", path=str(root.joinpath(*folder)))
    except OSError as error:
        say("cannot be opened to the pods", "warning", path=str(root.joinpath(*folder)), error=str(error))
