"""What this cluster serves beside what every cluster does: asked of its API server, never guessed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import aiohttp
from kubernetes.aio.client.api_client import ApiClient

from seawall.adapters.kube import HEADERS
from seawall.adapters.problems import Answer, problem
from seawall.ports import ApiUnavailable

KEDA = ("keda.sh/v1alpha1", frozenset({"scaledobjects"}))
PROMETHEUS_OPERATOR = ("monitoring.coreos.com/v1", frozenset({"podmonitors", "prometheusrules"}))
GATEWAY_API = "gateway.networking.k8s.io/v1"
TOLERANCE_SINCE = (1, 35)
"""Kubernetes from which on an autoscaler's own tolerance is known and switched on by default."""

TIMEOUT = aiohttp.ClientTimeout(total=10.0)


@dataclass(frozen=True, slots=True)
class Served:
    keda: bool
    """ScaledObjects"""
    prometheus_operator: bool
    """PodMonitors and PrometheusRules"""
    tolerance: bool
    """behavior.*.tolerance of a HorizontalPodAutoscaler"""
    gateway_api: bool = False
    """HTTPRoutes"""
    grpc_routes: bool = False
    """GRPCRoutes"""


async def discover(client: ApiClient) -> Served:
    """Raises ApiUnavailable while that cannot be told: what was known then stands."""
    keda = await _serves(client, *KEDA)
    prometheus_operator = await _serves(client, *PROMETHEUS_OPERATOR)
    routes = await _resources(client, GATEWAY_API)
    return Served(
        keda=keda,
        prometheus_operator=prometheus_operator,
        tolerance=await _version(client) >= TOLERANCE_SINCE,
        gateway_api="httproutes" in routes,
        grpc_routes="grpcroutes" in routes,
    )


async def _serves(client: ApiClient, group_version: str, resources: frozenset[str]) -> bool:
    return resources <= await _resources(client, group_version)


async def _resources(client: ApiClient, group_version: str) -> frozenset[str]:
    """A CRD whose names were not accepted is in no list: the list counts, not the group."""
    found = await _get(client, f"/apis/{group_version}")
    return frozenset(str(entry.get("name")) for entry in found.get("resources") or ())


async def _version(client: ApiClient) -> tuple[int, int]:
    found = await _get(client, "/version")
    # Some providers write the minor version as `31+`.
    major, minor = (re.sub(r"\D.*", "", str(found.get(part, ""))) for part in ("major", "minor"))
    return int(major or 0), int(minor or 0)


async def _get(client: ApiClient, path: str) -> dict[str, Any]:
    """{} where there is nothing at that path."""
    headers = dict(HEADERS)
    await client.update_params_for_auth(headers, [], ["BearerToken"], path, "GET", None)
    try:
        response = await client.rest_client.request(
            "GET", client.configuration.host + path, headers, None, _request_timeout=TIMEOUT
        )
        raw = await response.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise ApiUnavailable(f"get {path}: {type(error).__name__} {error}") from error
    if response.status == 404:
        return {}
    try:
        answer = Answer(response.status, dict(json.loads(raw)), response.headers.get("Retry-After"))
    except (TypeError, ValueError) as error:
        # A proxy in between may answer with a page of its own, be it with 200.
        raise ApiUnavailable(f"get {path}: HTTP {response.status} without JSON") from error
    if not answer.ok:
        raise problem(answer, f"get {path}")
    return answer.data
