"""What a measurement runs in: an API server with garbage collection, Seawall's definitions, one operator."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "support")]

from seawall_cluster import binaries  # noqa: E402
from seawall_cluster.processes import Daemon, free_ports, quiet_environment, wait_until  # noqa: E402

from apiserver import ApiServer  # noqa: E402

OPERATOR_USER = "seawall-bench"
CONTROLLERS = "garbage-collector-controller,namespace-controller"
"""Nobody but Seawall and the driver touches the children."""
BOUND_TO_THE_DRIVER = ("setpriv", "--pdeathsig", "KILL", "--")
"""What is started here ends when the driver does, however that goes."""
NO_FSYNC = "--unsafe-no-fsync"
START_SECONDS = 60
STOP_SECONDS = 40


def progress(text: str) -> None:
    """To standard error, and only for somebody who watches."""
    if sys.stderr.isatty() or os.environ.get("BENCH_PROGRESS"):
        print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


class DurableApiServer(ApiServer):
    """Tests let etcd skip fsync; a measurement pays for it, as a real cluster does."""

    def _daemon(self, name: str, command: list[str]) -> Daemon:
        kept = [flag for flag in command if flag != NO_FSYNC]
        if name == "etcd":
            assert len(kept) == len(command) - 1, f"etcd was expected to be started with {NO_FSYNC}"
        return super()._daemon(name, kept)


@contextlib.contextmanager
def world() -> Iterator[ApiServer]:
    """A fresh API server; everything of it is gone afterwards."""
    with contextlib.closing(DurableApiServer()) as server:
        server.programs.update(binaries.ensure(["kube-controller-manager"]))
        command = [*server.plane.controller_manager(free_ports(1)[0]), f"--controllers={CONTROLLERS}"]
        manager = Daemon(
            "controllers", [*BOUND_TO_THE_DRIVER, *command], server.directory / "controllers.log"
        )
        manager.start()
        try:
            for definition in sorted((ROOT / "crds").glob("*.yaml")):
                server.kubectl("apply", "--server-side", "-f", str(definition))
            server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
            classes = ROOT / "charts" / "seawall" / "files" / "acceleratorclasses.yaml"
            server.kubectl("apply", "--server-side", "-f", str(classes))
            yield server
        finally:
            manager.kill()


@dataclass(frozen=True)
class Usage:
    cpu_seconds: float
    rss_mb: float
    peak_mb: float


class Operator:
    """`seawall operator` as a process of its own, with its own identity at the API server."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self.health, self.metrics = free_ports(2)
        environment = {
            **quiet_environment(),
            "KUBECONFIG": str(server.kubeconfig_for(OPERATOR_USER, "system:masters")),
            "SEAWALL_NAMESPACE": "default",
            "SEAWALL_POD_NAME": "bench",
            "SEAWALL_LISTEN_HOST": "127.0.0.1",
            "SEAWALL_HEALTH_PORT": str(self.health),
            "SEAWALL_METRICS_PORT": str(self.metrics),
            "SEAWALL_METRICS_AUTH": "false",
        }
        program = str(Path(sys.executable).parent / "seawall")
        self._daemon = Daemon(
            "operator",
            [*BOUND_TO_THE_DRIVER, program, "operator"],
            server.directory / "operator.log",
            environment,
        )

    def start(self, *, wait: bool = True) -> None:
        self._daemon.start()
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        wait_until(self.ready, "readiness of the operator", START_SECONDS, [self._daemon])

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def stop(self) -> float:
        """SIGTERM, as a node drain sends it; how long it took."""
        process = self._daemon.process
        assert process is not None
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            raise SystemExit(f"the operator did not end within {STOP_SECONDS} s of SIGTERM") from None
        return time.monotonic() - started

    def kill(self) -> None:
        self._daemon.kill()

    def check(self) -> None:
        if not self._daemon.running():
            raise SystemExit(f"the operator ended:\n{self._daemon.last_words(20)}")

    def usage(self) -> Usage:
        proc = Path("/proc") / str(self._daemon.pid)
        fields = (proc / "stat").read_text().rpartition(") ")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        memory = dict(
            line.split(":", 1) for line in (proc / "status").read_text().splitlines() if line.startswith("Vm")
        )
        return Usage(
            ticks / os.sysconf("SC_CLK_TCK"),
            int(memory["VmRSS"].split()[0]) / 1000 * 1.024,
            int(memory["VmHWM"].split()[0]) / 1000 * 1.024,
        )

    def reconciles(self) -> float:
        """How many reconciles the operator's own metric has counted."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(x.rsplit(" ", 1)[1]) for x in lines if x.startswith("seawall_reconcile_total{"))
