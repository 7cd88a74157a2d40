"""The Cluster port over kubernetes.aio: JSON in, JSON out, every error mapped here, once.

The generated models are left aside on purpose: turning a Deployment into pydantic objects and back costs more
than the API call around it, and manifests are plain data everywhere else.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio.client.api_client import ApiClient

from seawall.adapters.problems import Answer, problem
from seawall.decide.types import EventNote, Manifest, ObjectRef
from seawall.desired.names import REPLICAS_MANAGER, ROUTES_MANAGER
from seawall.ports import ApiUnavailable

CHILD_MANAGER = "seawall"
STATUS_MANAGER = "seawall-status"
CONTROLLER = "serving.seawall.dev/operator"
APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
PAGE = 500
HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",  # packing a list costs both ends more time than the network takes
    "User-Agent": "seawall",
}
NOTE_LIMIT = 1024
"""characters that events.k8s.io/v1 takes"""

PLURALS: Mapping[tuple[str, str], str] = {
    ("serving.seawall.dev/v1alpha1", "InferenceService"): "inferenceservices",
    ("serving.seawall.dev/v1alpha1", "AcceleratorClass"): "acceleratorclasses",
    ("serving.seawall.dev/v1alpha1", "ModelBuild"): "modelbuilds",
    ("apps/v1", "Deployment"): "deployments",
    ("batch/v1", "Job"): "jobs",
    ("v1", "Service"): "services",
    ("v1", "Pod"): "pods",
    ("v1", "Secret"): "secrets",
    ("v1", "ConfigMap"): "configmaps",
    ("v1", "ServiceAccount"): "serviceaccounts",
    ("policy/v1", "PodDisruptionBudget"): "poddisruptionbudgets",
    ("networking.k8s.io/v1", "NetworkPolicy"): "networkpolicies",
    ("coordination.k8s.io/v1", "Lease"): "leases",
    ("events.k8s.io/v1", "Event"): "events",
    ("autoscaling/v2", "HorizontalPodAutoscaler"): "horizontalpodautoscalers",
    ("keda.sh/v1alpha1", "ScaledObject"): "scaledobjects",
    ("monitoring.coreos.com/v1", "PodMonitor"): "podmonitors",
    ("monitoring.coreos.com/v1", "PrometheusRule"): "prometheusrules",
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): "httproutes",
    ("gateway.networking.k8s.io/v1", "GRPCRoute"): "grpcroutes",
    ("apiregistration.k8s.io/v1", "APIService"): "apiservices",
    ("authentication.k8s.io/v1", "TokenReview"): "tokenreviews",
    ("authorization.k8s.io/v1", "SubjectAccessReview"): "subjectaccessreviews",
}

Counted = Callable[[str, str, str], None]


class TokenBucket:
    """At most `rate` a second over time, `burst` at once; waits rather than refuses."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, float(burst), clock
        self._tokens, self._at = float(burst), clock()

    async def take(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - 1
        self._at = now
        if self._tokens < 0:
            await asyncio.sleep(-self._tokens / self._rate)


class KubeCluster:
    """Implements seawall.ports.Cluster."""

    def __init__(
        self,
        client: ApiClient,
        *,
        counted: Counted = lambda verb, resource, code: None,
        answered: Callable[[], None] = lambda: None,
        writes_per_second: float = 400.0,
        write_burst: int = 800,
        read_timeout: float = 30.0,
        write_timeout: float = 5.0,
        instance: str = "seawall",
    ) -> None:
        self._client = client
        self._counted = counted
        self._answered = answered
        self._bucket = TokenBucket(writes_per_second, write_burst)
        self._read_timeout = aiohttp.ClientTimeout(total=read_timeout)
        self._write_timeout = aiohttp.ClientTimeout(total=write_timeout)
        self._instance = instance

    async def close(self) -> None:
        await self._client.close()

    async def get(self, ref: ObjectRef) -> Manifest | None:
        answer = await self.call("GET", "get", ref.api_version, ref.kind, ref.namespace, ref.name)
        if answer.status == 404:
            return None
        return _object(answer, f"get {ref}")

    async def list(
        self, api_version: str, kind: str, namespace: str | None = None, label_selector: str = ""
    ) -> tuple[Sequence[Manifest], str]:
        items: list[Manifest] = []
        query = {"limit": str(PAGE)} | ({"labelSelector": label_selector} if label_selector else {})
        while True:
            answer = await self.call("GET", "list", api_version, kind, namespace or "", query=query)
            page = _object(answer, f"list {kind}")
            for item in page.get("items") or ():
                for entry in item["metadata"].get("managedFields") or ():
                    if entry.get("manager") != CHILD_MANAGER:
                        entry.pop("fieldsV1", None)  # a long list's largest part, read by nobody
                items.append({"apiVersion": api_version, "kind": kind} | item)
            meta = page.get("metadata") or {}
            if not meta.get("continue"):
                return items, str(meta.get("resourceVersion", ""))
            query["continue"] = meta["continue"]

    async def apply(self, manifest: Mapping[str, Any], *, force: bool) -> Manifest:
        ref = ObjectRef.of(manifest)
        answer = await self._apply(ref, manifest, CHILD_MANAGER, force=force)
        return _object(answer, f"apply {ref}")

    async def apply_status(self, ref: ObjectRef, status: Mapping[str, Any]) -> Manifest | None:
        meta: dict[str, Any] = {"name": ref.name, "namespace": ref.namespace}
        if ref.uid:
            meta["uid"] = ref.uid  # a service of the same name made since is another one
        body = {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": meta, "status": status}
        answer = await self._apply(ref, body, STATUS_MANAGER, force=True, subresource="/status")
        if answer.status == 404 or answer.is_uid_mismatch:
            return None
        return _object(answer, f"apply the status of {ref}")

    async def scale(self, ref: ObjectRef, replicas: int, *, force: bool) -> Manifest | None:
        body = {
            "apiVersion": ref.api_version,
            "kind": ref.kind,
            # An apply with a uid never creates what has been deleted meanwhile.
            "metadata": {"name": ref.name, "namespace": ref.namespace, "uid": ref.uid},
            "spec": {"replicas": replicas},
        }
        answer = await self._apply(ref, body, REPLICAS_MANAGER, force=force)
        if answer.status == 404 or answer.is_uid_mismatch:
            return None
        return _object(answer, f"scale {ref}")

    async def patch(self, ref: ObjectRef, operations: Sequence[Mapping[str, Any]]) -> Manifest | None:
        await self._bucket.take()
        answer = await self.call(
            "PATCH",
            "patch",
            ref.api_version,
            ref.kind,
            ref.namespace,
            ref.name,
            query={"fieldManager": ROUTES_MANAGER},
            body=[dict(step) for step in operations],  # the client takes a list and no tuple
            content_type=JSON_PATCH,
        )
        if answer.status == 404:
            return None
        if answer.status == 422 and not answer.causes:
            # The operations themselves did not fit; an object that is not valid has its causes listed.
            raise ApiUnavailable(f"patch {ref}: it has just changed")
        return _object(answer, f"patch {ref}")

    async def delete(self, ref: ObjectRef) -> None:
        body: dict[str, Any] = {"propagationPolicy": "Background"}
        if ref.uid:
            body["preconditions"] = {"uid": ref.uid}
        await self._bucket.take()
        answer = await self.call(
            "DELETE", "delete", ref.api_version, ref.kind, ref.namespace, ref.name, body=body
        )
        if answer.status not in (404, 409):
            _object(answer, f"delete {ref}")

    async def record(self, regarding: Mapping[str, Any], note: EventNote) -> None:
        meta = regarding["metadata"]
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"generateName": f"{meta['name']}-", "namespace": meta["namespace"]},
            "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance[:128],
            "action": "Reconcile",
            "reason": note.reason,
            "type": note.type,
            "note": note.message[:NOTE_LIMIT],
            "regarding": {
                "apiVersion": regarding["apiVersion"],
                "kind": regarding["kind"],
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
                "resourceVersion": meta.get("resourceVersion", ""),
            },
        }
        await self._bucket.take()
        answer = await self.call("POST", "create", "events.k8s.io/v1", "Event", meta["namespace"], body=body)
        _object(answer, f"record {note.reason}")

    async def _apply(
        self, ref: ObjectRef, body: Mapping[str, Any], manager: str, *, force: bool, subresource: str = ""
    ) -> Answer:
        await self._bucket.take()
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        return await self.call(
            "PATCH",
            "apply",
            ref.api_version,
            ref.kind,
            ref.namespace,
            ref.name + subresource,
            query=query,
            body=body,
            content_type=APPLY,
        )

    async def call(
        self,
        method: str,
        verb: str,
        api_version: str,
        kind: str,
        namespace: str,
        name: str = "",
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        content_type: str = "application/json",
    ) -> Answer:
        """One request, whatever the answer; raises ApiUnavailable when there is none."""
        plural = PLURALS[(api_version, kind)]
        path = _path(api_version, plural, namespace, name, query)
        resource = f"{plural}/status" if name.endswith("/status") else plural
        headers = HEADERS | {"Content-Type": content_type}
        await self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
        timeout = self._read_timeout if method == "GET" else self._write_timeout
        try:
            response = await self._client.rest_client.request(
                method, self._client.configuration.host + path, headers, body, _request_timeout=timeout
            )
            raw = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._counted(verb, resource, "none")
            raise ApiUnavailable(f"{verb} {resource}: {type(error).__name__} {error}") from error
        self._counted(verb, resource, str(response.status))
        self._answered()
        try:
            data = json.loads(raw) if raw else {}
        except (ValueError, RecursionError):
            data = {"message": raw[:200].decode(errors="replace")}
        return Answer(response.status, data, response.headers.get("Retry-After"))


def _object(answer: Answer, what: str) -> Manifest:
    if answer.ok:
        return answer.data
    raise problem(answer, what)


def _path(api_version: str, plural: str, namespace: str, name: str, query: Mapping[str, str] | None) -> str:
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    scope = f"/namespaces/{quote(namespace)}" if namespace else ""
    tail = f"/{quote(name)}" if name else ""
    return f"{root}{scope}/{plural}{tail}" + (f"?{urlencode(query)}" if query else "")
