"""The first process of a cluster: it starts everything, reports when the cluster serves, and stays.

As number 1 of its pid namespace it reaps what has lost its parent (containerd's shims), and starts again
what died. It speaks in lines on standard output: `step TEXT`, then `ready` or `failed TEXT`.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from . import images, inside, network, node
from .api import Api
from .controlplane import ControlPlane
from .errors import ClusterError
from .furnish import furnish
from .processes import Daemon, wait_until
from .state import NODE, Layout

MANAGER_PORT, SCHEDULER_PORT = 10257, 10259
START_SECONDS = 120.0
RESTART_SECONDS = 0.5
API_SERVICE = "kubernetes.default.svc.cluster.local"


class Supervisor:
    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        programs = json.loads((layout.directory / "programs.json").read_text())
        self.programs = {name: Path(path) for name, path in programs.items()}
        self.plane: ControlPlane = layout.plane(self.programs)
        self.api = Api.admin(self.plane.url, self.plane.pki, self.plane.admin)
        self.daemons: list[Daemon] = []

    def bring_up(self) -> None:
        furnish(self.layout)
        _raise_limits()
        etcd = self.start("etcd", self.plane.etcd())
        containerd = self.start("containerd", node.containerd_command(self.layout, self.programs))
        server = self.start("kube-apiserver", self.plane.apiserver(*node.apiserver_flags(self.plane)))
        wait_until(self.layout.socket.exists, "containerd", START_SECONDS, [containerd])
        self._load_pause_image(containerd)
        wait_until(self.api.ready, "answer of the API server", START_SECONDS, [etcd, server])
        say("step", "API server answers")
        rest = [
            self.start("kube-controller-manager", self.plane.controller_manager(MANAGER_PORT)),
            self.start("kube-scheduler", self.plane.scheduler(SCHEDULER_PORT)),
            self.start("kubelet", node.kubelet_command(self.layout, self.programs)),
            self.start("kube-proxy", network.proxy_command(self.layout, self.programs)),
        ]
        network.apply_dns(self.api, self.layout)
        rest.append(self.start("coredns", network.dns_command(self.layout, self.programs)))
        wait_until(self._node_ready, "ready node", START_SECONDS, rest)
        say("step", "node is ready")
        wait_until(
            lambda: network.resolves(API_SERVICE), "answer of CoreDNS through kube-proxy", START_SECONDS, rest
        )
        say("step", "CoreDNS answers at its Service's address")
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        wait_until(lambda: self.api.ready(account), "controllers", START_SECONDS, rest)
        inside.start(self, lambda text: say("step", text))

    def stay(self) -> None:
        """Reap, and start again what died; only SIGKILL from outside ends this."""
        while True:
            gone, _ = os.wait()
            for daemon in self.daemons:
                if daemon.pid == gone:
                    time.sleep(RESTART_SECONDS)
                    daemon.start()

    def start(self, name: str, command: list[str], more: Mapping[str, str] | None = None) -> Daemon:
        # containerd finds its shim on PATH.
        path = f"{self.programs['containerd'].parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        environment = {**os.environ, "PATH": path, **(more or {})}
        daemon = Daemon(name, command, self.layout.directory / "logs" / f"{name}.log", environment)
        daemon.start()
        self.daemons.append(daemon)
        return daemon

    def _load_pause_image(self, containerd: Daemon) -> None:
        archive = self.layout.directory / "busybox.tar"
        images.write_busybox_archive(archive)

        def loaded() -> bool:
            try:
                images.load(self.layout, self.programs["ctr"], archive)
            except ClusterError:
                # The socket exists a moment before the image service behind it.
                return False
            return True

        wait_until(loaded, "image service of containerd", START_SECONDS, [containerd])
        archive.unlink()

    def _node_ready(self) -> bool:
        if not self.api.ready(f"/api/v1/nodes/{NODE}"):
            return False
        found = self.api.read(f"/api/v1/nodes/{NODE}")
        conditions = {entry["type"]: entry["status"] for entry in found["status"].get("conditions", [])}
        return conditions.get("Ready") == "True" and not found["spec"].get("taints")


def say(kind: str, text: str = "") -> None:
    print(kind, " ".join(text.split("\n")), flush=True)


def supervise(directory: str) -> int:
    """The cluster's life. It ends early when whoever started it is gone before it was ready."""
    sys.stdin.readline()
    path = Path(directory)
    index = json.loads((path / "cluster.json").read_text())["index"]
    supervisor = Supervisor(Layout(path.name, path, int(index)))
    try:
        supervisor.bring_up()
    except ClusterError as problem:
        print("failed", json.dumps(str(problem)), flush=True)
        return 1
    say("ready")
    with Path("/dev/null").open("r+b") as nothing:
        os.dup2(nothing.fileno(), sys.stdin.fileno())
        os.dup2(nothing.fileno(), sys.stdout.fileno())
    supervisor.stay()
    return 0


def _raise_limits() -> None:
    """Containers inherit these: a program with many connections must not meet the shell's small limit."""
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (hard, hard))
