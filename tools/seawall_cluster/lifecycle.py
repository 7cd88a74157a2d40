"""Bringing the built-in cluster up and taking it down, as seen from the host."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from . import binaries, cgroups, images, inside, modules, namespaces, network, node, parts, state
from .errors import CannotRunHereError, ClusterError
from .state import Layout

PROGRAMS = (
    "etcd", "runc", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy",
    "kubectl", "containerd", "containerd-shim-runc-v2", "ctr", "coredns", "helm",
)  # fmt: skip
COMMANDS = {
    "ip": "iproute2",
    "nft": "nftables",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
    "openssl": "openssl",
}
CNI_PLUGINS = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")
END_SECONDS = 30.0
Say = Callable[[str], None]


def up(name: str, wanted: parts.Parts, say: Say) -> Layout:
    """Make the cluster, or find it running. Returns only when it serves."""
    plugins = check_machine()
    with state.locked(name):
        return _up(name, wanted, plugins, say)


def _up(name: str, wanted: parts.Parts, plugins: str, say: Say) -> Layout:
    if running := _running(name):
        parts.must_fit(name, parts.read(running), wanted)
        say(f"cluster {name} is up already")
        return running
    if state.directory_of(name).exists():
        say(f"removing what an earlier cluster {name} left")
        _down(name)
    programs = binaries.ensure((*PROGRAMS, *wanted.programs))
    definitions = [path for kind in wanted.definitions for path in modules.crds(kind)]
    started = time.monotonic()

    def step(text: str) -> None:
        say(f"{time.monotonic() - started:5.1f} s  {text}")

    layout = state.create(name)
    try:
        _configure(layout, programs, plugins)
        inside.write_configuration(layout, programs, wanted, definitions)
        step("certificates and configuration written")
        _launch(layout, step)
    except BaseException as problem:
        if isinstance(problem, ClusterError):
            say(f"the logs are kept in {_keep_logs(layout)}")
        _down(name)
        raise
    step(f"cluster {name} is ready")
    return layout


def down(name: str, say: Say) -> None:
    """End and remove everything of the cluster; also after a crash, and when there is nothing."""
    directory = state.directory_of(name)
    if not directory.exists():
        say(f"there is no cluster {name}")
        return
    check_root()
    with state.locked(name):
        _down(name)
        state.forget(name)
    say(f"cluster {name} is gone")


def _down(name: str) -> None:
    directory = state.directory_of(name)
    _kill(lambda: state.entered_processes(directory))
    _kill(lambda: state.supervisor_processes(directory))
    cgroups.remove(Layout(name, directory, 0).cgroup)
    shutil.rmtree(directory)


def status(name: str) -> dict[str, Any]:
    layout = state.load(name)
    if layout is None:
        return {"name": name, "state": "absent"}
    first = state.first_process(layout.directory)
    components = state.components(first) if first else []
    return {
        "name": name,
        "state": _state(layout, first),
        "directory": str(layout.directory),
        "kubeconfig": str(layout.kubeconfig),
        "auditLog": str(layout.directory / "audit.log"),
        "address": layout.address,
        "podRange": layout.pod_range,
        "pid": first,
        "parts": parts.read(layout).addresses if first else {},
        "components": [{"name": part, "pid": pid, "rssBytes": size} for part, pid, size in components],
    }


def execute(name: str, command: Sequence[str]) -> NoReturn:
    """Become the command, in the cluster's network and with its names. One process: signals reach it."""
    layout, first = need_running(name)
    folders = dict.fromkeys(path.parent for path in _programs(layout).values())
    environment = namespaces.enter_environment(layout, [*folders])
    entered = namespaces.enter_command(first, layout.resolv_conf, command)
    os.execvpe(entered[0], entered, environment)  # noqa: S606


def load(name: str, archives: Sequence[Path], say: Say) -> None:
    layout, _ = need_running(name)
    for archive in archives:
        started = time.monotonic()
        names = images.load(layout, _programs(layout)["ctr"], archive)
        say(f"{time.monotonic() - started:5.1f} s  loaded {', '.join(names)}")


def restart(name: str, component: str, say: Say) -> None:
    """SIGKILL one program; the cluster's first process starts it again."""
    _, first = need_running(name)
    pids = {part: pid for part, pid, _ in state.components(first)}
    if component not in pids:
        raise ClusterError(f"cluster {name} has no program {component}; it has {', '.join(sorted(pids))}")
    os.kill(pids[component], signal.SIGKILL)
    say(f"{component} was killed and starts again")


def need_running(name: str) -> tuple[Layout, int]:
    layout = state.load(name)
    first = state.first_process(layout.directory) if layout else None
    if layout is None or first is None:
        raise ClusterError(f"cluster {name} is not running: tools/cluster up --name {name}")
    check_root()
    return layout, first


def check_root() -> None:
    if platform.system() != "Linux" or os.geteuid() != 0:
        raise CannotRunHereError(
            "the built-in cluster needs root on Linux: use sudo, or CLUSTER=kind, or CLUSTER=current"
        )


def check_machine() -> str:
    """What `up` needs of this machine; returns where the CNI plugins lie."""
    check_root()
    missing = sorted({package for command, package in COMMANDS.items() if not shutil.which(command)})
    plugins = next((path for path in CNI_PLUGINS if Path(path, "ptp").exists()), "")
    if not plugins:
        missing.append("containernetworking-plugins")
    if not images.BUSYBOX.exists():
        missing.append("busybox-static")
    if missing:
        raise CannotRunHereError(f"missing packages: {' '.join(missing)} (tools/bootstrap installs them)")
    return plugins


def _running(name: str) -> Layout | None:
    layout = state.load(name)
    ready = layout is not None and (layout.directory / "ready").exists()
    return layout if layout and ready and state.first_process(layout.directory) else None


def _state(layout: Layout, first: int | None) -> str:
    if first is None:
        return "dead"
    return "running" if (layout.directory / "ready").exists() else "starting"


def _configure(layout: Layout, programs: dict[str, Path], plugins: str) -> None:
    (layout.directory / "logs").mkdir()
    (layout.directory / "programs.json").write_text(
        json.dumps({name: str(path) for name, path in programs.items()})
    )
    plane = layout.plane(programs)
    plane.prepare()
    node.write_configuration(layout, plane, plugins)
    network.write_configuration(layout, plane)


def _launch(layout: Layout, step: Say) -> None:
    outer = namespaces.launch(layout, layout.directory / "logs" / "supervisor.log")
    assert outer.stdin is not None
    assert outer.stdout is not None
    cgroups.move_aside(layout.cgroup, outer.pid)
    with suppress(BrokenPipeError), outer.stdin:
        outer.stdin.write(b"go\n")
    with outer.stdout as spoken:
        for line in spoken:
            kind, _, text = line.decode().strip().partition(" ")
            if kind == "ready":
                (layout.directory / "ready").touch()
                return
            if kind == "failed":
                raise ClusterError(json.loads(text))
            step(text)
    said = (layout.directory / "logs" / "supervisor.log").read_text().strip().splitlines()
    raise ClusterError(f"the cluster's first process ended: {' / '.join(said[-3:])}")


def _kill(find: Callable[[], list[int]]) -> None:
    deadline = time.monotonic() + END_SECONDS
    while pids := find():
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise ClusterError(f"processes {pids} do not end")
        time.sleep(0.02)


def _keep_logs(layout: Layout) -> Path:
    kept = Path(os.environ.get("TMPDIR", "/tmp")) / f"seawall-{layout.name}-logs"  # noqa: S108
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(layout.directory / "logs", kept)
    return kept


def _programs(layout: Layout) -> dict[str, Path]:
    recorded = json.loads((layout.directory / "programs.json").read_text())
    return {name: Path(path) for name, path in recorded.items()}
