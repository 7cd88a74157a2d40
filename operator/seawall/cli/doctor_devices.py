"""Whether the nodes have what the AcceleratorClasses promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seawall.cli.doctor_reader import Manifest
from seawall.cli.doctor_types import Finding, Findings, Situation, hidden, name_of, some

DEVICES = ("nvidia.com/", "google.com/tpu", "amd.com/gpu")
PRODUCT_LABELS = (
    "nvidia.com/gpu.product", "cloud.google.com/gke-accelerator", "cloud.google.com/gke-tpu-accelerator",
    "node.kubernetes.io/instance-type",
)  # fmt: skip
FEATURES = "install NVIDIA's GPU operator, or the device plugin and GPU feature discovery"


@dataclass(frozen=True, slots=True)
class Fit:
    """The nodes of one class, by what keeps pods off them."""

    labelled: tuple[str, ...]
    devices: int
    """Allocatable on the nodes that pods of the class may go to; of class type cpu, those nodes."""
    bare: tuple[str, ...]
    """Labelled, without the resource."""
    tainted: tuple[tuple[str, str], ...]
    """(node, taint) that no toleration of the class covers."""
    cordoned: tuple[str, ...]


def fit(spec: Mapping[str, Any], nodes: Sequence[Manifest]) -> Fit:
    resource = spec.get("resourceName")
    labelled = [node for node in nodes if _labelled(node, spec)]
    bare = [name_of(n) for n in labelled if resource and not _count(n, resource)]
    usable = [n for n in labelled if name_of(n) not in bare]
    cordoned = [name_of(n) for n in usable if (n.get("spec") or {}).get("unschedulable")]
    tainted = [(name_of(n), t) for n in usable if name_of(n) not in cordoned for t in _refused(n, spec)]
    kept_off = {*cordoned, *(node for node, _ in tainted)}
    free = [n for n in usable if name_of(n) not in kept_off]
    devices = sum(_count(n, resource) for n in free) if resource else len(free)
    return Fit(tuple(map(name_of, labelled)), devices, tuple(bare), tuple(tainted), tuple(cordoned))


def _labelled(node: Manifest, spec: Mapping[str, Any]) -> bool:
    labels = node["metadata"].get("labels") or {}
    wanted: Mapping[str, str] = spec.get("nodeSelector") or {}
    return wanted.items() <= labels.items()


def _count(node: Manifest, resource: str) -> int:
    amount = str(((node.get("status") or {}).get("allocatable") or {}).get(resource, "0"))
    return int(amount) if amount.isdecimal() else 0


def _refused(node: Manifest, spec: Mapping[str, Any]) -> list[str]:
    """Taints that keep pods of the class off; the one of a cordoned node is told apart."""
    taints = (node.get("spec") or {}).get("taints") or ()
    hard = [t for t in taints if t["effect"] in ("NoSchedule", "NoExecute")]
    kept = [t for t in hard if t["key"] != "node.kubernetes.io/unschedulable"]
    borne = spec.get("tolerations") or ()
    return [f"{t['key']}:{t['effect']}" for t in kept if not any(_bears(b, t) for b in borne)]


def _bears(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    pairs = [(t.get("key"), t.get("value") or "") for t in (toleration, taint)]
    return pairs[0] == pairs[1]


def accelerators(at: Situation) -> Findings:
    classes, nodes = at.classes, at.get("/api/v1/nodes")
    if classes.state == "Absent":
        return
    for reading, what in ((classes, "AcceleratorClasses"), (nodes, "nodes")):
        if reading.state != "Found":
            yield hidden("accelerators", what, reading)
            return
    used = _used(at)
    yield from _missing_classes(used, {name_of(c) for c in classes.items})
    without = []
    for entry in sorted(classes.items, key=name_of):
        name = name_of(entry)
        found = fit(entry["spec"], nodes.items)
        if not found.labelled and name not in used:
            without.append(name)
            continue
        yield _class(entry, found, used.get(name, []))
    if without:
        yield Finding("none", "accelerators", f"no node now, and no service: {some(without, 6)}")
    yield from _unclaimed(classes.items, nodes.items)


def _used(at: Situation) -> dict[str, list[str]]:
    used: dict[str, list[str]] = {}
    for service in at.services.items:
        used.setdefault(service["spec"]["accelerator"]["class"], []).append(name_of(service))
    return used


def _missing_classes(used: Mapping[str, list[str]], known: set[str]) -> Findings:
    for name in sorted(used.keys() - known):
        advice = "create it, or name another in spec.accelerator.class"
        yield Finding(
            "fail",
            "accelerators",
            f"{some(used[name])} want the AcceleratorClass {name}: there is none",
            advice,
        )


def _class(entry: Manifest, found: Fit, services: list[str]) -> Finding:
    name, spec = name_of(entry), entry["spec"]
    trouble, advice = _trouble(spec, found)
    if "runtime" not in spec:
        trouble, advice = (
            "it names no runtime, so nothing can start",
            f"kubectl edit swa {name}: spec.runtime",
        )
    if trouble:
        of = f"; {some(services)} want it" if services else ""
        return Finding("fail" if services else "warn", "accelerators", f"{name}: {trouble}{of}", advice)
    what = spec.get("resourceName")
    there = f"{found.devices} {what}" if what else "CPU"
    return Finding("ok", "accelerators", f"{name}: {there} on {len(found.labelled)} nodes")


def _trouble(spec: Mapping[str, Any], found: Fit) -> tuple[str, str]:
    if not found.labelled:
        selector = ",".join(f"{k}={v}" for k, v in (spec.get("nodeSelector") or {}).items()) or "any label"
        advice = (
            f"kubectl get nodes -l {selector}; a node pool that grows from nothing shows none before it does"
        )
        return f"no node has {selector}", advice
    if found.devices:
        return "", ""
    if found.bare:
        resource = str(spec.get("resourceName"))
        return f"{some(list(found.bare))} have the labels and no allocatable {resource}", FEATURES
    if found.tainted:
        taints = sorted({taint for _, taint in found.tainted})
        return f"its tolerations do not cover {some(taints)}", "add them to spec.tolerations of the class"
    return f"all of its nodes are cordoned: {some(list(found.cordoned))}", "kubectl uncordon"


def _unclaimed(classes: Sequence[Manifest], nodes: Sequence[Manifest]) -> Findings:
    """Devices that no class leads to: often a label that the catalogue spells otherwise."""
    for node in sorted(nodes, key=name_of):
        allocatable = (node.get("status") or {}).get("allocatable") or {}
        devices = [r for r in sorted(allocatable) if r.startswith(DEVICES) and _count(node, r)]
        for resource in devices:
            if any(c["spec"].get("resourceName") == resource and _labelled(node, c["spec"]) for c in classes):
                continue
            labels = node["metadata"].get("labels") or {}
            known = [f"{label}={labels[label]}" for label in PRODUCT_LABELS if label in labels]
            told = f" ({', '.join(known)})" if known else ""
            said = f"node {name_of(node)} has {_count(node, resource)} {resource}{told} that no class selects"
            advice = "edit the nodeSelector of the class, or create one"
            yield Finding("warn", "accelerators", said, advice)


__all__ = ["Fit", "accelerators", "fit"]
