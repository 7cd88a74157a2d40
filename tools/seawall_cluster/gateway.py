"""Contour and Envoy beside the node's programs: a real Gateway whose routes split real traffic.

Contour runs for the one Gateway `infra/gw`. Envoy listens at the Gateway's port plus 8000, because lower ones
need more rights; the Service `infra/gw` leads from port 80 to it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .errors import ClusterError
from .state import Layout

NAMESPACE, NAME = "infra", "gw"
# In the part of the range that the API server does not give away by itself.
ADDRESS = "10.96.0.20"
PORT = 80
ENVOY_PORT = PORT + 8000
USER = "system:contour"
CONTROLLER = "projectcontour.io/gateway-controller"
XDS_PORT, METRICS_PORT, HEALTH_PORT, STATS_PORT, DEBUG_PORT = 18001, 18000, 18003, 18002, 16060
LOCAL = "127.0.0.1"
# These kinds are not among the standard definitions of the Gateway API, and Contour would wait for them.
EXPERIMENTAL = ("tlsroutes", "tcproutes", "backendtlspolicies")
# Milliseconds. A service's objective between 5 and 500 ms is never more than a tenth away from an edge.
EDGES = (
    *range(1, 21), 22, 24, 26, 28, 30, 33, 36, 40, 44, 48, 50, 55, 60, 65, 70, 75, 80, 90, 100, 110, 120, 130,
    140, 150, 165, 180, 200, 220, 240, 250, 275, 300, 330, 360, 400, 440, 480, 500, 550, 600, 750, 1000, 1500,
    2500, 5000, 10000, 30000, 60000,
)  # fmt: skip


def contour_config() -> dict[str, Any]:
    # Only answers of 300 and more are logged: one line per request would fill the disk under load.
    return {"gateway": {"gatewayRef": {"namespace": NAMESPACE, "name": NAME}}, "accesslog-level": "error"}


def amended(bootstrap: dict[str, Any], edges: Iterable[int]) -> dict[str, Any]:
    """Envoy's latency histograms with edges of ours, and published every second instead of every five."""
    buckets = [float(edge) for edge in sorted({*EDGES, *edges})]
    # gRPC's own histogram ends in the same word.
    settings = [{"match": {"suffix": ".upstream_rq_time"}, "buckets": buckets}]
    stats = {**bootstrap.get("stats_config", {}), "histogram_bucket_settings": settings}
    return {**bootstrap, "stats_flush_interval": "1s", "stats_config": stats}


def write_configuration(layout: Layout, programs: dict[str, Path], edges: Iterable[int]) -> None:
    directory = layout.directory
    (directory / "contour.json").write_text(json.dumps(contour_config()))
    made = directory / "envoy.json"
    command = [str(programs["contour"]), "bootstrap", str(made), f"--xds-address={LOCAL}"]
    command += [f"--xds-port={XDS_PORT}", f"--admin-address={directory / 'envoy.sock'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"contour bootstrap: {done.stderr.strip()}")
    made.write_text(json.dumps(amended(json.loads(made.read_text()), edges), indent=1))


def contour_command(layout: Layout, programs: dict[str, Path]) -> list[str]:
    def listens(kind: str, port: int) -> list[str]:
        return [f"--{kind}-address={LOCAL}", f"--{kind}-port={port}"]

    return [
        str(programs["contour"]),
        "serve",
        f"--kubeconfig={layout.directory / 'contour.kubeconfig'}",
        f"--config-path={layout.directory / 'contour.json'}",
        "--insecure",
        "--disable-leader-election",
        *listens("xds", XDS_PORT),
        *listens("http", METRICS_PORT),
        *listens("health", HEALTH_PORT),
        *listens("debug-http", DEBUG_PORT),
        *listens("stats", STATS_PORT),
        f"--envoy-service-http-address={layout.address}",
        f"--envoy-service-https-address={layout.address}",
        f"--ingress-status-address={ADDRESS}",
        *(f"--disable-feature={kind}" for kind in EXPERIMENTAL),
    ]


def envoy_command(layout: Layout, programs: dict[str, Path]) -> list[str]:
    return [
        str(programs["envoy"]),
        *("-c", str(layout.directory / "envoy.json")),
        *("--service-cluster", NAME),
        *("--service-node", "envoy-1"),
        *("--concurrency", "1"),
        *("--log-level", "warning"),
        # Else it ends together with the process that started it.
        "--disable-hot-restart",
    ]


def objects() -> list[tuple[str, dict[str, Any]]]:
    """The Gateway and its class, which stays unaccepted: Contour looks at its one Gateway only."""
    group = "gateway.networking.k8s.io"
    listener = {
        "name": "http",
        "port": PORT,
        "protocol": "HTTP",
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }
    gateway_class = {
        "apiVersion": f"{group}/v1",
        "kind": "GatewayClass",
        "metadata": {"name": "contour"},
        "spec": {"controllerName": CONTROLLER},
    }
    gateway = {
        "apiVersion": f"{group}/v1",
        "kind": "Gateway",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"gatewayClassName": "contour", "listeners": [listener]},
    }
    return [
        (f"/apis/{group}/v1/gatewayclasses/contour", gateway_class),
        (gateway_path(), gateway),
    ]


def gateway_path() -> str:
    return f"/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/gateways/{NAME}"


def programmed(gateway: dict[str, Any]) -> bool:
    conditions = gateway.get("status", {}).get("conditions", [])
    found = {condition["type"]: condition for condition in conditions}
    return all(
        found.get(kind, {}).get("status") == "True"
        and found[kind].get("observedGeneration") == gateway["metadata"]["generation"]
        for kind in ("Accepted", "Programmed")
    )
