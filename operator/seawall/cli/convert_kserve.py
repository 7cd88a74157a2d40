"""A KServe InferenceService (serving.kserve.io/v1beta1) as one of Seawall's, and what that cannot say.

KServe has no objective to take over, so the p99 comes from the person who converts. Every field of the source
is either carried over or named: what nobody takes out of a Part is in the report.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from seawall.api.v1alpha1 import API_VERSION
from seawall.cli.convert_part import CannotConvert, Part, Report
from seawall.cli.convert_pod import (
    CONTAINER_REASONS,
    GKE,
    GKE_ANNOTATION,
    accelerator,
    identity,
    pod_template,
)
from seawall.cli.convert_source import Source, Wanted, source
from seawall.desired.strategic import merge

KSERVE, KIND = "serving.kserve.io/v1beta1", "InferenceService"
MADE_BY_THE_SERVER = (
    "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "managedFields",
    "resourceVersion", "selfLink", "uid",
)  # fmt: skip
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
FOREIGN = ("kserve.io/", "knative.dev/")
VISIBILITY = ("networking.knative.dev/visibility", "networking.kserve.io/visibility")
SCALES = "Seawall scales on spec.slo; spec.scaling.mode and behavior say how"
PREDICTOR_REASONS = {
    "scaleTarget": SCALES,
    "scaleMetric": SCALES,
    "scaleMetricType": SCALES,
    "autoScaling": SCALES,
    "containerConcurrency": "Triton queues; parallelism.instances says how many run at once in a device",
    "timeout": "time limits of requests belong to clients and gateways",
    "timeoutSeconds": "time limits of requests belong to clients and gateways",
    "logger": "Seawall does not copy requests anywhere; a mirror of the gateway or Triton's trace can",
    "deploymentStrategy": "a new revision comes up beside the old one; spec.rollout says how traffic moves",
    "workerSpec": "models over several nodes are not served",
    "canaryTrafficPercent": "every update is a rollout of its own; spec.rollout.steps says the weights",
    "canary": "every update is a rollout of its own; apply the second version as an update of this one",
}
SPEC_REASONS = {
    "transformer": "pre- and post-processing is not deployed; put it into the model or a Triton ensemble",
    "explainer": "explanations are not served",
    "canary": PREDICTOR_REASONS["canary"],
}
CONTAINER_TEXTS = CONTAINER_REASONS | {
    "protocolVersion": "Triton answers /v2 and gRPC alone: clients of protocol v1 (:predict) have to change",
}


@dataclass(frozen=True, slots=True)
class Converted:
    manifest: dict[str, Any]
    report: Report


def convert(
    document: Mapping[str, Any],
    wanted: Wanted,
    tritons: Collection[str],
    classes: Sequence[Mapping[str, Any]],
) -> Converted:
    """`tritons`: names of further runtimes that are Triton. Raises CannotConvert."""
    report = Report()
    top = Part("", document)
    top.drop("apiVersion", "kind", "metadata")
    url = Part("status", top.take("status")).take("url")
    metadata, settings = _metadata(Part("metadata", document.get("metadata")), report)
    spec = top.part("spec")
    predictor = spec.part("predictor")
    selector = predictor.texts("nodeSelector")
    if kind := settings.pop(GKE_ANNOTATION, None):
        selector.setdefault(GKE, kind)
    found = source(predictor, tritons, wanted, report)
    placed, known = accelerator(found.container, selector, wanted.accelerator, classes)
    batching = _batching(predictor.part("batcher"), found, report)
    scaling = _scaling(predictor, settings, report)
    account = identity(predictor, found.spec["uri"], wanted.credentials_secret, report)
    pod = pod_template(predictor, found.container, selector, known, report)
    made = {
        "model": found.spec,
        "accelerator": placed,
        "slo": {"p99": wanted.slo},
        "batching": batching,
        "scaling": scaling,
        "routing": _routing(wanted, settings, url, report),
        "podTemplate": merge(pod, account) if account else pod,
    }
    _name_the_rest(
        ((found.container, CONTAINER_TEXTS), (predictor, PREDICTOR_REASONS), (spec, SPEC_REASONS)), report
    )
    for key, value in settings.items():
        report.leave(f"metadata.annotations[{key}]", f"nothing here reads it (it says {value})")
    for _, path in top.remaining():
        report.leave(path, "Seawall has nothing that it would mean")
    kept = {name: value for name, value in made.items() if value}
    return Converted({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": kept}, report)


def _metadata(part: Part, report: Report) -> tuple[dict[str, Any], dict[str, str]]:
    """The new object's metadata; and those of the annotations by which KServe and Knative are told things."""
    part.drop(*MADE_BY_THE_SERVER)
    made = {key: part.take(key) for key in ("name", "namespace") if key in part}
    annotations, labels = part.texts("annotations"), part.texts("labels")
    annotations.pop(LAST_APPLIED, None)
    theirs = {k: v for k, v in (labels | annotations).items() if _foreign(k)}
    for name, texts in (("labels", labels), ("annotations", annotations)):
        if ours := {k: v for k, v in texts.items() if not _foreign(k)}:
            made[name] = ours
            report.note(
                f"metadata.{name}", "stay with the service; KServe copies them to pods, podTemplate can too"
            )
    for _, path in part.remaining():
        report.leave(path, "belongs to the object in its old cluster")
    return made, theirs


def _foreign(key: str) -> bool:
    return any(word in key for word in FOREIGN)


def _scaling(predictor: Part, settings: dict[str, str], report: Report) -> dict[str, Any]:
    least, most = predictor.number("minReplicas"), predictor.number("maxReplicas")
    kind = settings.pop("serving.kserve.io/autoscalerClass", "")
    if settings.pop("serving.kserve.io/deploymentMode", "") in ("Serverless", "Knative"):
        report.note(
            "metadata.annotations[serving.kserve.io/deploymentMode]", "Deployments without Knative serve"
        )
    if settings.pop("serving.kserve.io/stop", "") == "true":
        report.note(
            "metadata.annotations[serving.kserve.io/stop]", "no replicas until mode Fixed is taken away"
        )
        return {"mode": "Fixed", "replicas": 0}
    if least == 0:
        report.leave(predictor.at("minReplicas"), "0: scaling to zero is not supported, so one replica stays")
        least = 1
    most = most or None
    if kind in ("external", "none"):
        return {"mode": "External", "replicas": least or 1}
    if least is not None and least == most:
        return {"mode": "Fixed", "replicas": least}
    if most is None:
        report.note(
            predictor.at("maxReplicas"), "is absent: 20 unless spec.scaling.maxReplicas says another number"
        )
    return {k: v for k, v in (("minReplicas", least), ("maxReplicas", most)) if v is not None}


def _batching(batcher: Part, found: Source, report: Report) -> dict[str, Any]:
    """KServe's batcher is a proxy that joins requests; Triton does that itself."""
    if not batcher:
        return {}
    largest, latency = batcher.number("maxBatchSize"), batcher.number("maxLatency")
    for _, path in batcher.remaining():
        report.leave(path, "time limits of requests belong to clients and gateways")
    if found.spec["format"] == "repository":
        report.leave(
            batcher.path, "the repository's config.pbtxt says how Triton batches; spec.batching overrides it"
        )
        return {}
    report.note(
        batcher.path, "Triton forms the batches: the first dimension of the model's tensors must vary"
    )
    if largest:
        found.spec["maxBatchSize"] = largest
    return {"maxQueueDelay": f"{min(latency, 10_000)}ms"} if latency else {}


def _routing(wanted: Wanted, settings: dict[str, str], url: Any, report: Report) -> dict[str, Any]:
    seen = [settings.pop(name) for name in VISIBILITY if name in settings]
    if wanted.gateway is None:
        if "cluster-local" not in seen:
            report.note(
                "status.url", "clients outside the cluster need --gateway: without it there is no route"
            )
        return {}
    namespace, _, name = wanted.gateway.rpartition("/")
    gateway = {"name": name, "namespace": namespace} if namespace else {"name": name}
    host = wanted.hostname or (urlsplit(str(url)).hostname if url else None)
    return {"gateways": [gateway], **({"hostnames": [host]} if host else {})}


def _name_the_rest(parts: Sequence[tuple[Part, Mapping[str, str]]], report: Report) -> None:
    for part, reasons in parts:
        for key, path in part.remaining():
            value = part.rest()[key]
            if (key, value) in (
                ("canaryTrafficPercent", 100),
                ("protocolVersion", "v2"),
                ("protocolVersion", "grpc-v2"),
            ):
                continue
            report.leave(path, reasons.get(key, "Seawall has nothing that it would mean"))


__all__ = ["KIND", "KSERVE", "CannotConvert", "Converted", "convert"]
