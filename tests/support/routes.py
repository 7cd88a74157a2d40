"""Routes as the API server and the Gateways leave them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from seawall.decide.types import ObjectRef
from support.fakecluster import FakeCluster
from support.scene import digits

__all__ = ["API", "GRPC_OWN", "HTTP_OWN", "answered", "applied", "digits", "parent", "ref", "route"]

API = "gateway.networking.k8s.io/v1"
HTTP_OWN = ObjectRef(API, "HTTPRoute", "ns", "digits")
GRPC_OWN = ObjectRef(API, "GRPCRoute", "ns", "digits-grpc")
PARENT = {
    "group": "gateway.networking.k8s.io",
    "kind": "Gateway",
    "namespace": "infra",
    "name": "public",
}


def ref(name: str) -> Callable[[int], dict[str, Any]]:
    """A backend of this name, to be given its weight."""
    return lambda weight: {"group": "", "kind": "Service", "name": name, "port": 8000, "weight": weight}


def route(name: str, *rules: list[dict[str, Any]], kind: str = "HTTPRoute") -> dict[str, Any]:
    """Somebody's own, with these backends in its rules."""
    made = {
        "apiVersion": API,
        "kind": kind,
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {"parentRefs": [PARENT], "rules": [{"backendRefs": copy.deepcopy(refs)} for refs in rules]},
    }
    return FakeCluster().add(made)


def applied(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return FakeCluster().add(manifest, "seawall")


def parent(
    name: str,
    generation: int,
    conditions: Mapping[str, str],
    controller: str = "example.com/gateway",
    namespace: str | None = "infra",
) -> dict[str, Any]:
    """What one Gateway says of a route."""
    place = {"namespace": namespace} if namespace is not None else {}
    return {
        "parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", **place, "name": name},
        "controllerName": controller,
        "conditions": [
            {
                "type": type_,
                "status": status,
                "observedGeneration": generation,
                "reason": "Told",
                "message": "in its own words",
            }
            for type_, status in conditions.items()
        ],
    }


def answered(live: dict[str, Any]) -> dict[str, Any]:
    """Its Gateways have taken it in as it is."""
    told = {"Accepted": "True", "ResolvedRefs": "True"}
    generation = live["metadata"]["generation"]
    live["status"] = {
        "parents": [
            parent(p["name"], generation, told, namespace=p.get("namespace"))
            for p in live["spec"]["parentRefs"]
        ]
    }
    return live
