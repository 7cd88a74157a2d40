"""A whole rollout in memory: the real reconciler in the middle of a played cluster.

After every write and every move of the world it is held against what must be true at any moment: no traffic
without pods, no weight that the status has not recorded, no evidence that nobody has seen, and always Ready.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from seawall.decide.types import Capabilities, Manifest, Windows
from seawall.desired.names import REVISION_LABEL
from seawall.runtime.kinds import BY_NAME, WATCHED, labels_of
from seawall.runtime.queue import RetryLater
from support.rollout_world import BROKEN, FAILED, TICK, Clients, Surroundings
from support.routes import ref, route
from support.scene import CLASS, KEY, Scene, digits
from support.writelog import MOMENTS, Killed, Moment

PODS = 3
COMMAND = "serving.seawall.dev/rollout-command"
WATCHED_KINDS = {kind.kind for kind in WATCHED}
SERVED = Capabilities(gateway_api=True, grpc_routes=True, metrics_api="Ours")
FIRST, NEXT = {"uri": "s3://models/digits.onnx"}, {"uri": "s3://models/digits-2.onnx"}
OWN: dict[str, Any] = {
    "routing": {
        "gateways": [{"name": "public", "namespace": "infra"}],
        "hostnames": ["a.example.com"],
        "grpcHostnames": ["b.example.com"],
    }
}
BY_PODS: dict[str, Any] = {"rollout": {"traffic": {"provider": "Replicas"}}}
NAMED: dict[str, Any] = {"rollout": {"traffic": {"httpRoute": "theirs", "grpcRoute": "calls"}}}
PLAN: dict[str, Any] = {
    "analysis": {"window": "10s", "warmup": {"requests": 0, "duration": "0s"}},
    "rollbackWindow": "60s",
}
RETRIES = 2
"""Within a tick, of a look that has failed."""
SETTLING = 40
"""Looks that one thing may lead to before there is nothing to be done at once."""


@dataclass
class Saved:
    """The world between two looks; the operator remembers nothing."""

    now: datetime
    count: int
    objects: dict[tuple[str, str, str], Manifest]
    clients: Clients
    ages: dict[str, int]
    taken: dict[tuple[str, str, str], tuple[int, bool]]
    said: int
    """writes in the log"""


class Stage(Surroundings):
    def __init__(
        self, spec: dict[str, Any] | None = None, *, remembers: bool = True, failing: float = FAILED
    ) -> None:
        """`remembers`: an operator that starts finds the windows that have closed before. `failing`: share of
        the candidate's answers."""
        spec = OWN if spec is None else spec
        plan = PLAN | spec.get("rollout", {})
        super().__init__(failing)
        self.remembers = remembers
        self.away = 0
        """ticks until somebody takes over from an operator that was killed"""
        self.looks_twice = False
        self.floor = 0
        """pods that serve, at any moment"""
        self._absent = 0
        self.people: Callable[[Stage], None] = lambda stage: None
        """who look at the rollout now and then, and act"""
        self.cluster.checks.append(self.holds)
        self.cluster.raised = self._raised
        self.cluster.add(CLASS)
        made = {"scaling": {"mode": "Fixed", "replicas": PODS}} | spec | {"rollout": plan}
        self.cluster.add(digits(model=FIRST, **made))
        traffic = plan.get("traffic", {})
        for kind, name in (("HTTPRoute", traffic.get("httpRoute")), ("GRPCRoute", traffic.get("grpcRoute"))):
            if name:
                self.cluster.add(route(name, [ref("digits")(1)], kind=kind))
        self.first = ""
        self.start()

    # The operator.

    def start(self) -> None:
        """A new process: it knows what it reads and nothing else."""
        self.cluster.dead, self.cluster.last = False, None
        self.operator = Scene(cluster=self.cluster)
        self.operator.survey.capabilities = SERVED
        self._known: set[tuple[str, str, str]] = set()
        if not self.remembers:
            self.clients.windows.clear()

    def tell(self) -> None:
        """All that the watch would have told by now; at a start, all that a LIST shows."""
        operator, cluster = self.operator, self.cluster
        operator.clock.moment = cluster.now = self.now
        operator.scales.cut = Windows(tuple(self.clients.windows))
        here = {place for place in cluster.objects if place[0] in WATCHED_KINDS}
        for place in here:
            operator.store.put(BY_NAME[place[0]], cluster.objects[place])
        for kind, namespace, name in self._known - here:
            operator.store.forget(BY_NAME[kind], namespace, name, None)
        self._known = here

    async def look(self) -> None:
        """Until there is nothing to be done at once."""
        self.tell()
        failures = 0
        for _ in range(SETTLING):
            self.operator.woken.clear()
            try:
                again = await self.operator.reconcile(KEY)
            except RetryLater:
                failures += 1
                if failures > RETRIES:
                    return
                continue
            if KEY not in self.operator.woken and again != 0.0:
                break
        else:
            raise AssertionError(f"it never comes to rest: {self.rollout}")
        on_its_way = "step" in self.rollout
        assert not on_its_way or (again is not None and again <= TICK), "it would sleep through the rollout"
        if self.looks_twice:
            self.tell()
            before = self.cluster.count
            await self.operator.reconcile(KEY)
            assert self.cluster.count == before, self.cluster.log[before:]

    # Time.

    async def tick(self) -> None:
        self.now += timedelta(seconds=TICK)
        self.nodes()
        self.autoscaler()
        self.gateway()
        self.traffic()
        self.people(self)
        self.holds()
        if self._absent:
            self._absent -= 1
            return
        try:
            await self.look()
        except Killed:
            self.start()
            self._absent = self.away
            if not self.away:
                await self.look()

    async def until(self, reached: Callable[[], Any], ticks: int = 150) -> None:
        for _ in range(ticks):
            if reached():
                return
            await self.tick()
        raise AssertionError(f"it did not come to this: {self.rollout}")

    async def pass_by(self, ticks: int) -> None:
        for _ in range(ticks):
            await self.tick()

    async def serving(self) -> str:
        """The first revision serves, and some windows of it have been seen."""
        await self.until(lambda: self.rollout.get("stableRevision") and len(self.clients.windows) > 4)
        self.first = str(self.rollout["stableRevision"])
        self.floor = int(self.deployment(self.first)["spec"]["replicas"])
        assert self.ready(self.first) == self.floor
        self.forget()
        return self.first

    def forget(self) -> None:
        """What counts begins now."""
        self.clients.handed = 0.0
        self.cluster.count = 0
        self.cluster.log.clear()
        self.cluster.events.clear()

    def save(self) -> Saved:
        return Saved(
            self.now,
            self.cluster.count,
            copy.deepcopy(self.cluster.objects),
            copy.deepcopy(self.clients),
            dict(self.ages),
            dict(self.taken),
            len(self.cluster.log),
        )

    def resume(self, saved: Saved, like: Stage) -> None:
        """From there on, as `like` had come there."""
        self.now, self.cluster.count = saved.now, saved.count
        self.cluster.objects = copy.deepcopy(saved.objects)
        self.clients = copy.deepcopy(saved.clients)
        self.ages, self.taken = dict(saved.ages), dict(saved.taken)
        self.cluster.log = like.cluster.log[: saved.said]
        self.first, self.floor = like.first, like.floor
        self.cluster.skip_versions(10_000)
        self.start()

    def kill_at(self, write: int, moment: Moment) -> None:
        self.cluster.last = (write, moment)

    # What people do.

    def edit(self, **spec: Any) -> None:
        live = self.cluster.live("InferenceService", "digits")
        if live["spec"] == live["spec"] | spec:
            return
        live["spec"] = live["spec"] | spec
        live["metadata"]["generation"] += 1
        self.cluster.touch(live)

    def say(self, verb: str) -> None:
        live = self.cluster.live("InferenceService", "digits")
        word, before = f"{verb}@{self.rollout['id']}", live["metadata"].get("annotations", {})
        if before.get(COMMAND) != word:
            live["metadata"]["annotations"] = before | {COMMAND: word}
            self.cluster.touch(live)

    # What must hold at any moment.

    def holds(self) -> None:
        if not self.floor:
            return
        serves = self.selected("digits") or ""
        assert self.ready(serves) >= self.floor, f"{serves} serves with {self.ready(serves)} pods"
        for live in self.routes():
            for backend in live["spec"]["rules"][0]["backendRefs"]:
                if backend.get("weight", 1):
                    revision = self.selected(backend["name"]) or ""
                    assert self.ready(revision) > 0, f"{backend} leads to nobody: {self.rollout}"
        if self.both():
            beside = {serves, self.rollout.get("candidateRevision", serves)}
            assert {labels_of(pod)[REVISION_LABEL] for pod in self.cluster.of("Pod")} <= beside
            recorded = self.rollout.get("candidateReplicas", 1)
            for name in self.revisions() & beside - {serves}:
                assert self.deployment(name)["spec"]["replicas"] <= recorded, "pods that nobody has recorded"
        [ready] = [c for c in self.status["conditions"] if c["type"] == "Ready"]
        assert ready["status"] == "True", f"it blinks: {ready}"
        for metric in (self.rollout.get("analysis") or {}).get("metrics", ()):
            assert metric["candidateRequests"] <= self.clients.handed + 1, "a window was counted twice"

    def _raised(self, live: Manifest, share: int) -> None:
        recorded = self.rollout.get("desiredWeight", 0)
        if live["kind"] == "Service":
            assert recorded > 0, "a Service selects both, and the status has no weight"
            pods = self.ready(self.rollout["candidateRevision"])
            assert pods == self.rollout["candidateReplicas"], "a Service selects pods that are not ready"
            return
        assert share <= recorded, f"{live['kind']} has {share}%, and the status says {recorded}"
        candidate, stable = self.rollout["candidateRevision"], self.rollout["stableRevision"]
        assert self.selected("digits-candidate") == candidate
        pods, beside = self.ready(candidate), self.ready(stable)
        enough = pods >= beside if share == 100 else share <= round(100 * pods / (pods + beside))
        assert enough, f"{share}% for {pods} pods beside {beside}"


async def begun(spec: dict[str, Any] | None = None, **more: Any) -> tuple[Stage, str]:
    """The stage just after an edit, and the revision that serves."""
    stage = Stage(spec, **more)
    first = await stage.serving()
    stage.looks_twice = True
    stage.edit(model=NEXT)
    await stage.tick()
    return stage, first


def new(stage: Stage) -> str:
    [revision] = stage.revisions() - {stage.first}
    return revision


def phase(stage: Stage, *wanted: str) -> Callable[[], bool]:
    return lambda: stage.rollout["phase"] in wanted


def weighs(stage: Stage, weight: int) -> Callable[[], bool]:
    """The weight is in force and windows count."""
    return lambda: stage.rollout.get("desiredWeight") == weight and "stepStartedAt" in stage.rollout


__all__ = [
    "BROKEN", "BY_PODS", "FAILED", "MOMENTS", "NAMED", "NEXT", "OWN", "PODS", "Saved", "Stage", "begun", "new", "phase",
    "weighs",
]  # fmt: skip
