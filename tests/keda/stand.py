"""Real KEDA, Prometheus, API server and controllers on loopback; the operator's metrics are a small exporter.

Pods are made and never run: KEDA and the autoscaler look at the Deployment alone.
"""

from __future__ import annotations

import json
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from seawall_cluster import binaries, keda
from seawall_cluster.processes import Daemon, free_ports, quiet_environment, wait_until
from seawall_cluster.state import Layout

from seawall.desired.names import MANAGER, Owner
from seawall.desired.scaledobject import LOAD, build_scaled_object

REVISION = "abc12"
START_SECONDS = 60.0


class Loopback(Layout):
    """KEDA's files in the API server's directory, and no network of its own."""

    @property
    def address(self) -> str:
        return "127.0.0.1"


class Exporter:
    """The operator's own series, as far as they matter here."""

    def __init__(self) -> None:
        self.loads: dict[Owner, float] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = outer.text().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def text(self) -> str:
        lines = [f"# TYPE {LOAD} gauge"]
        for owner, load in list(self.loads.items()):
            labels = f'namespace="{owner.namespace}",inferenceservice="{owner.name}",revision="{REVISION}"'
            lines.append(f"{LOAD}{{{labels}}} {load}")
        return "\n".join(lines) + "\n"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Prometheus:
    def __init__(self, server: Any, exporter: Exporter) -> None:
        self._server = server
        (self.port,) = free_ports(1)
        self._program = binaries.ensure(["prometheus"])["prometheus"]
        target = f"127.0.0.1:{exporter.server.server_address[1]}"
        job = {"job_name": "seawall", "honor_labels": True, "static_configs": [{"targets": [target]}]}
        config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [job]}
        self._config: Path = server.directory / "prometheus.yaml"
        self._config.write_text(yaml.safe_dump(config))
        self._daemon: Daemon | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        if self._daemon is None:
            command = [
                str(self._program),
                f"--config.file={self._config}",
                f"--storage.tsdb.path={self._server.directory / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ]
            log = self._server.directory / "prometheus.log"
            self._daemon = Daemon("prometheus", command, log)
            self._daemon.start(group=self._server._etcd.pid)

    def kill(self) -> None:
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon = None


class Keda:
    """The operator and the adapter; both end with the API server."""

    def __init__(self, server: Any) -> None:
        self._server = server
        layout = Loopback("keda", server.directory, 0)
        keda.write_configuration(layout, server.plane)
        server.plane.kubeconfig_for(keda.USER, ("system:masters",), keda._kubeconfig(layout))
        programs = binaries.ensure(["keda-operator", "keda-adapter"])
        commands = {
            "keda-operator": keda.operator_command(layout, programs),
            "keda-adapter": keda.adapter_command(layout, programs),
        }
        environment = {**quiet_environment(), **keda.environment(layout)}
        self.daemons = [
            Daemon(name, command, server.directory / f"{name}.log", environment)
            for name, command in commands.items()
        ]

    def start(self) -> None:
        for daemon in self.daemons:
            if not daemon.running():
                daemon.start(group=self._server._etcd.pid)
        wait_until(self._available, "metrics of KEDA", START_SECONDS, self.daemons)

    def _available(self) -> bool:
        return keda.available(self._server.api.read(keda.API_SERVICE_PATH))

    def kill(self) -> None:
        for daemon in self.daemons:
            daemon.kill()


class Stand:
    """One Deployment under a ScaledObject, as the operator makes them."""

    def __init__(self, server: Any, prometheus: Prometheus, exporter: Exporter, namespace: str) -> None:
        self.server, self.prometheus, self.exporter = server, prometheus, exporter
        self.owner = Owner("digits", namespace, str(uuid.uuid4()))
        self.name = f"digits-{REVISION}"
        self.server.kubectl("create", "namespace", namespace)
        self._apply(deployment(self.name, namespace))
        self.counts(1)

    def counts(self, replicas: int) -> None:
        """The operator says a count itself, as in mode Fixed."""
        self._apply(deployment(self.name, self.owner.namespace, replicas), "seawall-replicas")

    def scaled(self, minimum: int = 1, maximum: int = 9, **annotations: str) -> None:
        given = {f"autoscaling.keda.sh/{key.replace('_', '-')}": value for key, value in annotations.items()}
        url = self.prometheus.url
        self._apply(build_scaled_object(self.owner, REVISION, minimum, maximum, None, url, given))

    def says(self, load: float | None) -> None:
        if load is None:
            self.exporter.loads.pop(self.owner, None)
        else:
            self.exporter.loads[self.owner] = load

    def renders_again(self) -> None:
        """The operator applies its manifest once more, without a count as ever."""
        made = deployment(self.name, self.owner.namespace)
        made["metadata"]["annotations"] = {"rendered": "again"}
        self._apply(made)

    def _apply(self, manifest: dict[str, Any], manager: str = MANAGER) -> None:
        # Without an owner: there is no InferenceService here, and the garbage collector would notice.
        manifest["metadata"].pop("ownerReferences", None)
        self.server.kubectl(
            *("apply", "--server-side", f"--field-manager={manager}", "--force-conflicts"),
            *("--validate=strict", "-f", "-"),
            stdin=yaml.safe_dump(manifest),
        )

    def _object(self, group: str, plural: str, name: str) -> dict[str, Any]:
        path = f"/apis/{group}/namespaces/{self.owner.namespace}/{plural}/{name}"
        status, body = self.server.api.call("GET", path)
        return dict(json.loads(body)) if status == 200 else {}

    @property
    def deployment(self) -> dict[str, Any]:
        return self._object("apps/v1", "deployments", self.name)

    @property
    def hpa(self) -> dict[str, Any]:
        return self._object("autoscaling/v2", "horizontalpodautoscalers", f"keda-hpa-{self.name}")

    @property
    def scaled_object(self) -> dict[str, Any]:
        return self._object("keda.sh/v1alpha1", "scaledobjects", self.name)

    @property
    def replicas(self) -> int:
        return int(self.deployment["spec"]["replicas"])

    @property
    def generation(self) -> int:
        """Counts every change of the Deployment's spec: one that stands proves that nobody touched the count."""
        return int(self.deployment["metadata"]["generation"])

    def condition(self, type_: str) -> dict[str, Any]:
        return _condition(self.scaled_object, type_)

    def autoscaler_condition(self, type_: str) -> dict[str, Any]:
        return _condition(self.hpa, type_)


def _condition(live: dict[str, Any], type_: str) -> dict[str, Any]:
    found = live.get("status", {}).get("conditions", [])
    return next((dict(c) for c in found if c["type"] == type_), {})


def deployment(name: str, namespace: str, replicas: int | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
    }
    if replicas is not None:
        return made | {"spec": {"replicas": replicas}}
    container = {"name": "server", "image": "example.test/triton:1"}
    pod = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    return made | {"spec": {"selector": {"matchLabels": {"app": name}}, "template": pod}}
