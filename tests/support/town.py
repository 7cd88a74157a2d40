"""The least of a cluster for the pure plan: takes a plan's writes, makes pods ready, moves the clock."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from seawall.decide.plan import plan
from seawall.decide.types import Observed, Plan, Verdict, Verification
from seawall.desired.inputs import Platform

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
PLATFORM = Platform(fetcher_image="seawall:1", template_version=1)
CPU = {
    "apiVersion": "serving.seawall.dev/v1alpha1",
    "kind": "AcceleratorClass",
    "metadata": {"name": "cpu"},
    "spec": {"type": "cpu", "runtime": {"image": "triton:1", "tritonVersion": "24.10"}},
}


def service(**spec: Any) -> dict[str, Any]:
    base = {
        "model": {"uri": "s3://models/digits.onnx", "format": "onnx", "maxBatchSize": 8},
        "accelerator": {"class": "cpu"},
        "slo": {"p99": "20ms"},
        "scaling": {"mode": "Fixed", "replicas": 2},
    }
    return {
        "apiVersion": "serving.seawall.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": "digits", "namespace": "demo", "uid": "u1", "generation": 1, "annotations": {}},
        "spec": {**base, **spec},
    }


@dataclass
class Town:
    """The least of a cluster: takes a plan's writes, makes pods ready on demand, moves the clock."""

    service: dict[str, Any] = field(default_factory=service)
    accelerator: dict[str, Any] | None = field(default_factory=lambda: copy.deepcopy(CPU))
    platform: Platform = PLATFORM
    now: datetime = START
    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    over: dict[str, Any] = field(default_factory=dict)
    writes: int = 0

    def observed(self, **over: Any) -> Observed:
        def of(kind: str) -> list[dict[str, Any]]:
            return [o for (k, _), o in sorted(self.objects.items()) if k == kind]

        return Observed(
            service=self.service,
            platform=self.platform,
            now=self.now,
            accelerator=self.accelerator,
            deployments=of("Deployment"),
            services=of("Service"),
            disruption_budgets=of("PodDisruptionBudget"),
            pods=of("Pod"),
            autoscalers=[*of("HorizontalPodAutoscaler"), *of("ScaledObject")],
            monitors=[*of("PodMonitor"), *of("PrometheusRule")],
            builds={o["metadata"]["name"]: o for o in of("ModelBuild")},
            **{**self.over, **over},
        )

    def step(self, **over: Any) -> Plan:
        made = plan(self.observed(**over))
        if made.verify is not None and "verification" not in over:
            return made
        for manifest in made.apply:
            self._apply(manifest)
        for scale in made.scale:
            self.scale(scale.ref.name, scale.replicas)
        for ref in made.delete:
            assert made.needs_live_read
            del self.objects[ref.kind, ref.name]
        if made.status is not None and made.status != self.service.get("status"):
            self.service["status"] = made.status
            self.writes += 1
        return made

    def _apply(self, manifest: dict[str, Any]) -> None:
        key = (manifest["kind"], manifest["metadata"]["name"])
        old = self.objects.get(key)
        if manifest["kind"] == "Deployment":  # the count has another owner; 1 is the API server's default
            assert "replicas" not in manifest["spec"]
            count = old["spec"]["replicas"] if old else 1
            manifest = {**manifest, "spec": {**manifest["spec"], "replicas": count}}
        if old and all(old.get(k) == v for k, v in manifest.items() if k != "metadata"):
            return
        self.writes += 1
        meta = {**manifest["metadata"], "generation": (old["metadata"]["generation"] + 1) if old else 1}
        self.objects[key] = {
            **copy.deepcopy(manifest),
            "metadata": meta,
            "status": (old or {}).get("status", {}),
        }

    def scale(self, name: str, replicas: int) -> None:
        """As the operator's second field manager does it, or an autoscaler."""
        deployment = self.objects.get(("Deployment", name))
        if deployment is not None and deployment["spec"]["replicas"] != replicas:
            self.writes += 1
            self.objects["Deployment", name] = copy.deepcopy(deployment)
            self.objects["Deployment", name]["spec"]["replicas"] = replicas
            self.objects["Deployment", name]["metadata"]["generation"] += 1

    def count(self, revision: str) -> int:
        return int(self.objects["Deployment", f"digits-{revision}"]["spec"]["replicas"])

    def deployments(self) -> set[str]:
        return {name for kind, name in self.objects if kind == "Deployment"}

    def make_ready(self, revision: str) -> None:
        deployment = self.objects["Deployment", f"digits-{revision}"]
        count = deployment["spec"]["replicas"]
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": count, "updatedReplicas": count, "availableReplicas": count, "readyReplicas": count,
        }  # fmt: skip
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        for number in range(count):
            name = f"digits-{revision}-{number}"
            self.objects["Pod", name] = {
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
                "status": {"podIP": f"10.1.0.{number}", "conditions": [{"type": "Ready", "status": "True"}]},
            }  # fmt: skip

    def answer(self, verdict: Verdict = Verdict.PASSED) -> Plan:
        asked = plan(self.observed())
        assert asked.verify is not None
        return self.step(verification=Verification(asked.verify.revision, verdict, "output y holds NaN"))

    def installed(self) -> str:
        self.step()
        revision = self.service["status"]["rollout"]["candidateRevision"]
        self.make_ready(revision)
        self.answer()
        assert self.condition("RouteReady")[0] == "True"
        return str(revision)

    def condition(self, name: str) -> tuple[str, str]:
        [found] = [c for c in self.service["status"]["conditions"] if c["type"] == name]
        return found["status"], found["reason"]

    def message(self, name: str) -> str:
        [found] = [c for c in self.service["status"]["conditions"] if c["type"] == name]
        return str(found["message"])

    def selected(self) -> str:
        return str(self.objects["Service", "digits"]["spec"]["selector"]["serving.seawall.dev/revision"])

    def edit(self, **spec: Any) -> None:
        self.service = copy.deepcopy(self.service)
        self.service["spec"].update(spec)
        self.service["metadata"]["generation"] += 1
