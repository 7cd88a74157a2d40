"""The client that makes work for the operator, and that shows what the API server alone can do."""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

SEAWALL = "/apis/serving.seawall.dev/v1alpha1"
BASES = {
    "InferenceService": f"{SEAWALL}/namespaces/{{}}/inferenceservices",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "Service": "/api/v1/namespaces/{}/services",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
}
API_VERSIONS = {"Deployment": "apps/v1", "Service": "v1", "PodDisruptionBudget": "policy/v1"}
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
SERVER_MADE = (
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "managedFields",
    "generation",
    "ownerReferences",
)
HEAL_SECONDS = 20.0
POLL_SECONDS = 0.005

Object = dict[str, Any]


class RequestFailed(Exception):
    pass


class Driver:
    """A plain HTTP client with so many connections."""

    def __init__(self, server: Any, connections: int) -> None:
        self.connections = connections
        self._url = server.url
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, ssl=server.api.context),
            timeout=aiohttp.ClientTimeout(total=60),
        )

    async def __aenter__(self) -> Driver:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._session.close()

    async def call(
        self, method: str, path: str, body: Object | None = None, kind: str = "application/json"
    ) -> tuple[int, Object]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": kind, "Accept": "application/json"}
        async with self._session.request(method, self._url + path, data=data, headers=headers) as answer:
            return answer.status, json.loads(await answer.read())

    async def do(
        self, method: str, path: str, body: Object | None = None, kind: str = "application/json"
    ) -> Object:
        status, answer = await self.call(method, path, body, kind)
        if status >= 300:
            raise RequestFailed(f"{method} {path}: {status} {answer.get('message')}")
        return answer

    async def make_namespace(self, name: str) -> None:
        await self.do("POST", "/api/v1/namespaces", {"metadata": {"name": name}})

    async def all(self, calls: Sequence[tuple[str, str, Object, str]]) -> float:
        """Every call, each connection taking the next; seconds."""
        waiting = iter(calls)
        started = time.monotonic()

        async def connection() -> None:
            for method, path, body, kind in waiting:
                await self.do(method, path, body, kind)

        await asyncio.gather(*(connection() for _ in range(self.connections)))
        return time.monotonic() - started


def inference_service(namespace: str, index: int) -> Object:
    return {
        "apiVersion": "serving.seawall.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": service_name(index), "namespace": namespace},
        "spec": {
            "model": {
                "uri": f"https://models.example/digits-{index}.onnx",
                "format": "onnx",
                "maxBatchSize": 8,
            },
            "accelerator": {"class": "cpu"},
            "slo": {"p99": "20ms"},
            "scaling": {"mode": "Fixed", "replicas": 1},
        },
    }


def service_name(index: int) -> str:
    return f"svc-{index:04d}"


def path_of(kind: str, namespace: str, name: str = "") -> str:
    base = BASES[kind].format(namespace)
    return f"{base}/{name}" if name else base


def stranger(child: Object, namespace: str, name: str) -> Object:
    """The same object as nobody's child, so that the operator does not even see it."""
    made = copy.deepcopy(child)
    made.pop("status", None)
    meta = {k: v for k, v in made["metadata"].items() if k not in SERVER_MADE}
    labels = {**meta.get("labels", {}), "app.kubernetes.io/managed-by": "bench"}
    made["metadata"] = {**meta, "name": name, "namespace": namespace, "labels": labels}
    if made["kind"] == "Service":
        for field in ("clusterIP", "clusterIPs"):
            if made["spec"].get(field) not in ("None", ["None"]):
                made["spec"].pop(field, None)
    return made


async def children(driver: Driver, namespace: str, service: str) -> list[Object]:
    """One service's objects as they are now."""
    selector = f"?labelSelector=serving.seawall.dev%2Finferenceservice%3D{service}"
    found: list[Object] = []
    for kind, version in API_VERSIONS.items():
        listed = await driver.do("GET", path_of(kind, namespace) + selector)
        found += [{**item, "apiVersion": version, "kind": kind} for item in listed["items"]]
    return found


async def floor(
    server: Any, namespace: str, template: list[Object], services: int, *, connections: int, apply: bool
) -> float:
    """Objects a second when a plain client makes the same objects."""
    calls = []
    for index in range(services):
        for number, child in enumerate(template):
            name = f"floor-{index:04d}-{number}"
            made, path = stranger(child, namespace, name), path_of(child["kind"], namespace)
            if apply:
                calls.append(("PATCH", f"{path}/{name}?fieldManager=bench&force=true", made, APPLY))
            else:
                calls.append(("POST", path, made, "application/json"))
    async with Driver(server, connections) as driver:
        await driver.make_namespace(namespace)
        return len(calls) / await driver.all(calls)


@dataclass(frozen=True)
class Damage:
    """One thing that somebody else changes, and how it is seen to be repaired."""

    title: str
    kind: str
    suffix: str
    """after the service's name; None of the name for what a namespace shares"""
    patch: Object | None
    """None deletes the object"""
    content: str
    field: tuple[str | int, ...]


DAMAGES = (
    Damage(
        "Deployment: image",
        "Deployment",
        "-REV",
        {"spec": {"template": {"spec": {"containers": [{"name": "triton", "image": "nobody/wants:this"}]}}}},
        STRATEGIC,
        ("spec", "template", "spec", "containers", 0, "image"),
    ),
    Damage(
        "Deployment: replicas", "Deployment", "-REV", {"spec": {"replicas": 7}}, MERGE, ("spec", "replicas")
    ),
    Damage(
        "Deployment: label removed",
        "Deployment",
        "-REV",
        {"metadata": {"labels": {"app.kubernetes.io/component": None}}},
        MERGE,
        ("metadata", "labels", "app.kubernetes.io/component"),
    ),
    Damage("Deployment: deleted", "Deployment", "-REV", None, "", ("metadata", "name")),
    Damage(
        "Service: selector",
        "Service",
        "",
        {"spec": {"selector": {"serving.seawall.dev/revision": "elsewhere"}}},
        MERGE,
        ("spec", "selector", "serving.seawall.dev/revision"),
    ),
    Damage("Service: deleted", "Service", "", None, "", ("metadata", "name")),
    Damage(
        "headless Service: selector",
        "Service",
        "-headless",
        {"spec": {"selector": {"serving.seawall.dev/revision": "elsewhere"}}},
        MERGE,
        ("spec", "selector", "serving.seawall.dev/revision"),
    ),
    Damage(
        "PodDisruptionBudget: maxUnavailable",
        "PodDisruptionBudget",
        "",
        {"spec": {"maxUnavailable": 5}},
        MERGE,
        ("spec", "maxUnavailable"),
    ),
    Damage("PodDisruptionBudget: deleted", "PodDisruptionBudget", "", None, "", ("metadata", "name")),
    Damage(
        "NetworkPolicy: ingress (shared)",
        "NetworkPolicy",
        "seawall-models",
        {"spec": {"policyTypes": ["Egress"]}},
        MERGE,
        ("spec", "policyTypes"),
    ),
    Damage(
        "ServiceAccount: token (shared)",
        "ServiceAccount",
        "seawall-model",
        {"automountServiceAccountToken": True},
        MERGE,
        ("automountServiceAccountToken",),
    ),
)
"""One owned field of every kind, and the deletions."""
SHARED = ("NetworkPolicy", "ServiceAccount")


async def healed(driver: Driver, damage: Damage, namespace: str, service: str) -> float | None:
    """Seconds from the damage's acceptance until the object is as it was; None if it stays damaged."""
    name = await _damaged_name(driver, damage, namespace, service)
    path = path_of(damage.kind, namespace, name)
    before = await driver.do("GET", path)
    wanted = _at(before, damage.field)
    if damage.patch is None:
        await driver.do("DELETE", path, {"propagationPolicy": "Background"})
    else:
        broken = await driver.do("PATCH", path, damage.patch, damage.content)
        if _at(broken, damage.field) == wanted:
            raise RequestFailed(f"{damage.title}: the edit changed nothing")
    started = time.monotonic()
    while time.monotonic() - started < HEAL_SECONDS:
        status, now = await driver.call("GET", path)
        fresh = damage.patch is not None or now.get("metadata", {}).get("uid") != before["metadata"]["uid"]
        if status == 200 and fresh and _at(now, damage.field) == wanted:
            return time.monotonic() - started
        await asyncio.sleep(POLL_SECONDS)
    return None


async def _damaged_name(driver: Driver, damage: Damage, namespace: str, service: str) -> str:
    if damage.kind in SHARED:
        return damage.suffix
    if damage.kind != "Deployment":
        return service + damage.suffix
    listed = await children(driver, namespace, service)
    return str(next(o for o in listed if o["kind"] == "Deployment")["metadata"]["name"])


def _at(node: Any, field: tuple[str | int, ...]) -> Any:
    for step in field:
        try:
            node = node[step]
        except (KeyError, IndexError, TypeError):
            return None
    return node
