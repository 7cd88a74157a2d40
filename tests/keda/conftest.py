"""One KEDA for the run, and for each test a Deployment in a namespace of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from seawall_cluster import keda, modules

from .stand import Exporter, Keda, Prometheus, Stand

SERVICE_PATH = f"/api/v1/namespaces/{keda.NAMESPACE}/services/{keda.SERVICE}"


@pytest.fixture(scope="session")
def exporter() -> Iterator[Exporter]:
    made = Exporter()
    yield made
    made.close()


@pytest.fixture(scope="session")
def monitored(controlled_apiserver: Any, exporter: Exporter) -> Iterator[Prometheus]:
    made = Prometheus(controlled_apiserver, exporter)
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="session")
def installed(controlled_apiserver: Any, monitored: Prometheus) -> Iterator[Keda]:
    server = controlled_apiserver
    files = [argument for path in modules.crds("keda") for argument in ("-f", str(path))]
    server.kubectl("apply", "--server-side", *files)
    server.kubectl("wait", "--for=condition=Established", *files, "--timeout=30s")
    server.kubectl("create", "namespace", keda.NAMESPACE)
    # Loopback may not stand in an EndpointSlice: the API server finds the adapter by this name instead.
    outside = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": keda.ADAPTER_PORT}]}
    server.api.apply(
        SERVICE_PATH,
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": keda.SERVICE}, "spec": outside},
    )
    aggregated = keda.api_service(server.plane)
    aggregated["spec"]["service"]["port"] = keda.ADAPTER_PORT
    server.api.apply(keda.API_SERVICE_PATH, aggregated)
    made = Keda(server)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def stand(
    controlled_apiserver: Any, installed: Keda, monitored: Prometheus, exporter: Exporter
) -> Iterator[Stand]:
    monitored.start()
    installed.start()
    made = Stand(controlled_apiserver, monitored, exporter, f"k-{uuid.uuid4().hex[:8]}")
    yield made
    made.says(None)
    if made.scaled_object:
        controlled_apiserver.kubectl("delete", "scaledobject", made.name, "-n", made.owner.namespace)
