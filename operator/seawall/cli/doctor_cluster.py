"""What Seawall works with and does not bring: metrics APIs, KEDA, Prometheus, the Gateway API, storage."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from seawall.adapters.discovery import GATEWAY_API, KEDA, PROMETHEUS_OPERATOR
from seawall.api.v1alpha1 import InferenceServiceSpec
from seawall.cli.doctor_install import CRD_PATH
from seawall.cli.doctor_reader import Manifest, Reading
from seawall.cli.doctor_types import Finding, Findings, Situation, hidden, name_of, some
from seawall.desired.modelbuild import needs_build
from seawall.metricsapi.answers import GROUP, VERSIONS

API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
KEDA_METRICS = "v1beta1.external.metrics.k8s.io"
IN_CLUSTER = re.compile(
    r"(https?)://([a-z0-9-]+)\.([a-z0-9-]+)(?:\.svc(?:\.[a-z0-9.-]+)?)?(?::([0-9]+))?(/.*)?"
)
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
BUNDLE, CHANNEL = "gateway.networking.k8s.io/bundle-version", "gateway.networking.k8s.io/channel"


def metrics_api(at: Situation) -> Findings:
    """Who answers custom.metrics.k8s.io: mode HPA needs it to be Seawall."""
    topic, wanted = "metrics-api", at.with_mode("HPA")
    readings = [at.get(f"{API_SERVICES}/{version}.{GROUP}") for version in VERSIONS]
    if unseen := next((r for r in readings if r.state in ("Forbidden", "Failed")), None):
        yield hidden(topic, f"APIServices of {GROUP}", unseen)
        return
    found = [r.data for r in readings if r.state == "Found"]
    if not found:
        level, of = _wanted(wanted)
        advice = "set metricsApi.enabled of the chart, or use mode KEDA or Direct" if wanted else ""
        yield Finding(level, topic, f"nobody answers {GROUP}: mode HPA is not possible{of}", advice)
        return
    for live in found:
        yield _api_service(at, live, wanted)


def _wanted(services: list[str]) -> tuple[Any, str]:
    return ("fail", f", and {some(services)} ask for it") if services else ("none", "")


def _api_service(at: Situation, live: Manifest, wanted: list[str]) -> Finding:
    name, service = live["metadata"]["name"], live["spec"].get("service") or {}
    place = f"{service.get('namespace')}/{service.get('name')}"
    ours = str(service.get("name", "")).endswith("seawall-metrics-api")
    if at.operator is not None and "SEAWALL_METRICS_API_SERVICE" in at.settings:
        namespace = at.operator["metadata"]["namespace"]
        ours = place == f"{namespace}/{at.settings['SEAWALL_METRICS_API_SERVICE']}"
    if not ours:
        level, of = _wanted(wanted)
        advice = "use mode KEDA or Direct: one adapter alone can answer this API" if wanted else ""
        return Finding(level, "metrics-api", f"{name} belongs to Service {place}, not to Seawall{of}", advice)
    if trouble := _unavailable(live):
        advice = f"kubectl get apiservice {name} -o yaml; the API server must reach Service {place}"
        return Finding("fail", "metrics-api", f"{name} is Seawall's and not available: {trouble}", advice)
    return Finding("ok", "metrics-api", f"{name} is answered by Seawall")


def _unavailable(live: Manifest) -> str:
    conditions = (live.get("status") or {}).get("conditions") or ()
    told: Manifest = next((c for c in conditions if c["type"] == "Available"), {})
    if told.get("status") == "True":
        return ""
    return str(told.get("message") or told.get("reason") or "nothing is known about it yet")


def keda(at: Situation) -> Findings:
    wanted, there = at.with_mode("KEDA"), at.serves(KEDA[0], *KEDA[1])
    if isinstance(there, Reading):
        yield hidden("keda", f"the API group {KEDA[0]}", there)
    elif not there:
        level, of = _wanted(wanted)
        advice = "install KEDA, or use mode HPA or Direct" if wanted else ""
        yield Finding(level, "keda", f"is not installed: mode KEDA is not possible{of}", advice)
    else:
        yield _keda(at, wanted)


def _keda(at: Situation, wanted: list[str]) -> Finding:
    reading = at.get(f"{API_SERVICES}/{KEDA_METRICS}")
    if reading.state in ("Forbidden", "Failed"):
        return hidden("keda", f"APIService {KEDA_METRICS}", reading)
    if reading.state == "Absent":
        return Finding(
            "fail", "keda", f"APIService {KEDA_METRICS} is missing", "install KEDA's metrics server"
        )
    if trouble := _unavailable(reading.data):
        advice = "kubectl get pods -A -l app.kubernetes.io/name=keda-operator-metrics-apiserver"
        return Finding("fail", "keda", f"its metrics server is not available: {trouble}", advice)
    if at.operator is not None and not at.settings.get("SEAWALL_PROMETHEUS_URL"):
        advice = "set metrics.prometheusUrl of the chart: KEDA reads the load there" if wanted else ""
        level: Any = "fail" if wanted else "none"
        return Finding(level, "keda", "is installed, and the operator knows no Prometheus for it", advice)
    return Finding("ok", "keda", "ScaledObjects and its metrics server are there")


def prometheus(at: Situation) -> Findings:
    there = at.serves(PROMETHEUS_OPERATOR[0], *PROMETHEUS_OPERATOR[1])
    if isinstance(there, Reading):
        yield hidden("prometheus", f"the API group {PROMETHEUS_OPERATOR[0]}", there)
    elif there:
        yield Finding(
            "ok", "prometheus", "PodMonitors and PrometheusRules are served: each service gets its own"
        )
    else:
        yield Finding(
            "none", "prometheus", "no PodMonitors and PrometheusRules: services get no alerts of their own"
        )
    if at.operator is None:
        return
    url = at.settings.get("SEAWALL_PROMETHEUS_URL", "")
    if not url:
        yield Finding("none", "prometheus", "none is configured: the operator reads the pods itself")
        return
    yield _answers(at, url)


def _answers(at: Situation, url: str) -> Finding:
    """Through the API server, since this program need not be where pods are."""
    match = IN_CLUSTER.fullmatch(url)
    if match is None:
        return Finding(
            "unknown", "prometheus", f"{url} is outside the cluster: only the operator can reach it"
        )
    scheme, name, namespace, port, path = match.groups()
    target = f"{scheme}:{name}:{port or (443 if scheme == 'https' else 80)}"
    base = f"/api/v1/namespaces/{namespace}/services/{target}/proxy{(path or '').rstrip('/')}"
    reading = at.get(f"{base}/api/v1/query", query="vector(1)")
    if reading.state == "Forbidden":
        return hidden("prometheus", url, reading)
    if reading.state != "Found" or reading.data.get("status") != "success":
        why = reading.message or reading.data.get("error") or "it answers, but not as a Prometheus does"
        advice = "set metrics.prometheusUrl of the chart to one that answers"
        return Finding("fail", "prometheus", f"{url} does not answer: {why}", advice)
    return Finding("ok", "prometheus", f"{url} answers")


def gateways(at: Situation) -> Findings:
    topic, wanted = "gateway", at.asking("routing")
    there = at.serves(GATEWAY_API, "gateways", "httproutes")
    if isinstance(there, Reading):
        yield hidden(topic, f"the API group {GATEWAY_API}", there)
        return
    if not there:
        advice = (
            "install the Gateway API (standard channel) and a gateway that implements it" if wanted else ""
        )
        level, of = _wanted(wanted)
        yield Finding(
            level, topic, f"the Gateway API is not installed: no routes, no canaries by weight{of}", advice
        )
        return
    yield _release(at)
    if at.serves(GATEWAY_API, "grpcroutes") is False:
        yield Finding("warn", topic, "GRPCRoutes are not served", "install Gateway API 1.1 or newer")
    reading = at.get(f"/apis/{GATEWAY_API}/gateways")
    if reading.state != "Found":
        yield hidden(topic, "Gateways", reading)
        return
    yield from _programmed(at, reading.items)


def _release(at: Situation) -> Finding:
    reading = at.get(f"{CRD_PATH}/httproutes.gateway.networking.k8s.io")
    annotations = (reading.data.get("metadata") or {}).get("annotations") or {}
    said = f"Gateway API {annotations.get(BUNDLE, 'of unknown release')}"
    return Finding("ok", "gateway", f"{said}, channel {annotations.get(CHANNEL, 'unknown')}, is installed")


def _programmed(at: Situation, live: list[Manifest]) -> Findings:
    ready = {name_of(g) for g in live if _condition(g, "Programmed") == "True"}
    known = {name_of(g) for g in live}
    named: dict[str, list[str]] = {}
    for service in at.services.items:
        for ref in ((service.get("spec") or {}).get("routing") or {}).get("gateways") or ():
            place = f"{ref.get('namespace') or service['metadata']['namespace']}/{ref['name']}"
            named.setdefault(place, []).append(name_of(service))
    for place, services in sorted(named.items()):
        if place not in known:
            advice = "create it, or name another in spec.routing.gateways"
            yield Finding(
                "fail", "gateway", f"{some(services)} want the Gateway {place}, which is not there", advice
            )
        elif place not in ready:
            namespace, name = place.split("/")
            advice = f"kubectl describe gateway -n {namespace} {name}"
            yield Finding(
                "fail", "gateway", f"Gateway {place} is not Programmed, and {some(services)} want it", advice
            )
    if ready:
        yield Finding("ok", "gateway", f"programmed: {some(sorted(ready))}")
    elif not named:
        yield Finding("none", "gateway", "no Gateway is programmed, and no service wants one")


def _condition(manifest: Manifest, kind: str) -> str:
    conditions = (manifest.get("status") or {}).get("conditions") or ()
    return next((str(c["status"]) for c in conditions if c["type"] == kind), "Unknown")


def storage(at: Situation) -> Findings:
    reading = at.get("/apis/storage.k8s.io/v1/storageclasses")
    if reading.state != "Found":
        yield hidden("storage", "StorageClasses", reading)
    else:
        by_default = [
            name_of(c)
            for c in reading.items
            if (c["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"
        ]
        if by_default:
            yield Finding("ok", "storage", f"default StorageClass: {', '.join(by_default)}")
        else:
            yield Finding(
                "none", "storage", "no default StorageClass: a claim for pvc:// has to name its own"
            )


def artifacts(at: Situation) -> Findings:
    if at.operator is None:
        return
    store = at.settings.get("SEAWALL_ARTIFACTS_URI", "")
    if store:
        yield Finding("ok", "artifacts", f"builds publish to {store}")
        return
    building = [name_of(s) for s in at.services.items if _builds(s)]
    level, of = _wanted(building)
    advice = "set artifacts.uri of the chart" if building else ""
    yield Finding(level, "artifacts", f"no store is set: nothing can be converted or compressed{of}", advice)


def _builds(service: Manifest) -> bool:
    try:
        return needs_build(InferenceServiceSpec.model_validate(service["spec"]))
    except ValidationError:
        return False  # the operator says so in SpecAccepted


def services(at: Situation) -> Findings:
    reading = at.services
    if reading.state == "Absent":
        return
    if reading.state != "Found":
        yield hidden("services", "InferenceServices", reading)
        return
    ready = [s for s in reading.items if _condition(s, "Ready") == "True"]
    said = f"{len(ready)} of {len(reading.items)} InferenceServices are Ready"
    if len(ready) == len(reading.items):
        yield Finding(
            "ok" if ready else "none", "services", said if ready else "there is no InferenceService"
        )
        return
    yield Finding("warn", "services", said, "seawall status -A")
    for service in [s for s in reading.items if s not in ready][:5]:
        conditions = (service.get("status") or {}).get("conditions") or ()
        told = next((c for c in conditions if c["type"] == "Ready"), {"reason": "NotSeenYet"})
        why = f"{told['reason']}: {told.get('message', '')}".rstrip(": ")
        meta = service["metadata"]
        yield Finding(
            "warn",
            "services",
            f"{name_of(service)}: {why}",
            f"seawall status -n {meta['namespace']} {meta['name']}",
        )


__all__ = ["artifacts", "gateways", "keda", "metrics_api", "prometheus", "services", "storage"]
