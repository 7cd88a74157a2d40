"""The namespaces of one cluster, from inside: mounts and network, before anything is started.

Programs of a node write to fixed places. Each of these is covered here by something of the cluster's own,
so that the host never sees it and nothing has to be put back.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from . import cgroups
from .controlplane import SERVICE_RANGE
from .errors import ClusterError
from .state import DNS_ADDRESS, Layout

# The kubelet sets these, and they are the whole machine's: it gets files of its own in their place.
KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
RESOLV_CONF = f"""nameserver {DNS_ADDRESS}
search default.svc.cluster.local svc.cluster.local cluster.local
options ndots:5 timeout:2 attempts:2
"""


def furnish(layout: Layout) -> None:
    _cgroups()
    scratch = layout.directory / "scratch"
    scratch.mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "tmpfs", str(scratch))
    _run("mount", "-t", "tmpfs", "tmpfs", "/run")
    for path in ("/var/lib", "/var/log"):
        _overlay(path, scratch)
    _resolver(layout)
    _kernel_settings(scratch)
    _network(layout)


def _cgroups() -> None:
    """Mount every hierarchy again: within a cgroup namespace its root is the cluster's own group."""
    found = cgroups.of_this_machine()
    top = Path("/sys/fs/cgroup")
    links = {path.name: path.readlink() for path in top.iterdir() if path.is_symlink()}
    _run("mount", "-t", "sysfs", "sysfs", "/sys")
    if [hierarchy.path for hierarchy in found] == [top]:
        _run("mount", "-t", "cgroup2", "cgroup2", str(top))
    else:
        _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(top))
        for hierarchy in found:
            hierarchy.path.mkdir(parents=True)
            kind = ("cgroup2",) if hierarchy.version == 2 else ("cgroup", "-o", hierarchy.options)
            _run("mount", "-t", *kind, "cgroup", str(hierarchy.path))
        for name, target in links.items():
            (top / name).symlink_to(target)
    cgroups.settle_inside()


def _overlay(path: str, scratch: Path) -> None:
    """The host's files stay readable; what is written goes to memory."""
    upper, work = (scratch / f"{kind}{path.replace('/', '-')}" for kind in ("upper", "work"))
    upper.mkdir()
    work.mkdir()
    options = f"lowerdir={path},upperdir={upper},workdir={work}"
    _run("mount", "-t", "overlay", "overlay", "-o", options, path)


def _resolver(layout: Layout) -> None:
    layout.resolv_conf.write_text(RESOLV_CONF)
    target = Path("/etc/resolv.conf").resolve()
    if target.is_relative_to("/run"):  # systemd's, which the empty /run has just covered
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    _run("mount", "--bind", str(layout.resolv_conf), str(target))


def _kernel_settings(scratch: Path) -> None:
    for name, value in KERNEL_SETTINGS.items():
        own = scratch / name.replace("/", "-")
        own.write_text(f"{value}\n")
        _run("mount", "--bind", str(own), f"/proc/sys/{name}")


def _network(layout: Layout) -> None:
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "address", "add", f"{layout.address}/32", "dev", "lo")
    # Without a default route a connection to a Service's address needs some route before nftables sees it.
    _run("ip", "route", "add", "local", SERVICE_RANGE, "dev", "lo")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"{' '.join(command)}: {done.stderr.strip()}")
