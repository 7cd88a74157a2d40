"""What is answered to whom has been let in: a pure function from a path to a document.

The API server has authorised the caller before it asks here, by the path as it read it. A path is therefore
taken apart without unescaping anything that could mean another path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from seawall.decide.types import Manifest
from seawall.desired import names
from seawall.desired.canonical import canonical_quantity
from seawall.desired.hpa import METRIC
from seawall.metricsapi.selector import BadSelector, selects

GROUP = "custom.metrics.k8s.io"
VERSIONS = ("v1beta2", "v1beta1")
"""the preferred one first"""
RESOURCE = f"inferenceservices.{names.GROUP}"
DESCRIBED = {"apiVersion": names.API_VERSION, "kind": names.KIND}

_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?")
_LOAD = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_REASONS = {400: "BadRequest", 401: "Unauthorized", 404: "NotFound", 405: "MethodNotAllowed"}
_REASONS |= {406: "NotAcceptable"}

Lookup = Callable[[str, str], Manifest | None]
"""namespace and name -> the InferenceService as this replica's watch has it"""
Listing = Callable[[str], Iterable[Manifest]]


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    method: str
    path: str
    """as it was sent, escapes and all"""
    query: Mapping[str, str]
    accept: str = ""


@dataclass(frozen=True, slots=True)
class Services:
    lookup: Lookup
    listing: Listing | None = None
    """all of a namespace; without it the name `*` is refused"""


def refusal(status: int, message: str) -> Reply:
    document = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": _REASONS[status],
        "code": status,
    }
    return Reply(status, document)


def answer(question: Question, services: Services, now: datetime) -> Reply:
    if question.method != "GET":
        return refusal(405, f"{question.method} is not served: this API is read only")
    match question.path.split("/")[1:]:
        case ["apis"]:
            # The aggregator asks for a newer document first and takes the older ones after this refusal.
            if "as=APIGroupDiscoveryList" in question.accept:
                return refusal(406, "only the unaggregated discovery documents are served")
            groups = {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group()]}
            return Reply(200, groups)
        case ["apis", group] if group == GROUP:
            return Reply(200, {"kind": "APIGroup", "apiVersion": "v1", **_group()})
        case ["apis", group, version] if group == GROUP and version in VERSIONS:
            return Reply(200, _resources(version))
        case ["apis", group, version, "namespaces", namespace, resource, name, metric] if (
            group == GROUP and version in VERSIONS and (resource, metric) == (RESOURCE, METRIC)
        ):
            return _values(version, namespace, unquote(name), question.query, services, now)
    return refusal(404, "the server could not find the requested resource")


def _values(
    version: str, namespace: str, name: str, query: Mapping[str, str], services: Services, now: datetime
) -> Reply:
    if not _NAME.fullmatch(namespace) or not (name == "*" or _NAME.fullmatch(name)):
        return refusal(404, f"there is no such {RESOURCE}")
    try:
        if name == "*":
            return _of_many(version, namespace, query, services.listing, now)
        return _of_one(version, namespace, name, query, services.lookup, now)
    except BadSelector as problem:
        return refusal(400, str(problem))


def _of_one(
    version: str, namespace: str, name: str, query: Mapping[str, str], lookup: Lookup, now: datetime
) -> Reply:
    service = lookup(namespace, name)
    if service is None:
        return refusal(404, f'{RESOURCE} "{name}" not found')
    load, revision, why = _load(service)
    if load is None:
        return refusal(404, f"there is no {METRIC} of {RESOURCE} {name}: {why}")
    wanted = query.get("metricLabelSelector", "")
    if not selects(wanted, {"revision": revision}):
        return refusal(404, f"the {METRIC} of {RESOURCE} {name} is of revision {revision}, not of {wanted}")
    return Reply(200, _list(version, [_item(version, namespace, name, revision, load, now)]))


def _of_many(
    version: str, namespace: str, query: Mapping[str, str], listing: Listing | None, now: datetime
) -> Reply:
    if listing is None:
        return refusal(400, f"{METRIC} is served for one service at a time: name it")
    items = []
    for service in listing(namespace):
        meta = service["metadata"]
        load, revision, _ = _load(service)
        chosen = selects(query.get("labelSelector", ""), meta.get("labels") or {})
        if selects(query.get("metricLabelSelector", ""), {"revision": revision}) and chosen and load:
            items.append(_item(version, namespace, meta["name"], revision, load, now))
    return Reply(200, _list(version, sorted(items, key=lambda item: str(item["describedObject"]["name"]))))


def _load(service: Manifest) -> tuple[str | None, str, str]:
    """The load as a quantity, what revision it is of, and why there is none."""
    scaling = (service.get("status") or {}).get("scaling") or {}
    load, revision = str(scaling.get("load") or ""), str(scaling.get("revision") or "")
    if _LOAD.fullmatch(load) and revision:
        return canonical_quantity(load), revision, ""
    return None, revision, str(scaling.get("message") or scaling.get("reason") or "nothing is measured yet")


def _item(version: str, namespace: str, name: str, revision: str, load: str, now: datetime) -> dict[str, Any]:
    selector = {"matchLabels": {"revision": revision}}
    named: dict[str, Any] = {"metric": {"name": METRIC, "selector": selector}}
    if version == "v1beta1":
        named = {"metricName": METRIC, "selector": selector}
    described = {**DESCRIBED, "namespace": namespace, "name": name}
    return {
        "describedObject": described,
        **named,
        "timestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "value": load,
    }


def _list(version: str, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "kind": "MetricValueList",
        "apiVersion": f"{GROUP}/{version}",
        "metadata": {},
        "items": list(items),
    }


def _group() -> dict[str, Any]:
    versions = [{"groupVersion": f"{GROUP}/{version}", "version": version} for version in VERSIONS]
    return {"name": GROUP, "versions": versions, "preferredVersion": versions[0]}


def _resources(version: str) -> dict[str, Any]:
    resource = {
        "name": f"{RESOURCE}/{METRIC}",
        "singularName": "",
        "namespaced": True,
        "kind": "MetricValueList",
        "verbs": ["get"],
    }
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{GROUP}/{version}",
        "resources": [resource],
    }
