"""Artefacts in a folder: a mounted claim, or a plain folder of a laptop.

An artefact is made beside its place and renamed into it: the kernel lets one of several publishers win.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from seawall.fetch.artifact import ENVELOPE, MANIFEST, OWN_FILES, SMALL
from seawall.optimize.publish.stores import Found, checked_key
from seawall.optimize.types import Passing, Refused

_UNFINISHED = ".publishing-"
_STALE_SECONDS = 24 * 3600.0
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class FolderStore:
    def __init__(self, root: Path, uri: str) -> None:
        self.uri = uri
        self._root = root

    def find(self, key: str) -> Found | None:
        folder = self._root / checked_key(key)
        with self._told():
            manifest = _small(folder / MANIFEST)
            if manifest is None:
                return None
            sizes = {
                path.relative_to(folder).as_posix(): path.stat().st_size
                for path in folder.rglob("*")
                if path.is_file() and path.relative_to(folder).as_posix() not in OWN_FILES
            }
            return Found(f"{self.uri}/{key}/", manifest, _small(folder / ENVELOPE), sizes)

    def publish(
        self, key: str, files: Mapping[str, Path], documents: Mapping[str, bytes], replace: bool
    ) -> None:
        final = self._root / checked_key(key)
        with self._told():
            self._root.mkdir(parents=True, exist_ok=True)
            self._clear()
            made = Path(tempfile.mkdtemp(dir=self._root, prefix=_UNFINISHED))
            try:
                for name, path in files.items():
                    _copy(path, made / name)
                for name, content in documents.items():
                    _write(made / name, content)
                for folder in (made, *(p for p in made.rglob("*") if p.is_dir())):
                    folder.chmod(0o755)
                    _synced(folder)
                if final.exists() and (replace or not (final / MANIFEST).is_file()):
                    self._put_aside(final)
                self._rename(made, final)
                _synced(self._root)
            finally:
                shutil.rmtree(made, ignore_errors=True)

    def put_stage(self, key: str, tar: Path) -> None:
        final = self._stage(key)
        with self._told():
            final.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=final.parent, prefix=_UNFINISHED)
            os.close(handle)
            try:
                _copy(tar, Path(name))
                Path(name).replace(final)
            finally:
                Path(name).unlink(missing_ok=True)

    def get_stage(self, key: str, tar: Path) -> bool:
        with self._told():
            try:
                shutil.copyfile(self._stage(key), tar)
            except FileNotFoundError:
                return False
            return True

    def _stage(self, key: str) -> Path:
        return self._root / "stages" / f"{checked_key(key)}.tar"

    def _put_aside(self, final: Path) -> None:
        aside = Path(tempfile.mkdtemp(dir=self._root, prefix=_UNFINISHED))
        final.rename(aside / "replaced")
        shutil.rmtree(aside, ignore_errors=True)

    def _rename(self, made: Path, final: Path) -> None:
        try:
            made.rename(final)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise

    def _clear(self) -> None:
        """What publishers left that were killed long ago."""
        for left in self._root.glob(f"{_UNFINISHED}*"):
            try:
                if left.stat().st_mtime < time.time() - _STALE_SECONDS:
                    shutil.rmtree(left, ignore_errors=True)
            except FileNotFoundError:
                continue

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            said = f"the store {self.uri}: {error.strerror or error}"
            if error.errno in _FORBIDDEN:
                raise Refused("CredentialsRefused", f"{said}; uid {os.getuid()} may not use it") from error
            raise Passing(said) from error


def _small(path: Path) -> bytes | None:
    try:
        with path.open("rb") as content:
            return content.read(SMALL)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as content, target.open("wb") as sink:
        shutil.copyfileobj(content, sink, 1 << 20)
        os.fchmod(sink.fileno(), 0o644)
        os.fsync(sink.fileno())


def _write(target: Path, content: bytes) -> None:
    with target.open("wb") as sink:
        sink.write(content)
        os.fchmod(sink.fileno(), 0o644)
        os.fsync(sink.fileno())


def _synced(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
