"""Tar archives, unpacked by hand: only plain files and folders, only inside, only so much."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from pathlib import Path

from seawall.fetch.download import space_told
from seawall.fetch.order import Budget
from seawall.fetch.problem import invalid_model
from seawall.fetch.sources import MOST_FILES, checked_path
from seawall.fetch.web import CHUNK


def unpack(archive: Path, folder: Path, budget: Budget) -> None:
    """Raises FetchProblem for links, devices, paths that lead out, and bombs."""
    try:
        with tarfile.open(archive, "r|*") as tar:
            for count, member in enumerate(tar):
                if count >= MOST_FILES:
                    raise invalid_model(f"{archive.name} has more than {MOST_FILES} entries")
                _unpack_member(tar, member, folder, budget, archive.name)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise invalid_model(f"{archive.name} is no readable tar archive: {error}") from error


def _unpack_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, budget: Budget, name: str
) -> None:
    path = member.name.removeprefix("./").rstrip("/")
    if path in ("", "."):
        return
    target = folder.joinpath(*checked_path(path).parts)
    with space_told():
        if member.isdir():
            _make_folder(target, name)
            return
        if not member.isreg():
            raise invalid_model(f"{name}: {path} is a link or a device; only files and folders are unpacked")
        _make_folder(target.parent, name)
        source = tar.extractfile(member)
        if source is None or target.exists():
            raise invalid_model(f"{name}: {path} is there twice or cannot be read")
        with target.open("xb") as sink:
            while piece := source.read(CHUNK):
                budget.charge(len(piece))
                sink.write(piece)


def _make_folder(path: Path, name: str) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise invalid_model(f"{name}: {path.name} is both a file and a folder") from error
