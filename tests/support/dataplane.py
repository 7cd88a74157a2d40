"""A data plane in memory, and the scaler over it: pods that count their requests as Triton would."""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from seawall.decide.types import Key
from seawall.desired.inputs import Platform
from seawall.measure.types import ArmSample, Histogram, PodSample
from seawall.ports import Target
from seawall.runtime.kinds import BY_NAME
from seawall.runtime.scaler import Scaler, ScalerSettings
from seawall.runtime.store import Store
from seawall.runtime.tables import Tables
from seawall.runtime.telemetry import Telemetry
from seawall.sizing.calibration import BatchCount
from seawall.sizing.capacity import build_table
from support.scene import CLASS, KEY, digits, still_survey

START = 1_800_000_000.0
REVISION, CANDIDATE = "a1", "b2"
ROUTING = {"gateways": [{"name": "edge"}], "hostnames": ["digits.example"]}
LABELS = {"app.kubernetes.io/managed-by": "seawall"}


class DataPlane:
    """Pods that answer as told, at so many requests per second for each service."""

    def __init__(self) -> None:
        self.now = START
        self.rates: dict[str, float] = {}
        self.latency_ms = 4.0
        self.service_ms = 3.0
        self.silent: set[str] = set()
        self.fault: Exception | None = None
        self.batch_fault: Exception | None = None
        self.asked: list[list[tuple[str, str]]] = []
        self.batches_asked: list[str] = []
        self.requests: dict[str, float] = {}
        self.fast: dict[str, float] = {}
        """of these, answered within the first bucket's edge"""
        self.was_read = asyncio.Event()

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for service, rate in self.rates.items():
            self.requests[service] = self.requests.get(service, 0.0) + rate * seconds
            quick = rate * seconds if self.latency_ms <= 10 else 0.0
            self.fast[service] = self.fast.get(service, 0.0) + quick

    async def read(self, targets: Sequence[Target]) -> Sequence[ArmSample]:
        self.was_read.set()
        self.asked.append([(t.service, t.revision) for t in targets])
        if self.fault is not None:
            raise self.fault
        return [self.sample(target) for target in targets]

    def sample(self, target: Target) -> ArmSample:
        if target.service in self.silent:
            message = "nobody answered"
            return ArmSample(self.now, (), frozenset(target.pods), None, "MetricsUnavailable", message)
        each = self.requests.get(target.service, 0.0) / max(1, len(target.pods))
        fast = self.fast.get(target.service, 0.0) / max(1, len(target.pods))
        histogram = Histogram((10.0, 20.0, 50.0, math.inf), (fast, fast, each, each))
        pods = tuple(
            PodSample(name, self.now, answered=each, failed=0.0, pending=0.0, histogram=histogram)
            for name in target.pods
        )
        return ArmSample(self.now, pods, frozenset(target.pods))

    async def batches(self, target: Target) -> Mapping[str, tuple[BatchCount, ...]]:
        self.batches_asked.append(target.service)
        if self.batch_fault is not None:
            raise self.batch_fault
        count = int(self.requests.get(target.service, 0.0) / max(1, len(target.pods)))
        spent = round(count * self.service_ms * 1e6)
        return {name: (BatchCount(1, count, spent),) for name in target.pods}


class ScalerScene:
    def __init__(self, tables: Tables | None = None) -> None:
        self.store = Store()
        self.plane = DataPlane()
        self.telemetry = Telemetry()
        self.woken: list[Key] = []
        self.survey = still_survey(self.store)
        self.version = 100
        self.tables = Tables(partial(build_table, requests=200)) if tables is None else tables
        self.scaler = Scaler(
            store=self.store,
            metrics=self.plane,
            tables=self.tables,
            survey=self.survey,
            telemetry=self.telemetry,
            wake=self.woken.append,
            platform=Platform("operator:1"),
            settings=ScalerSettings(),
            clock=lambda: self.plane.now,
        )
        self.put(CLASS)

    def put(self, manifest: Mapping[str, Any]) -> None:
        made = copy.deepcopy(dict(manifest))
        self.version += 1
        made["metadata"]["resourceVersion"] = str(self.version)
        self.store.put(BY_NAME[made["kind"]], made)

    def serve(self, name: str = "digits", pods: int = 2, replicas: int = 2, **scaling: Any) -> None:
        service = digits(scaling={"mode": "Direct"} | scaling)
        meta = service["metadata"]
        meta["name"], meta["uid"] = name, f"uid-{name}"
        service["status"] = {"rollout": {"stableRevision": REVISION, "phase": "Idle", "id": "1"}}
        self.put(service)
        labels = LABELS | {
            "serving.seawall.dev/inferenceservice": name,
            "serving.seawall.dev/revision": REVISION,
        }
        owner = {"kind": "InferenceService", "name": name, "uid": f"uid-{name}", "controller": True}
        deployment = {"name": f"{name}-{REVISION}", "namespace": "ns", "labels": labels, "generation": 1}
        self.put(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": deployment | {"ownerReferences": [owner], "uid": f"uid-{name}-d"},
                "spec": {"replicas": replicas},
                "status": {"availableReplicas": pods, "observedGeneration": 1},
            }
        )
        for number in range(pods):
            self.put(
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": f"{name}-{number}", "namespace": "ns", "labels": labels},
                    "status": {
                        "podIP": f"10.0.0.{number}",
                        "conditions": [{"type": "Ready", "status": "True"}],
                    },
                }
            )

    def remove(self, name: str) -> None:
        key = Key("ns", name)
        for kind, _, child in self.store.places(key):
            self.store.forget(BY_NAME[kind], "ns", child, None)
        self.store.forget(BY_NAME["InferenceService"], "ns", name, None)

    async def pass_(self, seconds: float) -> None:
        """Rounds every five seconds; what runs beside them gets its turn."""
        for _ in range(int(seconds / 5)):
            self.plane.advance(5)
            await self.scaler.tick()
            for _ in range(5):
                await asyncio.sleep(0)

    async def sized(self, name: str = "digits", seconds: float = 600) -> Any:
        """The first decision that knows what a pod can carry."""
        for _ in range(int(seconds / 15)):
            await self.pass_(15)
            await asyncio.to_thread(self.made)
            found = self.scaler.shown(Key("ns", name))[0].get(REVISION)
            if found is not None and found.decision is not None:
                return found
        raise AssertionError("it was never sized")

    def made(self) -> None:
        for making in list(self.tables._making.values()):
            making.exception(30)

    def series(self, name: str) -> dict[tuple[str, str], float]:
        """By service and revision, as they are scraped."""
        found = {}
        for family in self.telemetry.registry.collect():
            for sample in family.samples:
                if sample.name == f"seawall_{name}":
                    labels = sample.labels
                    found[labels["inferenceservice"], labels["revision"]] = sample.value
        return found


def route(scene: ScalerScene, candidate: bool = False, step: int | None = None, **rollout: Any) -> None:
    service = scene.store.service(KEY)
    assert service is not None
    service["spec"]["routing"] = ROUTING
    if rollout:
        service["spec"]["rollout"] = rollout
    if candidate:
        service["status"]["rollout"] |= {"candidateRevision": CANDIDATE, "step": step}
    scene.put(service)


def arrive(scene: ScalerScene) -> None:
    """The candidate's Deployment with its one pod."""
    labels = LABELS | {
        "serving.seawall.dev/inferenceservice": "digits",
        "serving.seawall.dev/revision": CANDIDATE,
    }
    owner = {"kind": "InferenceService", "name": "digits", "uid": "uid-digits", "controller": True}
    meta = {"name": f"digits-{CANDIDATE}", "namespace": "ns", "labels": labels, "generation": 1}
    scene.put(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta | {"ownerReferences": [owner], "uid": "uid-candidate"},
            "spec": {"replicas": 1},
            "status": {"availableReplicas": 1, "observedGeneration": 1},
        }
    )
    scene.put(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "digits-candidate-0", "namespace": "ns", "labels": labels},
            "status": {"podIP": "10.0.1.1", "conditions": [{"type": "Ready", "status": "True"}]},
        }
    )
