"""What a cluster is called, where its files lie, which addresses it has, and which processes are its own.

No pid is written down: a process belongs to a cluster when its command line or its environment names the
cluster's directory. So a crash leaves nothing that could go stale, and a reused pid is never killed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from .controlplane import ControlPlane
from .errors import CannotRunHereError, ClusterError

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
SUPERVISE = "_supervise"
MARK = "SEAWALL_CLUSTER_DIRECTORY"
DNS_ADDRESS = "10.96.0.10"
NODE = "n1"
# Hidden inside the cluster's namespaces, because programs there write to fixed paths below them.
HIDDEN = ("/run", "/var/run", "/var/lib", "/var/log")
# A unix socket's path ends at 107 characters, and containerd's lies 28 below this directory.
LONGEST_DIRECTORY = 75


@dataclass(frozen=True)
class Layout:
    """One cluster's directory and addresses; clusters differ by their index."""

    name: str
    directory: Path
    index: int

    @property
    def address(self) -> str:
        return f"10.200.{self.index}.1"

    @property
    def pod_range(self) -> str:
        return f"10.244.{self.index}.0/24"

    @property
    def cgroup(self) -> str:
        """Unique on the machine even when two state directories hold clusters of one name."""
        return f"{self.name}-{sha256(str(self.directory).encode()).hexdigest()[:6]}"

    @property
    def socket(self) -> Path:
        return self.directory / "ctd" / "run" / "containerd.sock"

    @property
    def resolv_conf(self) -> Path:
        return self.directory / "resolv.conf"

    def plane(self, programs: dict[str, Path]) -> ControlPlane:
        return ControlPlane(self.directory, self.address, 6443, (2379, 2380), programs)

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"


def clusters_directory() -> Path:
    chosen = os.environ.get("SEAWALL_STATE")
    if not chosen:
        base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        chosen = f"{base}/seawall"
    return Path(chosen).resolve() / "clusters"


def directory_of(name: str) -> Path:
    if not NAME.fullmatch(name):
        raise ClusterError(
            f"{name!r} is no name for a cluster: lower-case letters, digits and dashes, at most 32"
        )
    directory = clusters_directory() / name
    if len(str(directory)) > LONGEST_DIRECTORY:
        raise ClusterError(
            f"{directory} is too long for a unix socket below it: set SEAWALL_STATE to a shorter path"
        )
    if any(directory.is_relative_to(hidden) for hidden in HIDDEN):
        raise CannotRunHereError(
            f"{directory} is hidden inside the cluster: set SEAWALL_STATE to another place"
        )
    return directory


def existing() -> list[Layout]:
    found = sorted(clusters_directory().glob("*/cluster.json"))
    return [layout for path in found if (layout := load(path.parent.name))]


def load(name: str) -> Layout | None:
    directory = directory_of(name)
    try:
        return Layout(name, directory, int(json.loads((directory / "cluster.json").read_text())["index"]))
    except (FileNotFoundError, ValueError, KeyError):
        # Interrupted before or while it was written: nothing was started then.
        return None


def create(name: str) -> Layout:
    """Take the lowest free index and write it down."""
    directory = directory_of(name)
    with locked(""):
        index = free_index({layout.index for layout in existing()})
        directory.mkdir(parents=True, mode=0o700)
        (directory / "cluster.json").write_text(json.dumps({"name": name, "index": index}))
    return Layout(name, directory, index)


def free_index(taken: set[int]) -> int:
    for index in range(1, 255):
        if index not in taken:
            return index
    raise ClusterError("254 clusters exist already")


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One `up` or `down` of a cluster at a time; without a name, one choice of an index."""
    root = clusters_directory()
    root.mkdir(parents=True, exist_ok=True)
    with (root / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def forget(name: str) -> None:
    """Remove the directories above a removed cluster as far as they are empty now."""
    root = clusters_directory()
    (root / f".{name}.lock").unlink(missing_ok=True)
    if not existing():
        (root / "..lock").unlink(missing_ok=True)
        for folder in (root, root.parent):
            with suppress(OSError):
                folder.rmdir()


def _processes() -> Iterator[Path]:
    return (path for path in Path("/proc").iterdir() if path.name.isdecimal())


def supervisor_processes(directory: Path) -> list[int]:
    """The cluster's first process, and the `unshare` that waits for it outside."""
    found = []
    for process in _processes():
        with suppress(OSError):
            arguments = (process / "cmdline").read_bytes().split(b"\0")
            if arguments[-3:-1] == [SUPERVISE.encode(), str(directory).encode()]:
                found.append(int(process.name))
    return found


def first_process(directory: Path) -> int | None:
    """The host's pid of the process that is number 1 in the cluster's own pid namespace."""
    for pid in supervisor_processes(directory):
        with suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            numbers = re.search(r"^NSpid:(.*)$", status, re.MULTILINE)
            if numbers and len(numbers[1].split()) > 1 and numbers[1].split()[-1] == "1":
                return pid
    return None


def entered_processes(directory: Path) -> list[int]:
    """What `exec` started and what came of it, except this process and those above it."""
    mark = f"{MARK}={directory}".encode()
    own = set(_ancestors(os.getpid()))
    found = []
    for process in _processes():
        with suppress(OSError):
            if int(process.name) not in own and mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def components(first: int) -> list[tuple[str, int, int]]:
    """Name, pid and resident bytes of each program of the cluster, without the containers' own."""
    found = []
    for process in _processes():
        with suppress(OSError):
            if _parent(int(process.name)) == first:
                status = (process / "status").read_text()
                resident = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
                program = Path((process / "cmdline").read_bytes().split(b"\0")[0].decode()).name
                if resident and program:
                    found.append((program, int(process.name), int(resident[1]) * 1024))
    return sorted(found)


def _parent(pid: int) -> int:
    # The program's name stands in brackets and may hold anything.
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _ancestors(pid: int) -> Iterator[int]:
    while pid:
        yield pid
        pid = _parent(pid)
