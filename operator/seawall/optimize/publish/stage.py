"""Results of expensive stages, kept in the store so that a build that was killed goes on where it was."""

from __future__ import annotations

import tarfile
import tempfile
import time
from pathlib import Path

from seawall.fetch.archive import unpack
from seawall.fetch.order import Budget
from seawall.fetch.problem import FetchProblem, Reason
from seawall.optimize.publish.stores import Store
from seawall.optimize.types import Passing

MAX_BYTES = 100 * 2**30
_SECONDS = 3600.0


def put_stage(key: str, folder: Path, store: Store) -> None:
    """Keeps all that lies in the folder. Raises Refused and Passing."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".stage-") as scratch:
        tar = Path(scratch) / "stage.tar"
        with tarfile.open(tar, "w") as archive:
            for path in sorted(folder.rglob("*")):
                archive.add(path, path.relative_to(folder).as_posix(), recursive=False)
        store.put_stage(key, tar)


def get_stage(key: str, folder: Path, store: Store, max_bytes: int = MAX_BYTES) -> bool:
    """True: the result of this stage now lies in `folder`, which was empty or absent. What cannot be read
    counts as absent: the stage runs again, and its result replaces it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".stage-") as scratch:
        tar, unpacked = Path(scratch) / "stage.tar", Path(scratch) / "unpacked"
        if not store.get_stage(key, tar):
            return False
        unpacked.mkdir()
        try:
            unpack(tar, unpacked, Budget(max_bytes, _SECONDS, time.monotonic))
        except FetchProblem as problem:
            if problem.reason is Reason.NO_SPACE:
                raise Passing(f"NoSpace: no room for the result of a stage: {problem.message}") from problem
            return False
        unpacked.rename(folder)
    return True
