"""The Gateway API's routes of a service: what splits its clients' requests between the revision that serves
and the candidate.

Both backends are there at every weight, so that a rollout changes two numbers and nothing else. Values are
spelt as the API server fills them in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seawall.api.v1alpha1 import GatewayRef, RoutingSpec
from seawall.desired import names
from seawall.desired.canonical import stamped
from seawall.desired.names import Owner

GROUP = "gateway.networking.k8s.io"
API_VERSION = f"{GROUP}/v1"
HTTP_ROUTE = "HTTPRoute"
GRPC_ROUTE = "GRPCRoute"
EVERY_PATH = {"path": {"type": "PathPrefix", "value": "/"}}


def build_http_route(
    owner: Owner, routing: RoutingSpec, weight: int, *, copied: bool = False
) -> dict[str, Any]:
    """`weight`: percent of the requests for the candidate. `copied`: the comparator gets each of them, too.
    Without host names: all of the Gateways'."""
    filters = {"filters": [_copy(owner)]} if copied else {}
    # A GRPCRoute matches everything when it says nothing; here the server would write it out.
    rule = {"matches": [EVERY_PATH], **filters, "backendRefs": _backends(owner, names.HTTP_PORT, weight)}
    return _route(HTTP_ROUTE, owner, owner.name, routing, routing.hostnames or (), rule)


def build_grpc_route(owner: Owner, routing: RoutingSpec, weight: int) -> dict[str, Any]:
    """For `grpcHostnames`: a host name of one listener belongs to routes of one kind."""
    rule = {"backendRefs": _backends(owner, names.GRPC_PORT, weight)}
    name = names.grpc_route_name(owner.name)
    return _route(GRPC_ROUTE, owner, name, routing, routing.grpc_hostnames or (), rule)


def _route(
    kind: str,
    owner: Owner,
    name: str,
    routing: RoutingSpec,
    hostnames: Sequence[str],
    rule: Mapping[str, Any],
) -> dict[str, Any]:
    answers_to = {"hostnames": list(hostnames)} if hostnames else {}
    return stamped(
        {
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": names.metadata(owner, name, names.child_labels(owner)),
            "spec": {
                "parentRefs": [_parent(gateway) for gateway in routing.gateways],
                **answers_to,
                "rules": [dict(rule)],
            },
        }
    )


def _copy(owner: Owner) -> dict[str, Any]:
    """Of all requests: not every gateway heeds a percentage, so the comparator draws its sample itself."""
    backend = {
        "group": "",
        "kind": "Service",
        "name": names.shadow_name(owner.name),
        "port": names.HTTP_PORT,
    }
    return {"type": "RequestMirror", "requestMirror": {"backendRef": backend}}


def _parent(gateway: GatewayRef) -> dict[str, Any]:
    place = {"namespace": gateway.namespace} if gateway.namespace is not None else {}
    return {"group": GROUP, "kind": "Gateway", **place, "name": gateway.name}


def _backends(owner: Owner, port: int, weight: int) -> list[dict[str, Any]]:
    shares = {owner.name: 100 - weight, names.candidate_name(owner.name): weight}
    return [
        {"group": "", "kind": "Service", "name": name, "port": port, "weight": share}
        for name, share in shares.items()
    ]
