"""One control group per cluster, in every hierarchy of the machine, and its removal.

Together with a cgroup namespace it holds everything that the cluster runs, daemons and pods alike, so that
nothing is left in the host's tree afterwards. Versions 1 and 2 differ in how they are mounted, and version 2
lets no group hold both processes and children.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = "seawall"
REMOVE_SECONDS = 5.0


@dataclass(frozen=True)
class Hierarchy:
    """One mounted cgroup filesystem."""

    path: Path
    version: int
    # Of version 1: the options that mount the same hierarchy again.
    options: str


def hierarchies(mountinfo: str) -> list[Hierarchy]:
    found = {}
    for line in mountinfo.splitlines():
        fields = line.split()
        kind, _, options = fields[fields.index("-") + 1 :][:3]
        if kind == "cgroup2":
            found[fields[4]] = Hierarchy(Path(fields[4]), 2, "")
        elif kind == "cgroup":
            named = [
                option
                for option in options.split(",")
                if option not in {"rw", "ro", "xattr", "clone_children"}
            ]
            prefix = "none," if any(option.startswith("name=") for option in named) else ""
            found[fields[4]] = Hierarchy(Path(fields[4]), 1, prefix + ",".join(named))
    return list(found.values())


def of_this_machine() -> list[Hierarchy]:
    return hierarchies(Path("/proc/self/mountinfo").read_text())


def create(name: str) -> list[Path]:
    """The group in every hierarchy; returns the files that take the processes that join it."""
    joins = []
    for hierarchy in of_this_machine():
        parent = hierarchy.path / ROOT
        for group in (parent, parent / name):
            group.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):
                # Version 1 starts a group without processors, and takes no process into it.
                if hierarchy.version == 1 and (group / setting).exists():
                    (group / setting).write_text((group.parent / setting).read_text())
        if hierarchy.version == 2:
            for group in (hierarchy.path, parent):
                _hand_down(group)
        joins.append(parent / name / "cgroup.procs")
    return joins


def move_aside(name: str, pid: int) -> None:
    """In version 2 a group with children holds no process: the waiting outer process goes to a leaf."""
    for hierarchy in of_this_machine():
        if hierarchy.version == 2:
            leaf = hierarchy.path / ROOT / name / "outside"
            leaf.mkdir(exist_ok=True)
            (leaf / "cgroup.procs").write_text(str(pid))


def settle_inside() -> None:
    """The same for the cluster's first process, seen from inside its namespace."""
    for hierarchy in of_this_machine():
        if hierarchy.version == 2:
            leaf = hierarchy.path / "daemons"
            leaf.mkdir(exist_ok=True)
            (leaf / "cgroup.procs").write_text("1")
            _hand_down(hierarchy.path)


def remove(name: str) -> None:
    """Remove the group and everything below it; a group is busy for a moment after its last process."""
    deadline = time.monotonic() + REMOVE_SECONDS
    for hierarchy in of_this_machine():
        group = hierarchy.path / ROOT / name
        while group.exists():
            _remove_tree(group)
            if not group.exists() or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        with suppress(OSError):
            group.parent.rmdir()


def _remove_tree(group: Path) -> None:
    for child in group.iterdir():
        if child.is_dir():
            _remove_tree(child)
    with suppress(OSError):
        group.rmdir()


def _hand_down(group: Path) -> None:
    """Let children use every controller; one that the kernel refuses here is left out."""
    for controller in (group / "cgroup.controllers").read_text().split():
        with suppress(OSError):
            (group / "cgroup.subtree_control").write_text(f"+{controller}")
