"""pvc:// sources: a claim of the same namespace, mounted read-only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from seawall.fetch.problem import invalid_model, not_found
from seawall.fetch.sources import RemoteFile
from seawall.fetch.web import CHUNK

ROOT_VARIABLE = "SEAWALL_FETCH_SOURCE"
ROOT = "/source"


def volume_files(uri: str, folder: bool) -> Iterator[RemoteFile]:
    """Links are followed as long as they stay on the volume."""
    root = Path(os.environ.get(ROOT_VARIABLE, ROOT)).resolve()
    inside = uri.removeprefix("pvc://").partition("/")[2]
    start = (root / inside).resolve()
    _require_inside(start, root, uri)
    if not start.exists():
        raise not_found(f"{uri}: there is no such file on the volume")
    if start.is_dir():
        if not folder:
            raise invalid_model(f"{uri} is a folder; end the uri with / if the folder is meant")
        yield from _tree(start, root, uri)
        return
    yield _file(start, start.name, root, uri)


def _tree(start: Path, root: Path, uri: str) -> Iterator[RemoteFile]:
    found = False
    for parent, folders, names in os.walk(start):
        folders[:] = sorted(name for name in folders if name != "lost+found")
        for name in sorted(names):
            found = True
            path = Path(parent, name)
            yield _file(path, path.relative_to(start).as_posix(), root, uri)
    if not found:
        raise not_found(f"{uri}: the folder is empty")


def _file(path: Path, relative: str, root: Path, uri: str) -> RemoteFile:
    resolved = path.resolve()
    _require_inside(resolved, root, uri)
    if not resolved.is_file():
        raise invalid_model(f"{uri}: {relative} is neither a file nor a folder")

    def read() -> Iterator[bytes]:
        with resolved.open("rb") as source:
            while piece := source.read(CHUNK):
                yield piece

    return RemoteFile(relative, read, resolved.stat().st_size)


def _require_inside(path: Path, root: Path, uri: str) -> None:
    if not path.is_relative_to(root):
        raise invalid_model(f"{uri} leads out of the volume")
