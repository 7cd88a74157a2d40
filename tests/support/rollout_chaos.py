"""Rollouts among random faults, and what must hold after every single look whatever has happened.

Seeded: a failure names its seed, and the same seed gives the same life again.
"""

from __future__ import annotations

import copy
import random
from collections import Counter
from dataclasses import replace
from typing import Any

from seawall.decide.rollout_displace import carries
from seawall.decide.rollout_plan import Policy, RolloutPlan, ShadowStep, WeightStep
from seawall.decide.rollout_state import BuildWait, Phase, RolloutState, Step
from seawall.decide.rollout_status import REASONS, condition_of
from seawall.decide.types import Verdict
from support.rollout_sim import (
    AGREES,
    COPIED,
    CRASHING,
    GOLDEN,
    NO_GPU,
    OPEN,
    PASS,
    WORSE,
    WRITES,
    A,
    B,
    C,
    D,
    Look,
    Pods,
    Sim,
)

REVISIONS = (A, B, C, D)
VERBS = ("promote", "promote-full", "skip", "pause", "resume", "abort", "retry", "dance")
LOOKS = (
    PASS, PASS, PASS, OPEN, OPEN, WORSE, replace(PASS, breaching=True), replace(PASS, share_wrong=True),
    replace(OPEN, mismatched=True), Look(trouble="NoData"), Look(trouble="ProviderDown"),
    Look(trouble="NoLatency"),
)  # fmt: skip
STEPS = (
    (GOLDEN, WeightStep(None, 1, 300.0), WeightStep(50, 1, 300.0)),
    (WeightStep(5, 1, 300.0, pause=True), WeightStep(None, 1, 300.0), WeightStep(100, 1, 300.0)),
    (WeightStep(None, 1, 300.0),),
    (GOLDEN, ShadowStep(5, 60.0, 0.01), WeightStep(None, 1, 300.0)),
    (GOLDEN,),
    (),
)
SHADOWS = (
    COPIED, COPIED, replace(COPIED, there=False, copied=False), replace(COPIED, copied=False),
    replace(COPIED, tally=None), replace(COPIED, routed=False),
    replace(COPIED, tally=replace(AGREES, start="another start")),
    replace(COPIED, tally=replace(AGREES, differ=900)),
)  # fmt: skip
AT_REST = frozenset({Phase.IDLE, Phase.PAUSED, Phase.ROLLED_BACK, Phase.BUILDING})


class Broken(AssertionError):
    pass


def demand(holds: bool, what: str, life: Life) -> None:
    if not holds:
        raise Broken(f"seed {life.seed}, look {life.number}: {what}\n{life.sim.status}\n{life.last}")


class Life:
    """One service, for as many looks as one likes."""

    def __init__(self, seed: int, displacing: float = 0.0, by_pods: float = 0.0) -> None:
        """`displacing`: how many of the plans take the places of stable pods; `by_pods`: how many have no gateway
        and split by pods."""
        self.seed, self.number, self.last = seed, 0, ""
        self.displacing, self.by_pods = displacing, by_pods
        self.chance = random.Random(seed)  # noqa: S311 - a seed that shows a failure again
        self.sim = Sim.serving(
            fixed=self.chance.random() < 0.3,
            replicas=self.chance.randint(3, 8) if displacing else self.chance.randint(1, 6),
            plan=self._plan(),
        )
        if self.chance.random() < 0.15:
            self.sim.routes = None
        self._is_busy()
        self.evil = self.chance.choice((0.05, 0.15, 0.3, 0.6))
        self.rejected: set[str] = set()
        self.seen: Counter[str] = Counter()

    def _plan(self) -> RolloutPlan:
        pick = self.chance.choice
        plan = RolloutPlan(
            strategy=pick(("Canary", "Canary", "Canary", "Canary", "BlueGreen", "Direct")),
            steps=pick(STEPS),
            policy=Policy(
                on_regression=pick(("Rollback", "Pause")),
                on_inconclusive=pick(("Pause", "Rollback", "Promote")),
                on_no_data=pick(("Hold", "Pause", "Rollback", "Promote")),
                on_timeout_then=pick(("Pause", "Rollback", "Promote")),
                no_data_seconds=120.0,
                provider_down_seconds=120.0,
            ),
            max_surge=pick((None, None, None, None, None, 3) if self.by_pods else (None, None, None, 1, 3)),
            displace=bool(self.displacing) and self.chance.random() < self.displacing,
            by_pods=bool(self.by_pods) and self.chance.random() < self.by_pods,
            progress_seconds=300.0,
            rollback_seconds=pick((0.0, 5.0, 120.0, 600.0)),
            paused=self.chance.random() < 0.05,
        )
        return replace(plan, by_pods=plan.by_pods and plan.strategy == "Canary")

    def run(self, looks: int) -> None:
        for _ in range(looks):
            self.look()

    def look(self) -> None:
        sim, roll = self.sim, self.chance.random
        if roll() < self.evil:
            self._happen()
        elif sim.state.phase in (Phase.IDLE, Phase.ROLLED_BACK) and roll() < 0.3:
            self._edits()
        older = sim.status
        sim.wait(self.chance.choice((0, 0, 1, 1, 5, 15, 60)))
        if roll() < 0.5:
            self._get_better()
        self.number += 1
        killed = self.chance.choice(("nothing", *WRITES)) if roll() < 0.15 else None
        stale = self._older if roll() < 0.05 else None
        sim.instant = roll() < 0.5
        self._checked(killed, stale)
        self._older = older

    _had: dict[str, int]
    """ready pods before the look"""
    _older: dict[str, Any] | None = None

    # --- what happens

    def _get_better(self) -> None:
        for pods in self.sim.revisions.values():
            if not pods.stuck:
                pods.settle()
        for route in self.sim.routes or ():
            if self.chance.random() < 0.8 and not route.problem:
                route.settled = True

    def _happen(self) -> None:
        name = self.chance.choice((*FAULTS, "adds_pods", "adds_pods") if self.by_pods else FAULTS)
        self.last = name
        getattr(self, f"_{name}")()

    def _edits(self) -> None:
        sim = self.sim
        before = sim.target
        sim.edit(self.chance.choice((*REVISIONS, *REVISIONS, *REVISIONS, None)))
        if sim.target != before:
            self.rejected.discard(sim.target or "")
        sim.build = self.chance.choice((*[None] * 12, BuildWait.RUNNING, BuildWait.FAILED))

    def _replans(self) -> None:
        self.sim.plan = self._plan()
        self.sim.full = self.chance.choice((None, None, 2, 8))
        self._is_busy()

    def _is_busy(self) -> None:
        if self.displacing:
            self.sim.need = self.chance.choice((None, 1, 1, 2, 2, 2, 3, 3, 4, 6))

    def _says(self) -> None:
        rollout = self.sim.state.id if self.chance.random() < 0.8 else f"1-{A}"
        self.sim.say(self.chance.choice(VERBS), rollout, f":{self.number}")

    def _measures(self) -> None:
        self.sim.look_says = self.chance.choice(LOOKS)
        if self.sim.look_says is WORSE and self.displacing:
            self.sim.look_says = replace(WORSE, failing=self.chance.random() < 0.3)
        self.sim.answers = self.chance.choice(("Pass", "Pass", "Pass", "Fail", "Unknown", ""))
        self.sim.shadow = self.chance.choice(SHADOWS)
        self.sim.verdict = self.chance.choice(
            (Verdict.PASSED, Verdict.PASSED, Verdict.WRONG, Verdict.UNREACHABLE)
        )

    def _loses_pods(self) -> None:
        if self.sim.revisions:
            pods = self.sim.revisions[self.chance.choice(sorted(self.sim.revisions))]
            pods.stuck = True
            pods.available = self.chance.randint(0, pods.available)
            pods.trouble = self.chance.choice((None, CRASHING, NO_GPU))
            pods.late = self.chance.random() < 0.1

    def _finds_pods(self) -> None:
        for pods in self.sim.revisions.values():
            pods.stuck = pods.late = False
            pods.settle()

    def _deletes_by_hand(self) -> None:
        if len(self.sim.revisions) > 1 and self.chance.random() < 0.3:
            del self.sim.revisions[self.chance.choice(sorted(self.sim.revisions))]

    def _resets_weights(self) -> None:
        for route in self.sim.routes or ():
            route.weight = self.chance.choice((0, 0, 10, 100))
        if self.by_pods:
            self.sim.both = self.chance.random() < 0.3

    def _adds_pods(self) -> None:
        """Somebody brings a revision back that had gone, or pods outlive their Deployment."""
        self.sim.revisions.setdefault(self.chance.choice(REVISIONS), Pods(1, 1))

    def _breaks_a_route(self) -> None:
        if self.sim.routes:
            route = self.chance.choice(self.sim.routes)
            route.settled = False
            route.deaf = self.chance.random() < 0.3
            route.present = self.chance.random() < 0.8
            route.problem = self.chance.choice(("", "RouteNotAccepted", "RouteRefsNotResolved"))

    def _mends_the_routes(self) -> None:
        for route in self.sim.routes or ():
            route.settled, route.deaf, route.present, route.problem = True, False, True, ""

    def _scales(self) -> None:
        self.sim.replicas = self.chance.choice((0, 1, 2, 4, 8))

    def _forgets(self) -> None:
        if self.chance.random() < 0.1:
            self.sim.status = None
            self.rejected.clear()

    def _loses_a_slot(self) -> None:
        self.sim.platform_only = self.chance.random() < 0.3
        self.sim.platform_slot = self.chance.random() < 0.5

    def _gains_time(self) -> None:
        self.sim.wait(self.chance.choice((30, 120, 400)))

    # --- what must hold

    def _checked(self, killed: str | None, stale: dict[str, Any] | None) -> Step:
        sim = self.sim
        before, recorded = sim.state, sim.state.weight
        self._had = {name: pods.available for name, pods in sim.revisions.items()}
        weights = [r.weight for r in sim.routes or () if r.present]
        empty = self._sends_to_nobody()
        counts = {name: pods.replicas for name, pods in sim.revisions.items()}
        least = min(weights, default=0)
        revisions, dropped, both = set(sim.revisions), len(sim.dropped), sim.both
        step = sim.look(killed, stale)
        after = [r.weight for r in sim.routes or () if r.present]
        for old, new in zip(weights, after, strict=True):
            demand(isinstance(new, int) and 0 <= new <= 100, "a weight is a percentage", self)
            demand(new <= max(old, recorded), "routes carry no more than the status had recorded", self)
        self._nobody_sent(empty, killed, stale)
        for name in sim.dropped[dropped:]:
            if not sim.plan.by_pods:
                demand(sim.weight == 0 or sim.trial != name, f"{name} went while a route led to it", self)
            demand(
                not sim.both or name != before.candidate, f"{name} went while the Services selected it", self
            )
            demand(name not in (sim.selected, step.state.stable), f"{name} went while it served", self)
        demand(step.serving is None or step.serving in step.keep, "what serves is kept", self)
        if before.stable in revisions:
            demand(before.stable in step.keep, "the stable revision is not thrown away", self)
        if stale is None:
            self._one_transition(before, step)
        self._refusals(step, before)
        if stale is None:
            self._floor(before, step)
            self._places(before, step, counts, least)
            self._selection(before, step, counts, both, killed)
        said = condition_of(
            step.state, sim.plan, name="digits", target=sim.target or step.state.candidate,
            trouble=next((p.trouble for p in [sim.revisions.get(sim.target or "")] if p and p.stuck), None),
        )  # fmt: skip
        demand(said.reason in REASONS, f"{said.reason} is no documented reason", self)
        self.seen[said.reason] += 1
        return step

    def _sends_to_nobody(self) -> bool:
        """A route leads to a Service without a ready pod, while another revision could answer."""
        sim = self.sim
        if sim.plan.by_pods:
            return False  # Services find who is ready by themselves
        trial, serving = sim.revisions.get(sim.trial or ""), sim.revisions.get(sim.selected or "")
        return (
            sim.weight > 0 and (trial is None or trial.available == 0) and bool(serving and serving.available)
        )

    def _nobody_sent(self, empty: bool, killed: str | None, stale: dict[str, Any] | None) -> None:
        """At once: in the look that meets it, provided that the look writes and the routes take it."""
        deaf = any(r.deaf for r in self.sim.routes or ())
        if not empty or killed in ("nothing", "Deployments", "Services") or deaf or stale is not None:
            return
        demand(not self._sends_to_nobody(), "traffic goes to a revision without a ready pod", self)

    def _one_transition(self, before: RolloutState, step: Step) -> None:
        now = step.state
        same = (before.stable, before.candidate) == (now.stable, now.candidate)
        told = any(e.reason == "CommandAccepted" for e in step.events)
        # Where all steps have been passed, an edited plan changes no more than what that is called.
        passed = before.step is not None and before.steps is not None and before.step >= before.steps
        onward = now.step is not None and before.step is not None and now.step > before.step
        more = [now.weight > before.weight, (now.pods or 0) > (before.pods or 0)]
        forward = [
            onward and not passed,
            before.step is None and now.step is not None,
            *([any(more)] if self.sim.plan.by_pods else more),  # there the one is the other
            same and (now.displaced or 0) > (before.displaced or 0) and (before.displaced or 0) > 0,
            before.step_started_at is None and now.step_started_at is not None,
            now.stable != before.stable and before.stable is not None and step.switches,
        ]
        demand(sum(forward) <= 1, f"one transition at most: {forward}", self)
        if onward and not told and not passed:
            demand((now.step or 0) == (before.step or 0) + 1, "no step is passed over", self)

    def _refusals(self, step: Step, before: RolloutState) -> None:
        """Who has been rejected serves again only after retry, or another spec."""
        told = "CommandAccepted" in [e.reason for e in step.events]
        if told and step.state.rejected is None and before.rejected is not None:
            self.rejected.discard(before.rejected.revision)
        if step.switches:
            demand(step.serving not in self.rejected, f"{step.serving} was rejected and serves", self)
        recorded, target = self.sim.state, self.sim.target
        if recorded.stable is not None and recorded.rejected and recorded.rejected.revision == target:
            self.rejected.add(recorded.rejected.revision)

    def _floor(self, before: RolloutState, step: Step) -> None:
        """What the stable revision had at the start stays the least that it has until the watch is over."""
        now = step.state
        same = (before.stable, before.candidate) == (now.stable, now.candidate)
        if same and before.candidate is not None and before.stable is not None and before.floor is not None:
            demand(now.floor == before.floor, "the floor stays through a rollout", self)
        if same and before.previous is not None and before.previous == now.previous:
            demand(now.floor == before.floor, "the floor stays through the watch", self)
        if step.switches and now.previous is not None:
            demand((now.floor or 0) >= (before.floor or 1), "the floor goes on after a promotion", self)

    def _places(self, before: RolloutState, step: Step, counts: dict[str, int], least: int) -> None:
        """Where pods are displaced: no pod beside the old number, and what is left of the stable revision
        carries what is left of the traffic, unless the candidate cannot keep what it has."""
        now, sim = step.state, self.sim
        stable, candidate = (sim.revisions.get(name or "") for name in (now.stable, now.candidate))
        if now.displaced is None or now.floor is None or stable is None or now.candidate is None:
            return
        self.seen["displaced"] += 1
        demand(now.floor - now.displaced >= 1, "one stable pod is left", self)
        demand((now.pods or 0) <= max(1, now.displaced), "no pod without a place", self)
        if candidate is not None and candidate.replicas > counts.get(now.candidate, 0):
            demand(stable.replicas + candidate.replicas <= now.floor, "no pod beside the old number", self)
        need = sim.need or now.floor
        taken = stable.replicas < counts.get(now.stable or "", 0) and before.displaced is not None
        if taken and (now.displaced or 0) > (before.displaced or 0):
            kept = carries(need, 100 - least)
            demand(stable.replicas >= kept, f"{kept} pods carry what is left of the traffic", self)
            demand(stable.available >= kept, f"{kept} ready pods carry what is left of the traffic", self)
        same = (before.stable, before.candidate) == (now.stable, now.candidate)
        if same and now.weight < before.weight:
            late = now.hold is None or now.hold.reason != "CapacityReturns"
            waits = before.hold is not None and before.hold.reason == "CapacityReturns"
            limit = sim.plan.progress_seconds
            given_up = late and waits and (sim.now - before.hold.since).total_seconds() > limit  # type: ignore[union-attr]
            lost = sim.look_says.failing or candidate is None or self._had.get(now.candidate, 0) == 0
            alone = (before.pods or 1) <= 1 and (before.displaced or 0) <= 1
            enough = self._had.get(now.stable or "", 0) >= carries(need, 100 - now.weight)
            demand(enough or lost or given_up or alone, "traffic goes back to pods that carry it", self)

    def _selection(
        self, before: RolloutState, step: Step, counts: dict[str, int], both: bool, killed: str | None
    ) -> None:
        """Where Services split: a candidate is selected when that is on record and it is ready, with no more pods
        than are on record, and beside nobody else."""
        sim = self.sim
        if sim.both and not both:
            self.seen["selected by pods"] += 1
            demand(before.weight > 0 and step.state.weight > 0, "both are selected as recorded", self)
            demand(
                self._had.get(before.candidate or "", 0) > 0, "both are selected once both are ready", self
            )
            demand(
                set(counts) <= {before.stable, before.candidate}, "nobody else is selected with them", self
            )
        if sim.both and killed not in ("nothing", "Deployments"):
            here = sim.revisions.get(before.candidate or "")
            recorded = max(before.pods or 1, counts.get(before.candidate or "", 0))
            demand(here is not None and here.replicas <= recorded, "no pods before they are recorded", self)
        if before.step is not None and killed is None and sim.plan.by_pods:
            lost = self._had.get(before.candidate or "", 0) == 0 and before.candidate in counts
            demand(not lost or sim.state.weight == 0, "who has no ready pod has no weight on record", self)

    # --- the end of all faults

    def heal(self) -> None:
        """Everybody does as they should; the rollout comes to rest, and at rest nothing changes any more."""
        sim = self.sim
        self.last = "healed"
        sim.instant, sim.command = True, None
        self._finds_pods()
        for pods in sim.revisions.values():
            pods.trouble = None
        self._mends_the_routes()
        sim.build = None
        if sim.target is None:
            sim.edit(A)
            self.rejected.discard(A)
        sim.verdict, sim.answers, sim.look_says, sim.shadow = Verdict.PASSED, "Pass", PASS, COPIED
        sim.platform_slot, sim.replicas = True, max(1, sim.replicas)
        healed = self.number
        quiet = 0
        while quiet < 3 and self.number < healed + 80:
            self.number += 1
            seen = copy.deepcopy((sim.status, sim.revisions, sim.routes, sim.selected, sim.trial, sim.both))
            step = self._checked(None, None)
            if sim.state.phase not in AT_REST and seen == (
                sim.status, sim.revisions, sim.routes, sim.selected, sim.trial, sim.both
            ):  # fmt: skip
                alarm = step.requeue_after is not None or step.state.step is not None or sim.weight > 0
                demand(alarm, "somebody looks again", self)
            gives_back = sim.state.hold is not None and sim.state.hold.reason == "CapacityReturns"
            quiet = quiet + 1 if sim.state.phase in AT_REST and not gives_back else 0
            sim.wait(30)
        state = sim.state
        resting = state.phase in AT_REST
        demand(resting, "comes to rest when the faults stop", self)
        routed = not sim.plan.by_pods and sim.routes
        if not sim.plan.by_pods:
            demand(sim.weight == (state.weight if routed else 0), "the routes are as recorded", self)
        demand(sim.both == (sim.plan.by_pods and state.weight > 0), "the Services are as recorded", self)
        first, second = sim.look(), sim.look()
        demand(
            first.state == second.state and not second.events, "the same world twice changes nothing", self
        )
        if state.phase is not Phase.PAUSED:
            demand(set(sim.revisions) == {state.stable}, "nothing is left over", self)
            demand((sim.selected, sim.trial) == (state.stable, state.stable), "the Services agree", self)


FAULTS = (
    "edits", "replans", "says", "says", "measures", "measures", "measures", "loses_pods", "loses_pods",
    "finds_pods", "finds_pods", "deletes_by_hand", "resets_weights", "breaks_a_route", "mends_the_routes",
    "mends_the_routes", "scales", "forgets", "loses_a_slot", "gains_time",
)  # fmt: skip


def live(seed: int, looks: int, displacing: float = 0.0, by_pods: float = 0.0) -> Life:
    life = Life(seed, displacing, by_pods)
    life.run(looks)
    life.heal()
    return life


__all__ = ["Broken", "Life", "live"]
