"""Whether Seawall itself is there: API server, definitions, operator, its Lease and its rights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from seawall import __version__
from seawall.api import crd
from seawall.cli.doctor_reader import Manifest, Reading, Right
from seawall.cli.doctor_types import Finding, Findings, Situation, hidden, name_of, some

OLDEST = (1, 31)
"""As the chart's kubeVersion."""
CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
INSTALL = "helm install seawall charts/seawall -n seawall-system --create-namespace (docs/install.md)"
APPLY = "seawall crd | kubectl apply --server-side --force-conflicts -f -"
LEASE = "seawall-operator"
READ = ("get", "list", "watch")
OWN = (*READ, "create", "patch", "delete")
RIGHTS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("serving.seawall.dev", ("inferenceservices",), READ),
    ("serving.seawall.dev", ("modelbuilds",), OWN),
    ("serving.seawall.dev", ("inferenceservices/status", "modelbuilds/status"), ("patch",)),
    ("serving.seawall.dev", ("inferenceservices/finalizers", "modelbuilds/finalizers"), ("update",)),
    ("apps", ("deployments",), OWN),
    ("batch", ("jobs",), OWN),
    ("", ("services", "serviceaccounts"), OWN),
    ("policy", ("poddisruptionbudgets",), OWN),
    ("networking.k8s.io", ("networkpolicies",), OWN),
    ("autoscaling", ("horizontalpodautoscalers",), OWN),
    ("keda.sh", ("scaledobjects",), ("get", "list", "create", "patch", "delete")),
    (
        "monitoring.coreos.com",
        ("podmonitors", "prometheusrules"),
        ("get", "list", "create", "patch", "delete"),
    ),
    ("gateway.networking.k8s.io", ("httproutes", "grpcroutes"), ("get", "create", "patch", "delete")),
    ("", ("pods",), ("list", "watch")),
    ("", ("configmaps",), ("get",)),
    ("events.k8s.io", ("events",), ("create",)),
)
"""What the operator does in a namespace that it serves; a test holds it to the chart's rules."""
CLASS_RIGHTS = tuple(("serving.seawall.dev", "acceleratorclasses", verb) for verb in ("list", "watch"))
"""The same of the whole cluster."""


def api_server(at: Situation) -> Findings:
    reading = at.get("/version")
    if reading.state != "Found":
        yield hidden("api-server", "its version", reading)
        return
    parts = (re.sub(r"\D.*", "", str(reading.data.get(part, ""))) or "0" for part in ("major", "minor"))
    major, minor = (int(part) for part in parts)
    said = f"Kubernetes {reading.data.get('gitVersion', f'{major}.{minor}')} at {at.address}"
    if (major, minor) < OLDEST:
        advice = f"upgrade the cluster to {OLDEST[0]}.{OLDEST[1]} or newer"
        yield Finding("fail", "api-server", f"{said} is too old", advice)
    else:
        yield Finding("ok", "api-server", said)


def definitions(at: Situation) -> Findings:
    for wanted in crd.definitions():
        name = wanted["metadata"]["name"]
        reading = at.get(f"{CRD_PATH}/{name}")
        if reading.state == "Found":
            yield _definition(wanted, reading.data)
        elif reading.state == "Absent":
            yield Finding("fail", "definitions", f"{name} is not installed", APPLY)
        else:
            yield hidden("definitions", name, reading)


def _definition(wanted: Manifest, live: Manifest) -> Finding:
    name = wanted["metadata"]["name"]
    conditions = {c["type"]: c for c in (live.get("status") or {}).get("conditions") or ()}
    established = conditions.get("Established", {})
    if established.get("status") != "True":
        why = established.get("message") or conditions.get("NamesAccepted", {}).get("message") or "not yet"
        advice = "look for another definition with the same names"
        return Finding("fail", "definitions", f"{name} is not served: {why}", advice)
    version = wanted["spec"]["versions"][0]
    there = next((v for v in live["spec"]["versions"] if v["name"] == version["name"]), None)
    if there is None or not there.get("served"):
        return Finding("fail", "definitions", f"{name} does not serve {version['name']}", APPLY)
    mine, theirs = (v["schema"]["openAPIV3Schema"] for v in (version, there))
    if mine == theirs:
        return Finding("ok", "definitions", f"{name} is the one of Seawall {__version__}")
    known, served = set(_fields(mine)), set(_fields(theirs))
    lacks, more = sorted(known - served), sorted(served - known)
    if lacks:
        return Finding(
            "fail", "definitions", f"{name} is older than this program: without {some(lacks)}", APPLY
        )
    if more:
        advice = "use the program of the release that is installed"
        return Finding(
            "warn", "definitions", f"{name} is newer than this program: it has {some(more)}", advice
        )
    return Finding("warn", "definitions", f"{name} has the same fields and other rules or texts", APPLY)


def _fields(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, below in (schema.get("properties") or {}).items():
        yield f"{path}{name}"
        yield from _fields(below, f"{path}{name}.")
    if "items" in schema:
        yield from _fields(schema["items"], f"{path.removesuffix('.')}[].")


def operator(at: Situation) -> Findings:
    found = at.operators
    if found.state in ("Forbidden", "Failed"):
        yield hidden("operator", "Deployments", found)
    elif at.operator is None:
        where = f"namespace {at.namespace}" if at.namespace else "any namespace"
        yield Finding("fail", "operator", f"no Deployment of the operator in {where}", INSTALL)
    else:
        yield from map(_deployment, found.items)
        if len(found.items) > 1:
            several = some([name_of(d) for d in found.items])
            advice = "let each watch namespaces of its own (watchNamespaces), or remove one"
            yield Finding("warn", "operator", f"{len(found.items)} installations: {several}", advice)
    yield from _leader(at)


def _deployment(deployment: Manifest) -> Finding:
    name, status = name_of(deployment), deployment.get("status") or {}
    wanted, ready = deployment["spec"].get("replicas", 1), status.get("readyReplicas", 0)
    version = (deployment["metadata"].get("labels") or {}).get("app.kubernetes.io/version", "unknown")
    said = f"{name}: {ready} of {wanted} replicas ready, release {version}"
    where = f"-n {deployment['metadata']['namespace']} {deployment['metadata']['name']}"
    if ready < 1:
        return Finding("fail", "operator", said, f"kubectl describe deployment {where}")
    if version != __version__:
        return Finding(
            "warn", "operator", f"{said}; this program is {__version__}", "use the same release of both"
        )
    if ready < wanted:
        return Finding("warn", "operator", said, f"kubectl describe deployment {where}")
    return Finding("ok", "operator", said)


def _leader(at: Situation) -> Findings:
    place = f"/namespaces/{at.namespace}" if at.namespace else ""
    reading = at.get(f"/apis/coordination.k8s.io/v1{place}/leases", fieldSelector=f"metadata.name={LEASE}")
    if reading.state in ("Forbidden", "Failed"):
        yield hidden("leader", "Leases", reading)
        return
    if not reading.items:
        if at.operator is not None:
            yield Finding("fail", "leader", f"there is no Lease {LEASE}: no replica has ever led", _logs(at))
        return
    for lease in reading.items:
        spec = lease.get("spec") or {}
        holder, renewed = spec.get("holderIdentity"), spec.get("renewTime")
        if not holder or not renewed:
            yield Finding("fail", "leader", f"nobody holds the Lease {name_of(lease)}", _logs(at))
            continue
        age = (at.now - datetime.fromisoformat(renewed)).total_seconds()
        said = f"{holder} holds the Lease {name_of(lease)}, renewed {max(age, 0):.0f} s ago"
        late = age > spec.get("leaseDurationSeconds", 15)
        yield Finding("fail" if late else "ok", "leader", said, _logs(at) if late else "")


def _logs(at: Situation) -> str:
    namespace = at.operator["metadata"]["namespace"] if at.operator else "seawall-system"
    return f"kubectl logs -n {namespace} -l app.kubernetes.io/name=seawall --tail=50"


def rights(at: Situation) -> Findings:
    """Of the operator's ServiceAccount, by asking the API server about it."""
    if at.operator is None:
        return
    namespace = at.operator["metadata"]["namespace"]
    account = at.operator["spec"]["template"]["spec"].get("serviceAccountName", "default")
    watched = re.findall(r'"([^"]+)"', at.settings.get("SEAWALL_WATCH_NAMESPACES", ""))
    asked = [
        Right(group, resource, verb, place)
        for place in (watched or [None])
        for group, resources, verbs in RIGHTS
        for resource in resources
        for verb in verbs
    ]
    asked += [Right(*right) for right in CLASS_RIGHTS]
    answer = at.reader.allowed(f"system:serviceaccount:{namespace}:{account}", asked)
    if isinstance(answer, Reading):
        yield hidden("rights", "what the operator may do", answer)
        return
    missing = sorted(
        f"{r} in {r.namespace}" if r.namespace else str(r) for r, may in answer.items() if not may
    )
    if missing:
        advice = "install the chart's roles again (rbac.create), or grant them"
        yield Finding(
            "fail", "rights", f"ServiceAccount {namespace}/{account} may not: {some(missing, 5)}", advice
        )
    else:
        yield Finding(
            "ok", "rights", f"ServiceAccount {namespace}/{account} may do all that the operator does"
        )


__all__ = ["RIGHTS", "api_server", "definitions", "operator", "rights"]
