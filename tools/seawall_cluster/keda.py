"""KEDA's operator and metrics adapter beside the node's programs.

The API server asks the adapter through an APIService and a Service, as in any cluster.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from .controlplane import ControlPlane
from .pki import encoded
from .state import Layout

NAMESPACE = "keda"
USER = "system:keda"
SERVICE = "keda-metrics-apiserver"
METRICS_PORT, HEALTH_PORT, METRICS_SERVICE_PORT = 28080, 28081, 9666
ADAPTER_PORT, ADAPTER_METRICS_PORT = 16444, 28082
API_SERVICE = "v1beta1.external.metrics.k8s.io"
API_SERVICE_PATH = f"/apis/apiregistration.k8s.io/v1/apiservices/{API_SERVICE}"


def write_configuration(layout: Layout, plane: ControlPlane) -> None:
    """One certificate for both programs, which speak mutual TLS with each other."""
    names = [f"DNS:{SERVICE}.{NAMESPACE}.svc", "DNS:localhost", f"IP:{layout.address}"]
    own = plane.pki.server("keda-serving", SERVICE, names)
    folder = _certificates(layout)
    folder.mkdir(mode=0o700)
    shutil.copyfile(plane.pki.pair("ca").cert, folder / "ca.crt")
    shutil.copyfile(own.cert, folder / "tls.crt")
    shutil.copyfile(own.key, folder / "tls.key")


def operator_command(layout: Layout, programs: dict[str, Path]) -> list[str]:
    return [
        str(programs["keda-operator"]),
        f"--metrics-bind-address=127.0.0.1:{METRICS_PORT}",
        f"--health-probe-bind-address=127.0.0.1:{HEALTH_PORT}",
        f"--metrics-service-bind-address=127.0.0.1:{METRICS_SERVICE_PORT}",
        f"--cert-dir={_certificates(layout)}",
        "--enable-cert-rotation=false",
        "--leader-elect=false",
    ]


def adapter_command(layout: Layout, programs: dict[str, Path]) -> list[str]:
    """Without a client CA of its own: it reads the aggregator's from the cluster."""
    folder, kubeconfig = _certificates(layout), _kubeconfig(layout)
    return [
        str(programs["keda-adapter"]),
        f"--metrics-service-address=localhost:{METRICS_SERVICE_PORT}",
        f"--bind-address={layout.address}",
        f"--secure-port={ADAPTER_PORT}",
        f"--tls-cert-file={folder / 'tls.crt'}",
        f"--tls-private-key-file={folder / 'tls.key'}",
        f"--cert-dir={folder}",
        f"--port={ADAPTER_METRICS_PORT}",
        *(f"--{use}kubeconfig={kubeconfig}" for use in ("", "lister-", "authentication-", "authorization-")),
    ]


def environment(layout: Layout) -> dict[str, str]:
    return {
        "POD_NAMESPACE": NAMESPACE,
        "POD_NAME": "keda",
        "WATCH_NAMESPACE": "",
        # There is no service account's folder that would tell it.
        "KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE,
        "KUBECONFIG": str(_kubeconfig(layout)),
    }


def api_service(plane: ControlPlane) -> dict[str, Any]:
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": API_SERVICE},
        "spec": {
            "group": "external.metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "caBundle": encoded(plane.pki.pair("ca").cert),
            "service": {"name": SERVICE, "namespace": NAMESPACE, "port": 443},
        },
    }


def available(service: dict[str, Any]) -> bool:
    conditions = service.get("status", {}).get("conditions", [])
    return any(found["type"] == "Available" and found["status"] == "True" for found in conditions)


def _certificates(layout: Layout) -> Path:
    return layout.directory / "keda-certificates"


def _kubeconfig(layout: Layout) -> Path:
    return layout.directory / "keda.kubeconfig"
