"""The least of a cluster for the rollout's state machine: Deployments, Services, routes, a status, a clock.

A look reads, decides and writes in the operator's order, and may end after any of its writes, as an operator
does that is killed. What a look writes, and what the status had recorded when it did, is kept for the tests.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from seawall.canary.shadow import Tally
from seawall.decide.diagnose import Trouble
from seawall.decide.rollout import advance
from seawall.decide.rollout_plan import QualityStep, RolloutPlan, WeightStep
from seawall.decide.rollout_pods import seen
from seawall.decide.rollout_state import (
    Answers,
    BuildWait,
    Command,
    Look,
    RevisionState,
    RolloutState,
    Routes,
    Shadow,
    Step,
    World,
)
from seawall.decide.types import Verdict, Verification

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
A, B, C, D = "aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd"
GOLDEN = QualityStep("golden", None, None, 0.01)
PLAN = RolloutPlan(
    strategy="Canary",
    steps=(
        GOLDEN,
        WeightStep(None, min_requests=100, max_seconds=1800.0),
        WeightStep(50, min_requests=100, max_seconds=1800.0),
    ),
)
PASS = Look("Pass", "sound in latency and errors", candidate_requests=1000.0)
OPEN = Look("Open", "too early to say", candidate_requests=10.0)
WORSE = Look("Rollback", "latency: 5 times as many requests over 20ms", candidate_requests=500.0)
AGREES = Tally("first start", "this step", seen=2000, compared=2000, repeats=True)
COPIED = Shadow(routed=True, there=True, copied=True, tally=AGREES)
CRASHING = Trouble("WorkloadReady", "CrashLooping", "Container triton ended with exit code 1")
NO_GPU = Trouble("WorkloadReady", "Unschedulable", "No node fits: 0/3 nodes have nvidia.com/gpu")
WRITES = ("Deployments", "Services", "routes", "counts", "deletions", "status")


@dataclass
class Pods:
    """One revision's Deployment."""

    replicas: int = 1
    available: int = 0
    trouble: Trouble | None = None
    stuck: bool = False
    """new pods do not become ready"""
    late: bool = False
    """the Deployment's own deadline is over"""

    def settle(self) -> None:
        self.available = min(self.available, self.replicas) if self.stuck else self.replicas


@dataclass
class Route:
    weight: int = 0
    present: bool = True
    settled: bool = True
    problem: str = ""
    deaf: bool = False
    """takes no writes"""


@dataclass
class Sim:
    plan: RolloutPlan = PLAN
    replicas: int = 4
    """of the stable revision, as the spec or an autoscaler wants them"""
    fixed: bool = True
    """the count is the user's; otherwise an autoscaler's, which keeps the floor"""
    target: str | None = A
    build: BuildWait | None = None
    generation: int = 1
    now: datetime = START
    status: dict[str, Any] | None = None
    revisions: dict[str, Pods] = field(default_factory=dict)
    selected: str | None = A
    trial: str | None = A
    both: bool = False
    """the Services select both revisions"""
    routes: list[Route] | None = field(default_factory=lambda: [Route(), Route()])
    look_says: Look = PASS
    answers: str = "Pass"
    shadow: Shadow = COPIED
    verdict: Verdict = Verdict.PASSED
    command: Command | None = None
    platform_only: bool = False
    platform_slot: bool = True
    full: int | None = None
    need: int | None = None
    """pods of the stable revision for all of the traffic; None: nobody knows"""
    instant: bool = True
    """pods are ready and routes are settled as soon as they are written"""
    events: list[tuple[str, str]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    @classmethod
    def serving(cls, revision: str = A, **over: Any) -> Sim:
        sim = cls(**over)
        sim.revisions[revision] = Pods(sim.replicas, sim.replicas)
        sim.status = RolloutState(id=f"1-{revision}", stable=revision).to_status()
        return sim

    # --- what a person, or the world, does

    def edit(self, target: str | None, **plan: Any) -> None:
        self.target = target
        self.plan = replace(self.plan, **plan)
        self.generation += 1

    def say(self, verb: str, rollout: str | None = None, suffix: str = "") -> None:
        name = rollout if rollout is not None else self.state.id
        self.command = Command(verb, name, f"{verb}@{name}{suffix}")

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    # --- what the operator sees

    @property
    def state(self) -> RolloutState:
        return RolloutState.of(self.status)

    @property
    def weight(self) -> int:
        """What any of the routes sends by the candidate's name, at most; of the ready pods, where it is they who
        split."""
        if self.plan.by_pods:
            return self.selection().most
        return max((r.weight for r in self.routes or () if r.present), default=0)

    def selection(self) -> Routes:
        state = self.state
        ready = [
            self.revisions[name].available if name in self.revisions else 0
            for name in (state.candidate or "", state.stable or "")
        ]
        others = {*self.revisions} - {state.candidate, state.stable} if state.step is not None else set()
        return seen(both=self.both, candidate=ready[0], stable=ready[1], others=min(others, default=""))

    def _routes(self) -> Routes | None:
        if self.plan.by_pods:
            return self.selection()
        if self.routes is None:
            return None
        here = [r for r in self.routes if r.present]
        problem = "RouteNotFound" if len(here) < len(self.routes) else ""
        problem = problem or next((r.problem for r in here if r.problem), "")
        weights = {r.weight for r in here}
        return Routes(
            weight=weights.pop() if len(weights) == 1 else None,
            most=self.weight,
            settled=bool(here) and all(r.settled and not r.problem for r in here),
            problem=problem,
            message=f"{problem} it is" if problem else "",
        )

    def world(self) -> World:
        state, recorded = self.state, self.status or {}
        step = (
            self.plan.steps[state.step]
            if state.step is not None and state.step < len(self.plan.steps)
            else None
        )
        measured = recorded.get("stepStartedAt") is not None
        seen = self.look_says if measured or self.look_says.verdict == "Rollback" else Look()
        asked = isinstance(step, QualityStep) and state.candidate is not None and self.answers != ""
        return World(
            generation=self.generation,
            now=self.now,
            revisions={
                name: RevisionState(
                    ready=p.available >= max(1, p.replicas),
                    deadline_exceeded=p.late and p.available < p.replicas,
                    trouble=p.trouble if p.available < p.replicas else None,
                    available=p.available,
                    replicas=p.replicas,
                )
                for name, p in self.revisions.items()
            },
            target=self.target if self.build is None else None,
            build=self.build,
            platform_only=self.platform_only,
            platform_slot=self.platform_slot,
            selected=self.selected,
            command=self.command,
            plan=self.plan,
            full=self._full(state),
            need=self.need,
            routes=self._routes(),
            look=seen,
            answers=Answers(state.candidate or "", self.answers, "200 of 200 agree") if asked else None,  # type: ignore[arg-type]
            shadow=self.shadow,
        )

    def _full(self, state: RolloutState) -> int:
        alike = (self.need or state.floor) if state.displaced is not None else None
        return self.full if self.full is not None else max(1, alike or self.replicas)

    def decide(self, status: dict[str, Any] | None = None) -> Step:
        """As the reconciler: a question that the step has is put, and the step decided again."""
        previous = RolloutState.of(self.status if status is None else status)
        world = self.world()
        step = advance(previous, world)
        if step.verify is not None:
            step = advance(
                previous, replace(world, verification=Verification(step.verify, self.verdict, "NaN"))
            )
        return step

    # --- what the operator writes

    def look(self, killed_after: str | None = None, stale: dict[str, Any] | None = None) -> Step:
        """One look. `killed_after`: the last write that is done, or "nothing". `stale`: the status as a store
        shows it that lags behind; what raises, switches or deletes is decided again on the live one."""
        step = self.decide(stale)
        raises = step.both and not self.both if self.plan.by_pods else step.weight > self.weight
        if stale is not None and (step.switches or raises or self._gone(step)):
            stale, step = None, self.decide()
        writes: dict[str, Callable[[Step], None]] = {
            "Deployments": self._make,
            "Services": self._select,
            "routes": self._route,
            "counts": self._count,
            "deletions": self._delete,
            "status": self._record if stale is None else lambda _: None,  # refused: it has changed meanwhile
        }
        if killed_after == "nothing":
            return step
        for name, write in writes.items():
            write(step)
            if name == killed_after:
                break
        return step

    def _gone(self, step: Step) -> list[str]:
        return [name for name in self.revisions if name not in step.keep]

    def _make(self, step: Step) -> None:
        renderable = {self.target} if self.build is None else set()
        for name in sorted(step.keep & renderable - set(self.revisions)):
            self.revisions[name] = Pods(1, 0, stuck=not self.instant)
            if self.instant:
                self.revisions[name].settle()

    def _select(self, step: Step) -> None:
        self.selected, self.trial, self.both = step.serving, step.trial or step.serving, step.both

    def _route(self, step: Step) -> None:
        for route in self.routes or ():
            if route.present and not route.deaf and route.weight != step.weight:
                route.weight = step.weight
                route.settled = self.instant

    def _count(self, step: Step) -> None:
        state, plan = step.state, self.plan
        if step.pods is not None:
            state = replace(state, pods=step.pods)
        for name, pods in self.revisions.items():
            if state.displaced is not None and state.floor is not None and name == state.stable:
                pods.replicas = max(1, state.floor - state.displaced)
            elif state.displaced is not None and name == state.candidate:
                pods.replicas = state.pods or 1
            elif name == state.stable:
                pods.replicas = self.replicas if self.fixed else max(self.replicas, state.floor or 0)
            elif name == state.candidate and state.stable is None:
                pods.replicas = max(1, self.replicas)
            elif name == state.candidate:
                full = self.full if self.full is not None else max(1, self.replicas)
                pods.replicas = max(pods.replicas, (state.pods or 1) if plan.strategy != "Direct" else full)
            pods.available = min(pods.available, pods.replicas)
            if self.instant:
                pods.settle()

    def _delete(self, step: Step) -> None:
        for name in self._gone(step):
            del self.revisions[name]
            self.dropped.append(name)

    def _record(self, step: Step) -> None:
        self.status = json.loads(json.dumps(step.state.to_status()))
        self.events += [(e.reason, e.message) for e in step.events]

    # --- for tests

    def looks(self, number: int) -> list[Step]:
        return [self.look() for _ in range(number)]

    def until(self, wanted: Callable[[RolloutState], bool], limit: int = 60, seconds: float = 0.0) -> Step:
        for _ in range(limit):
            step = self.look()
            if wanted(self.state):
                return step
            self.wait(seconds)
        raise AssertionError(f"never so; at last {self.status}")

    def reasons(self) -> list[str]:
        return [reason for reason, _ in self.events]
