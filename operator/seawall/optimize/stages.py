"""Results of stages on disk, addressed by what made them, so that a build resumes where it was cut off.

An entry is a folder whose name is the digest of the stage's inputs. It appears by one rename, and it is used
again only while every file in it is still what it was: anything else is computed anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from seawall.api.presets import PIPELINE_VERSION
from seawall.optimize import versions
from seawall.optimize.types import Stage

RECORD = "stage.json"
Work = Callable[[Path], Mapping[str, Any]]
"""Writes its files into the folder and returns what else there is to know, as JSON"""


class Elsewhere(Protocol):
    """A store that outlives this machine."""

    def load(self, key: str, folder: Path) -> bool: ...

    def save(self, key: str, folder: Path) -> None: ...


@dataclass(frozen=True, slots=True)
class Done:
    folder: Path
    detail: Mapping[str, Any]


def canonical(material: Any) -> bytes:
    return json.dumps(material, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def key_of(name: str, material: Any, made_by: Mapping[str, str] | None = None) -> str:
    """`made_by`: releases of what computes it here; another release may compute something else."""
    releases = dict(versions.here() if made_by is None else made_by)
    return hashlib.sha256(canonical([PIPELINE_VERSION, releases, name, material])).hexdigest()


def file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while piece := source.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _files(folder: Path) -> dict[str, str]:
    found = (p for p in folder.rglob("*") if p.is_file() and p != folder / RECORD)
    return {p.relative_to(folder).as_posix(): file_digest(p) for p in sorted(found)}


@dataclass(slots=True)
class Stages:
    folder: Path
    elsewhere: Elsewhere | None = None
    made_by: Mapping[str, str] | None = None
    clock: Callable[[], float] = time.monotonic
    done: list[Stage] = field(default_factory=list)
    """what this run went through, in order: the manifest's entries"""

    def run(self, name: str, material: Any, work: Work, *, costly: bool = False, fresh: bool = False) -> Done:
        """The entry for this material, made by `work` unless it is there already and need not be fresh."""
        key = key_of(name, material, self.made_by)
        started = self.clock()
        entry = self.folder / f"{name}-{key[:32]}"
        record = None if fresh else self._read(entry)
        if record is None and costly and self.elsewhere is not None:
            record = self._from_elsewhere(key, entry)
        cached = record is not None
        if record is None:
            record = self._make(entry, work)
            if costly and self.elsewhere is not None:
                self.elsewhere.save(key, entry)
        seconds = round(self.clock() - started, 3)
        self.done.append(Stage(name, seconds, record["detail"], cached))
        return Done(entry, record["detail"])

    def timed(self, name: str, work: Callable[[], Mapping[str, Any]]) -> None:
        """A stage whose result is a measurement: told in the manifest, never taken from the cache."""
        started = self.clock()
        detail = work()
        self.done.append(Stage(name, round(self.clock() - started, 3), detail))

    def _make(self, entry: Path, work: Work) -> dict[str, Any]:
        self.folder.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=".making-", dir=self.folder))
        try:
            # Through JSON, so that a fresh result is exactly what a cached one will be.
            detail = json.loads(json.dumps(dict(work(making))))
            record = {"detail": detail, "files": _files(making)}
            (making / RECORD).write_bytes(canonical(record))
            if entry.exists():
                shutil.rmtree(entry)
            making.rename(entry)
        finally:
            shutil.rmtree(making, ignore_errors=True)
        return record

    def _from_elsewhere(self, key: str, entry: Path) -> dict[str, Any] | None:
        self.folder.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=".making-", dir=self.folder))
        try:
            if self.elsewhere is None or not self.elsewhere.load(key, making):
                return None
            record = self._read(making)
            if record is not None:
                shutil.rmtree(entry, ignore_errors=True)
                making.rename(entry)
            return record
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def _read(self, entry: Path) -> dict[str, Any] | None:
        """None where nothing is, or where what is there is not what was written."""
        try:
            record = json.loads((entry / RECORD).read_bytes())
            whole = record["files"] == _files(entry) and isinstance(record["detail"], dict)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return record if whole else None
