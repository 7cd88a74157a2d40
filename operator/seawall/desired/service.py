"""The Services of an InferenceService: one address for clients, one name per pod for gRPC balancing, and one
address for the candidate where routes split the traffic."""

from __future__ import annotations

from typing import Any

from seawall.desired import names
from seawall.desired.canonical import stamped
from seawall.desired.names import Owner


def build_service(owner: Owner, revision: str | None, *, both: bool = False) -> dict[str, Any]:
    """`revision` is the one that is served; None sends nobody anywhere. `both`: pods of every revision get
    requests, those of a candidate with the others."""
    return _service(owner, owner.name, revision, {"type": "ClusterIP"}, ("http", "grpc"), both=both)


def build_headless_service(owner: Owner, revision: str | None, *, both: bool = False) -> dict[str, Any]:
    """Resolves to the pods themselves: gRPC clients balance over them, Prometheus finds the metrics."""
    ports = ("http", "grpc", "metrics")
    return _service(owner, names.headless_name(owner.name), revision, {"clusterIP": "None"}, ports, both=both)


def build_candidate_service(owner: Owner, revision: str | None) -> dict[str, Any]:
    """What the routes send the candidate's share to."""
    name = names.candidate_name(owner.name)
    return _service(owner, name, revision, {"type": "ClusterIP"}, ("http", "grpc"))


_PORTS = {"http": names.HTTP_PORT, "grpc": names.GRPC_PORT, "metrics": names.METRICS_PORT}


def _service(
    owner: Owner,
    name: str,
    revision: str | None,
    kind: dict[str, Any],
    ports: tuple[str, ...],
    *,
    both: bool = False,
) -> dict[str, Any]:
    metadata = names.metadata(owner, name, names.child_labels(owner))
    selector = names.revision_selector(owner, revision or names.WITHHELD)
    if both and revision is not None:
        metadata["annotations"] = {names.STABLE_ANNOTATION: revision}
        selector = names.service_selector(owner)
    return stamped(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                **kind,
                "selector": selector,
                "ports": [{"name": p, "port": _PORTS[p], "targetPort": p, "protocol": "TCP"} for p in ports],
            },
        }
    )
