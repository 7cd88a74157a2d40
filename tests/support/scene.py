"""The reconciler over a cluster, model servers and builds in memory, through the real plans."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from seawall.canary.shadow import Tally
from seawall.decide.rollout_state import Answers
from seawall.decide.types import (
    Assessment,
    Budget,
    Capabilities,
    ComparisonRequest,
    Key,
    Progress,
    TallyRequest,
    Verdict,
    Verification,
    VerificationRequest,
    Windows,
)
from seawall.desired.build_job import BuildSettings
from seawall.desired.inputs import Platform
from seawall.ports import NoAnswer
from seawall.runtime.building import BuildReconciler
from seawall.runtime.compare import Comparer
from seawall.runtime.fence import Fenced
from seawall.runtime.kinds import BY_NAME
from seawall.runtime.observe import Observer
from seawall.runtime.observe_build import BuildObserver
from seawall.runtime.pacing import Pacing
from seawall.runtime.reconcile import Reconciler
from seawall.runtime.slots import BuildSlots
from seawall.runtime.store import Store
from seawall.runtime.survey import Survey
from seawall.runtime.telemetry import Telemetry
from seawall.runtime.verify import Verifier
from support.fakecluster import FakeCluster

KEY = Key("ns", "digits")
CHILDREN = {"Deployment", "PodDisruptionBudget", "Service", "ServiceAccount", "NetworkPolicy"}
CLASS = {
    "apiVersion": "serving.seawall.dev/v1alpha1",
    "kind": "AcceleratorClass",
    "metadata": {"name": "cpu"},
    "spec": {"type": "cpu", "runtime": {"image": "triton:1", "tritonVersion": "24.10"}},
}


def digits(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.seawall.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": "digits", "namespace": "ns", "uid": "uid-digits", "generation": 1},
        "spec": {
            "model": {"uri": "s3://models/digits.onnx"},
            "accelerator": {"class": "cpu"},
            "slo": {"p99": "50ms"},
        }
        | spec,
    }


BUILD_SETTINGS = BuildSettings("optimizer:1", "training:1", "s3://artifacts/builds")


class FixedClock:
    moment = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment


class BuildPods:
    """Pods of builds that say what they are told to."""

    def __init__(self) -> None:
        self.says: Progress | None = None
        self.asked: list[str] = []

    async def progress(self, address: str) -> Progress | None:
        self.asked.append(address)
        return self.says


class Servers:
    """Model servers that answer as told."""

    def __init__(self) -> None:
        self.verdict = Verdict.PASSED
        self.asked: list[VerificationRequest] = []
        self.gate: asyncio.Event | None = None
        self.answers: Literal["Pass", "Fail", "Unknown"] = "Pass"
        self.compared: list[tuple[ComparisonRequest, bytes]] = []
        self.counts: Tally | None = None
        """of the comparator, whatever it works for"""
        self.counted: list[TallyRequest] = []

    async def verify(self, request: VerificationRequest) -> Verification:
        self.asked.append(request)
        if self.gate is not None:
            await self.gate.wait()
        return Verification(request.revision, self.verdict, "as told")

    async def compare(self, request: ComparisonRequest, golden: bytes) -> Answers:
        self.compared.append((request, golden))
        return Answers(request.candidate, self.answers, "as told")

    async def tally(self, request: TallyRequest) -> Tally:
        self.counted.append(request)
        if self.counts is None:
            raise NoAnswer("nobody is there")
        return replace(self.counts, order=request.order)


class NoSchema:
    def problem(self, override: Any) -> str | None:
        return "model.config: unknown field" if "typo" in override else None


class Told:
    """What the scaler has made public."""

    def __init__(self) -> None:
        self.assessments: dict[str, Assessment] = {}
        self.budget: Budget | None = None
        self.cut = Windows()

    def shown(self, key: Key) -> tuple[Mapping[str, Assessment], Budget | None]:
        return self.assessments, self.budget

    def windows(self, key: Key) -> Windows:
        return self.cut


@dataclass
class Served:
    """What an API server says that it serves."""

    keda: bool = False
    prometheus_operator: bool = False
    tolerance: bool = True
    gateway_api: bool = False
    grpc_routes: bool = False


def still_survey(store: Store, **capabilities: Any) -> Survey:
    """Knows what it is told and never looks."""

    async def nothing(*_: Any) -> Any:
        raise AssertionError("nobody looks")

    survey = Survey(
        discover=nothing,
        repair=nothing,
        clear=store.clear,
        face=None,
        prometheus_url="",
        changed=lambda: None,
    )
    survey.capabilities = Capabilities(**capabilities)
    return survey


class Scene:
    def __init__(
        self,
        platform: Platform = Platform("operator:1"),  # noqa: B008 - frozen
        cluster: FakeCluster | None = None,
    ) -> None:
        """`cluster`: of an operator before this one."""
        self.cluster = cluster if cluster is not None else FakeCluster()
        self.store = Store()
        self.servers = Servers()
        self.woken: list[Key] = []
        self.telemetry = Telemetry()
        self.holds = True
        fenced = Fenced(self.cluster, lambda: self.holds)
        self.pods = BuildPods()
        self.slots = BuildSlots(1, self.woken.append)
        self.clock = FixedClock()
        self.survey = still_survey(self.store)
        self.scales = Told()
        self.reconcile = Reconciler(
            cluster=fenced,
            store=self.store,
            observer=Observer(
                cluster=fenced,
                store=self.store,
                schema=NoSchema(),
                clock=self.clock,
                platform=platform,
                survey=self.survey,
                scales=self.scales,
            ),
            verifier=Verifier(self.servers, self.woken.append, lambda: 0.0, 0.01),
            comparer=Comparer(self.cluster, self.servers, self.woken.append, lambda: 0.0, 0.01),
            pacing=Pacing(
                services=lambda: 1,
                wake=self.woken.append,
                wake_after=lambda *_: None,
                clock=lambda: 0.0,
            ),
            telemetry=self.telemetry,
            wake=self.woken.append,
            builds=BuildReconciler(
                store=self.store,
                observer=BuildObserver(fenced, self.store, self.pods, self.clock, BUILD_SETTINGS),
                slots=self.slots,
                telemetry=self.telemetry,
                wake=self.woken.append,
            ),
        )
        if cluster is None:
            self.put(CLASS)

    def put(self, manifest: dict[str, Any]) -> None:
        made = self.cluster.add(manifest)
        self.store.put(BY_NAME[made["kind"]], made)

    def kinds(self) -> set[str]:
        return {kind for kind, _, _ in self.cluster.objects} - {"InferenceService", "AcceleratorClass"}

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.cluster.objects[("InferenceService", "ns", "digits")]["status"]
        return status

    def condition(self, type_: str) -> dict[str, Any]:
        return next(c for c in self.status()["conditions"] if c["type"] == type_)

    def deployments(self) -> list[dict[str, Any]]:
        return [o for (kind, _, _), o in self.cluster.objects.items() if kind == "Deployment"]

    def told(self) -> None:
        """The watch tells all that the cluster holds."""
        for (kind, _, _), manifest in list(self.cluster.objects.items()):
            self.store.put(BY_NAME[kind], manifest)

    def bring_up(self, deployment: dict[str, Any]) -> None:
        """What the Deployment controller and a node would do."""
        replicas = deployment["spec"]["replicas"]
        deployment["status"] = {
            "observedGeneration": 1,
            "replicas": replicas,
            "updatedReplicas": replicas,
            "availableReplicas": replicas,
        }
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        name = f"{deployment['metadata']['name']}-x"
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "ns", "labels": labels},
            "status": {"podIP": "10.0.0.9", "conditions": [{"type": "Ready", "status": "True"}]},
        }
        self.cluster.add(pod)
        self.cluster.touch(deployment)
        self.told()


async def serving(scene: Scene) -> str:
    """Brings the first revision to Ready and returns its name."""
    await scene.reconcile(KEY)
    scene.bring_up(scene.deployments()[0])
    await scene.reconcile(KEY)
    scene.told()
    assert scene.condition("Ready")["status"] == "True"
    return str(scene.status()["rollout"]["stableRevision"])


def edit(scene: Scene, **spec: Any) -> None:
    live = scene.cluster.objects[("InferenceService", "ns", "digits")]
    live["spec"] = live["spec"] | spec
    live["metadata"]["generation"] += 1
    scene.cluster.touch(live)
    scene.told()
