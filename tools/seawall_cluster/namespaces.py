"""The namespaces of one cluster, from outside: how they are made and entered.

Everything runs below one process that is number 1 of its own pid namespace: when it dies, the kernel ends
the rest, and the network, the mounts and the nft rules go with the last process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from . import cgroups
from .processes import quiet_environment
from .state import MARK, SUPERVISE, Layout

TOOL = Path(__file__).resolve().parent.parent / "cluster"
# Joins the groups whose files come first, then becomes what stands after the dashes.
JOIN = 'while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift; exec "$@"'
# The host's resolver would answer before the cluster's where its name service switch asks systemd first.
ENTER = """
set -e
if [ -d /run/systemd/resolve ]; then mount -t tmpfs tmpfs /run/systemd/resolve; fi
target=$(readlink -f /etc/resolv.conf)
case $target in /run/systemd/resolve/*) : >"$target" ;; esac
mount --bind "$1" "$target"
shift
exec "$@"
"""


def launch(layout: Layout, log: Path) -> subprocess.Popen[bytes]:
    """Start the cluster's first process; it speaks on its standard output and waits for a line of input."""
    joins = [str(path) for path in cgroups.create(layout.cgroup)]
    own = ["unshare", "--net", "--mount", "--pid", "--cgroup", "--fork", "--kill-child", "--mount-proc"]
    supervisor = [sys.executable, str(TOOL), SUPERVISE, str(layout.directory)]
    with log.open("ab") as output:
        return subprocess.Popen(
            ["/bin/sh", "-c", JOIN, "sh", *joins, "--", *own, "--propagation", "private", "--", *supervisor],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
            env=quiet_environment(),
        )


def enter_command(pid: int, resolv_conf: Path, command: Sequence[str]) -> list[str]:
    """What runs a command in the network of a process, with its names, and on the host's files."""
    into = ["nsenter", f"--net=/proc/{pid}/ns/net", "unshare", "--mount", "--propagation", "private"]
    return [*into, "--", "/bin/sh", "-c", ENTER, "sh", str(resolv_conf), *command]


def enter_environment(layout: Layout, folders: Sequence[Path]) -> dict[str, str]:
    path = os.pathsep.join([*(str(folder) for folder in folders), os.environ.get("PATH", "")])
    own = {"PATH": path, "KUBECONFIG": str(layout.kubeconfig), MARK: str(layout.directory)}
    return {**quiet_environment(), **own}
