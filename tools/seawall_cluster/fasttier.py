"""The tier without a node: etcd and kube-apiserver on loopback, ready in seconds, for tests.

It is a library first. Everything it starts is in one process group, and a watchdog that reads a pipe from
this process ends that group and removes the directory when this process is gone, however it went.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from . import binaries
from .api import Api
from .controlplane import ControlPlane
from .errors import ClusterError
from .processes import Daemon, free_ports, quiet_environment, wait_until

START_SECONDS = 60.0
# $1 is the process group, $2 the directory. Reading ends when the last holder of the pipe is gone.
WATCHDOG = 'cat >/dev/null; kill -KILL "-$1" 2>/dev/null; sleep 0.3; rm -rf -- "$2"'


class ApiServer:
    """A running API server. `close()` leaves nothing behind."""

    def __init__(self, *, controllers: bool = False) -> None:
        names = ["etcd", "kube-apiserver", "kubectl", *(["kube-controller-manager"] if controllers else [])]
        self.programs = binaries.ensure(names)
        self.directory = Path(tempfile.mkdtemp(prefix="seawall-apiserver-"))
        port, client, peer, manager = free_ports(4)
        self.plane = ControlPlane(self.directory, "127.0.0.1", port, (client, peer), self.programs)
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._daemons: list[Daemon] = []
        try:
            self._start(manager if controllers else None)
        except BaseException:
            self.close()
            raise

    def _start(self, manager: int | None) -> None:
        self.plane.prepare()
        self._etcd = self._daemon("etcd", self.plane.etcd())
        self._etcd.start(group=0)
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", WATCHDOG, "sh", str(self._etcd.pid), str(self.directory)],
            stdin=subprocess.PIPE,
            env=quiet_environment(),
            process_group=0,
        )
        # A loopback address may not stand in an EndpointSlice, so nothing publishes the API's own.
        flags = ("--authorization-mode=RBAC", "--endpoint-reconciler-type=none")
        self._server = self._daemon("kube-apiserver", self.plane.apiserver(*flags))
        self.api = Api.admin(self.url, self.plane.pki, self.plane.admin)
        self.start()
        if manager is not None:
            controllers = self._daemon("kube-controller-manager", self.plane.controller_manager(manager))
            controllers.start(group=self._etcd.pid)
            done = "/api/v1/namespaces/default/serviceaccounts/default"
            wait_until(lambda: self.api.ready(done), "controllers", START_SECONDS, [controllers])

    def _daemon(self, name: str, command: list[str]) -> Daemon:
        daemon = Daemon(name, command, self.directory / f"{name}.log")
        self._daemons.append(daemon)
        return daemon

    @property
    def url(self) -> str:
        return self.plane.url

    @property
    def kubeconfig(self) -> Path:
        """Of the administrator."""
        return self.plane.kubeconfig

    @property
    def audit_log(self) -> Path:
        return self.plane.audit_log

    def kubeconfig_for(self, user: str, *groups: str) -> Path:
        """Another identity, with a certificate of its own; it may do what RBAC lets it do."""
        return self.plane.kubeconfig_for(user, groups)

    def audit_events(self, user: str | None = None) -> list[dict[str, Any]]:
        """What was asked of the server, in order; of one user alone where given."""
        lines = self.audit_log.read_text().splitlines() if self.audit_log.exists() else []
        events: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return [event for event in events if user is None or event["user"]["username"] == user]

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        command = [str(self.programs["kubectl"]), f"--kubeconfig={self.kubeconfig}", *args]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, env=quiet_environment()
        )
        if done.returncode:
            raise ClusterError(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout

    def start(self) -> None:
        """Start the API server, on the same port and data as before."""
        self._server.start(group=self._etcd.pid)
        wait_until(self.api.ready, "answer of the API server", START_SECONDS, [self._etcd, self._server])

    def stop(self) -> None:
        """SIGKILL the API server; etcd and its data stay."""
        self._server.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        if self._watchdog is not None and self._watchdog.stdin is not None:
            self._watchdog.stdin.close()
            self._watchdog.wait()
        for daemon in reversed(self._daemons):
            daemon.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def environment(self) -> dict[str, str]:
        """For programs run against this server: KUBECONFIG, kubectl on PATH, no proxies."""
        path = f"{self.programs['kubectl'].parent}{os.pathsep}{os.environ.get('PATH', '')}"
        return {**quiet_environment(), "KUBECONFIG": str(self.kubeconfig), "PATH": path}
