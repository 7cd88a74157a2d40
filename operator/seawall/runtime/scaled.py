"""One service's scaling, as the leader remembers it: its revisions, what was measured, what is public.

Public is what the service's own look at itself is given. It changes at once when a decision does, twice a
minute at most when only the verdict of a condition does, and once a minute when only figures do: every
reconcile in between finds the same figures and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from seawall.canary.counts import Counts
from seawall.canary.cutter import Cutter
from seawall.canary.window import Window
from seawall.decide.arms import Arm
from seawall.decide.objective import tally
from seawall.decide.scaling import Memory, assess_all, profile_of
from seawall.decide.telling import Verdict, acted_on, verdict
from seawall.decide.types import Assessment, Budget, Windows
from seawall.measure.budget import Ledger
from seawall.measure.types import ArmSample, Reading
from seawall.measure.window import Series
from seawall.ports import Target
from seawall.runtime.tables import Tables
from seawall.runtime.telemetry import ArmFigures
from seawall.sizing.calibration import BatchCount
from seawall.sizing.profile import Dispatch

FIGURES_SECONDS = 60.0
VERDICTS_SECONDS = 30.0
"""Between two verdicts that are told: a latency just at its objective is no reason to write all the time."""

News = Literal["", "Decision", "Verdict", "Figures"]
Batches = Mapping[str, tuple[BatchCount, ...]]


@dataclass(frozen=True, slots=True)
class Dispatching:
    """How requests find a pod, by where their latency is measured."""

    service: Dispatch = "random"
    gateway: Dispatch = "p2c"

    def of(self, reading: Reading | None) -> Dispatch:
        return self.gateway if reading is not None and reading.source == "Gateway" else self.service


@dataclass(slots=True)
class Scaled:
    """`versions` and `read_at`: of what the arms were made from."""

    arms: tuple[Arm, ...] = ()
    versions: tuple[object, ...] = ()
    read_at: float = float("-inf")
    series: dict[str, Series] = field(default_factory=dict)
    """by revision, as all that follows"""
    batches: dict[str, Batches] = field(default_factory=dict)
    """asked of the pods, to go with the next sample"""
    memories: dict[str, Memory] = field(default_factory=dict)
    assessments: Mapping[str, Assessment] = field(default_factory=dict)
    ledger: Ledger | None = None
    budget: Budget | None = None
    shown: tuple[Mapping[str, Assessment], Budget | None] = field(default_factory=lambda: ({}, None))
    shown_at: float = float("-inf")
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    """of what is shown"""
    judged_at: float = float("-inf")
    """when another verdict was last told"""
    cutter: Cutter | None = None
    windows: Windows = field(default_factory=Windows)
    counts: Counts = field(default_factory=Counts)

    def settle(self, arms: tuple[Arm, ...]) -> None:
        """These are its revisions now. One that was promoted goes by another name from then on."""
        before = {arm.revision: arm.backends for arm in self.arms}
        for arm in arms:
            series = self.series.get(arm.revision)
            if series is not None and before.get(arm.revision, arm.backends) != arm.backends:
                series.forget_gateways()
        self.arms = arms

    def targets(self) -> list[Target]:
        """Revisions that have pods to be asked."""
        return [_target(arm) for arm in self.arms if arm.pods]

    def take(self, revision: str, sample: ArmSample) -> None:
        asked = self.batches.pop(revision, {})
        if asked:
            pods = tuple(replace(p, batches=asked.get(p.pod, p.batches)) for p in sample.pods)
            sample = replace(sample, pods=pods)
        self.series.setdefault(revision, Series()).add(sample)

    def cut(self, now: float) -> bool:
        """The windows that are due; whether there is news of them."""
        stable = next((arm for arm in self.arms if arm.role == "Stable"), None)
        candidate = next((arm for arm in self.arms if arm.role == "Candidate"), None)
        if stable is None or stable.window_seconds is None:
            self.cutter, self.windows, self.counts = None, Windows(), Counts()
            return False
        if self.cutter is None or self.cutter.seconds != stable.window_seconds:
            self.cutter = Cutter(stable.window_seconds)
        cutter = self.cutter
        changed = cutter.follow(stable.revision, candidate.revision if candidate is not None else "")
        self._follow(stable, cutter)
        news = cutter.cut(now, self._asked(stable), self._asked(candidate), stable.slo_ms)
        if news or changed:
            self.show()
        return news and not self.waiting()

    def _follow(self, arm: Arm, cutter: Cutter) -> None:
        values = {"namespace": arm.namespace, "name": arm.service}
        values |= {"stable": cutter.stable, "candidate": cutter.candidate}
        templates = arm.templates if cutter.candidate else ()
        self.counts.follow(templates, values, cutter.seconds, tuple(cutter.closed))

    def waiting(self) -> list[Window]:
        """Windows that are public once Prometheus has been asked about them."""
        return self.counts.due(self.cutter.closed) if self.cutter is not None else []

    def show(self) -> None:
        cutter = self.cutter
        if cutter is not None:
            told = self.counts.completed(tuple(cutter.closed))
            self.windows = Windows(told, cutter.trouble, cutter.message)

    def _asked(self, arm: Arm | None) -> Series | None:
        return self.series.get(arm.revision) if arm is not None and arm.pods else None

    def assess(self, now: float, tables: Tables, dispatching: Dispatching) -> None:
        arms = [self._completed(now, arm, tables, dispatching) for arm in self.arms]
        self.assessments, self.memories = assess_all(now, arms, self.memories)
        tallied = tally(self.ledger, arms, datetime.fromtimestamp(now, UTC))
        if tallied is not None:
            self.ledger, self.budget = tallied
        alive = {arm.revision for arm in self.arms}
        for of_each in (self.series, self.batches):
            for gone in of_each.keys() - alive:
                del of_each[gone]

    def _completed(self, now: float, arm: Arm, tables: Tables, dispatching: Dispatching) -> Arm:
        """With its reading, and with its table where there is one by now."""
        series = self.series.get(arm.revision)
        reading = series.reading(now, arm.slo_ms) if series is not None else None
        profile, _ = profile_of(arm, self.memories.get(arm.revision, Memory()))
        table = tables.get(profile, dispatching.of(reading), arm.slo_ms) if profile is not None else None
        return replace(arm, reading=reading, table=table)

    def publish(self, now: float) -> News:
        """What of it has changed in public; nothing if the service deserves no look."""
        verdicts = self._verdicts()
        news = self._news(now, verdicts)
        if not news:
            return "Decision" if self._on_its_way() else ""
        if verdicts != self.verdicts:
            self.verdicts, self.judged_at = verdicts, now
        self.shown, self.shown_at = (self.assessments, self.budget), now
        return news

    def _news(self, now: float, verdicts: Mapping[str, Verdict]) -> News:
        before, budget = self.shown
        if _acted_on(self.assessments) != _acted_on(before):
            return "Decision"
        if verdicts != self.verdicts and not 0 <= now - self.judged_at < VERDICTS_SECONDS:
            return "Verdict"
        if 0 <= now - self.shown_at < FIGURES_SECONDS:
            return ""
        return "Figures" if _figures(self.assessments, self.budget) != _figures(before, budget) else ""

    def _verdicts(self) -> dict[str, Verdict]:
        objectives = {arm.revision: arm.slo_ms for arm in self.arms}
        return {
            revision: verdict(assessment, objectives[revision], self.verdicts.get(revision))
            for revision, assessment in self.assessments.items()
        }

    def flows(self, now: float) -> bool:
        """Windows come one after the other, and each has the service looked at."""
        cutter, closed = self.cutter, self.windows.closed
        return cutter is not None and bool(closed) and now - closed[-1].end <= 2 * cutter.seconds

    def learns(self, revision: str) -> bool:
        """Requests come, and nothing but their service times is missing to size it."""
        assessment = self.assessments.get(revision)
        reading = assessment.reading if assessment is not None else None
        busy = reading is not None and bool(reading.rate_15s)
        return busy and assessment is not None and assessment.profile == "None"

    def _on_its_way(self) -> bool:
        """The operator itself is still bringing a count to where it is wanted, as fast as it may."""
        return any(
            arm.mode == "Direct"
            and arm.role == "Stable"
            and (decision := self.assessments[arm.revision].decision) is not None
            and decision.replicas != arm.replicas
            for arm in self.arms
        )

    def telemetry(self) -> dict[str, ArmFigures]:
        stable = next((arm.revision for arm in self.arms if arm.role == "Stable"), "")
        return {
            arm.revision: _arm_figures(
                arm, self.assessments.get(arm.revision), self.budget if arm.revision == stable else None
            )
            for arm in self.arms
        }


def _target(arm: Arm) -> Target:
    return Target(
        namespace=arm.namespace,
        service=arm.service,
        revision=arm.revision,
        model=arm.model,
        slo_ms=arm.slo_ms,
        pods=arm.pods,
        started=arm.started,
        backends=arm.backends,
    )


def _acted_on(assessments: Mapping[str, Assessment]) -> dict[str, tuple[object, ...]]:
    return {revision: acted_on(assessment) for revision, assessment in assessments.items()}


def _figures(assessments: Mapping[str, Assessment], budget: Budget | None) -> Sequence[object]:
    """As exact as the status tells them: a difference beyond that is none."""
    found: list[object] = [budget]
    for revision, each in sorted(assessments.items()):
        reading, decision = each.reading, each.decision
        found += [revision, each.load, each.drift, _digits(each.cost_per_1k), _digits(each.joules_per_1k)]
        if reading is not None:
            found += [_whole(reading.p99_ms), reading.message]
        if decision is not None:
            found += [decision.reason, _digits(decision.demand_rps), _digits(decision.capacity_rps)]
    return found


def _whole(number: float | None) -> str | None:
    return None if number is None else f"{number:.0f}"


def _digits(number: float | None) -> str | None:
    return None if number is None else f"{number:.3g}"


def _arm_figures(arm: Arm, assessment: Assessment | None, budget: Budget | None) -> ArmFigures:
    if assessment is None:
        return ArmFigures(ready_replicas=arm.ready)
    reading, decision = assessment.reading, assessment.decision
    p99 = reading.p99_ms if reading is not None else None
    return ArmFigures(
        p99_seconds=p99 / 1000 if p99 is not None else None,
        slo_attainment_ratio=budget.attainment if budget is not None else None,
        slo_error_budget_remaining_ratio=budget.remaining if budget is not None else None,
        slo_load_ratio=decision.load_ratio if decision is not None else None,
        scaling_load=assessment.load,
        ready_replicas=arm.ready,
        capacity_rps=decision.capacity_rps if decision is not None else None,
        demand_rps=decision.demand_rps if decision is not None else None,
        cost_per_1k_requests=assessment.cost_per_1k,
        energy_joules_per_1k_requests=assessment.joules_per_1k,
    )
