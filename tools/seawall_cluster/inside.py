"""The chosen parts, from inside the cluster's namespaces: their definitions, objects and programs.

They start when the cluster itself serves, one after the other, and each is waited for.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from . import gateway, keda, network, parts, prometheus
from .api import Api, Object
from .controlplane import ControlPlane
from .errors import ClusterError
from .processes import Daemon, wait_until
from .state import Layout

START_SECONDS = 120.0
INFRA = "infra"
Step = Callable[[str], None]


class Supervisor(Protocol):
    layout: Layout
    programs: dict[str, Path]
    plane: ControlPlane
    api: Api

    def start(self, name: str, command: list[str], more: Mapping[str, str] | None = None) -> Daemon: ...


def write_configuration(
    layout: Layout, programs: dict[str, Path], chosen: parts.Parts, definitions: Sequence[Path]
) -> None:
    """On the host, before the cluster starts."""
    plane = layout.plane(programs)
    parts.write(layout, chosen)
    (layout.directory / "definitions.json").write_text(json.dumps([str(path) for path in definitions]))
    if "prometheus" in chosen.names:
        plane.kubeconfig_for(prometheus.USER)
        prometheus.write_configuration(layout, chosen)
    if "gateway" in chosen.names:
        plane.kubeconfig_for(gateway.USER)
        gateway.write_configuration(layout, programs, chosen.edges)
    if "keda" in chosen.names:
        plane.kubeconfig_for(keda.USER)
        keda.write_configuration(layout, plane)


def start(supervisor: Supervisor, step: Step) -> None:
    chosen = parts.read(supervisor.layout)
    if not chosen.names:
        return
    if chosen.definitions:
        _define(supervisor)
        step(f"definitions of {', '.join(chosen.definitions)} are served")
    _apply(supervisor, [network.namespace(INFRA)])
    starts = {"prometheus": _prometheus, "gateway": _gateway, "keda": _keda}
    for name in chosen.names:
        if name in starts:
            starts[name](supervisor)
            step(f"{name} serves")


def _define(supervisor: Supervisor) -> None:
    found = json.loads((supervisor.layout.directory / "definitions.json").read_text())
    files = [word for path in found for word in ("-f", path)]
    _kubectl(supervisor, "apply", "--server-side", *files)
    _kubectl(supervisor, "wait", "--for=condition=Established", "--timeout=60s", *files)


def _prometheus(supervisor: Supervisor) -> None:
    layout = supervisor.layout
    ports: list[Object] = [{"name": "http", "port": prometheus.PORT, "protocol": "TCP"}]
    service = network.hosted(INFRA, prometheus.SERVICE, layout.address, ports, ports)
    rights = [*network.rights(prometheus.USER, prometheus.READS), *prometheus.account(INFRA)]
    _apply(supervisor, [*rights, *service])
    prometheus.fetch_token(supervisor.api, layout, INFRA)
    daemon = supervisor.start("prometheus", prometheus.command(layout, supervisor.programs))
    url = f"http://{layout.address}:{prometheus.PORT}/-/ready"
    wait_until(lambda: _answers(url), "answer of Prometheus", START_SECONDS, [daemon])


def _gateway(supervisor: Supervisor) -> None:
    layout, api = supervisor.layout, supervisor.api
    ports: list[Object] = [{"name": "http", "port": gateway.PORT, "protocol": "TCP"}]
    targets: list[Object] = [{"name": "http", "port": gateway.ENVOY_PORT, "protocol": "TCP"}]
    service = network.hosted(INFRA, gateway.NAME, layout.address, ports, targets, gateway.ADDRESS)
    admin = network.binding(gateway.USER, "cluster-admin")
    _apply(supervisor, [admin, *service, *gateway.objects()])
    daemons = [
        supervisor.start("contour", gateway.contour_command(layout, supervisor.programs)),
        supervisor.start("envoy", gateway.envoy_command(layout, supervisor.programs)),
    ]
    path = gateway.gateway_path()
    wait_until(lambda: gateway.programmed(api.read(path)), "programmed Gateway", START_SECONDS, daemons)
    url = f"http://{gateway.LOCAL}:{gateway.STATS_PORT}/ready"
    wait_until(lambda: _answers(url), "answer of Envoy", START_SECONDS, daemons)


def _keda(supervisor: Supervisor) -> None:
    layout, api, plane = supervisor.layout, supervisor.api, supervisor.plane
    ports: list[Object] = [{"name": "https", "port": 443, "protocol": "TCP"}]
    targets: list[Object] = [{"name": "https", "port": keda.ADAPTER_PORT, "protocol": "TCP"}]
    service = network.hosted(keda.NAMESPACE, keda.SERVICE, layout.address, ports, targets)
    admin = network.binding(keda.USER, "cluster-admin")
    api_service = (keda.API_SERVICE_PATH, keda.api_service(plane))
    _apply(supervisor, [network.namespace(keda.NAMESPACE), admin, *service, api_service])
    own = keda.environment(layout)
    daemons = [
        supervisor.start("keda-operator", keda.operator_command(layout, supervisor.programs), own),
        supervisor.start("keda-adapter", keda.adapter_command(layout, supervisor.programs), own),
    ]
    wait_until(
        lambda: keda.available(api.read(keda.API_SERVICE_PATH)),
        "external metrics of KEDA",
        START_SECONDS,
        daemons,
    )


def _apply(supervisor: Supervisor, objects: Sequence[tuple[str, Object]]) -> None:
    for path, manifest in objects:
        supervisor.api.apply(path, manifest)


def _kubectl(supervisor: Supervisor, *words: str) -> None:
    command = [str(supervisor.programs["kubectl"]), f"--kubeconfig={supervisor.layout.kubeconfig}", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"kubectl {words[0]} of the definitions: {done.stderr.strip()[-1000:]}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - an address of ours
            return bool(answer.status == http.client.OK)
    except (OSError, http.client.HTTPException):
        return False
