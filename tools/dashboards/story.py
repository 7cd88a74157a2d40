"""A morning of three services, made up: traffic that swells, a canary, a service that is too slow.

The figures are the story's. What is told of them is the operator's own: the status goes through the code that
makes its metrics, so that a series which it renames is missing in the dashboards' tests.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from dashboards.plot import BUILDS, PLOTS, Arm, Plot, swell
from dashboards.triton_text import Pod
from seawall.api.units import parse_duration
from seawall.decide.types import Key
from seawall.desired.monitoring import Promise, rule_groups
from seawall.desired.names import Owner
from seawall.runtime.figures import ArmFigures, service_figures
from seawall.runtime.telemetry import Telemetry

STEP_SECONDS = 5
"""As often as pods are scraped."""
LATE_ALLOWED = 0.01
STEPS = (0.05, 0.10, 0.25, 0.50)


class Service:
    def __init__(self, plot: Plot) -> None:
        self.plot = plot
        self.stable = Arm(plot, "r7")
        self.candidate: Arm | None = None
        self.total = plot.counted
        self.good = plot.counted * plot.attained
        self.wanted = 1
        self.calm = 0.0
        self.step = 0
        self.walked = 0.0
        self.weight = 0.0
        self.phase = "Idle"
        self.reason = "Demand"
        self.rps = 0.0

    def go_on(self, share: float, seconds: float) -> None:
        self.rps = swell(share, self.plot)
        self._size(seconds)
        self._roll(share, seconds)
        weight = self.weight if self.candidate is not None else 0.0
        self.stable.resize(self.wanted)
        good = self.stable.serve(
            self.rps * (1 - weight), seconds, 2.4 if share > self.plot.late_from else 1.0
        )
        if self.candidate is not None:
            self.candidate.resize(max(1, math.ceil(self.wanted * max(weight, 0.1))))
            good += self.candidate.serve(self.rps * weight, seconds, self.plot.worse)
        self.total += self.rps * seconds
        self.good += good

    def _size(self, seconds: float) -> None:
        """Up at once, down after five calm minutes."""
        needed = max(1, math.ceil(self.rps / self.plot.carries * 1.12))
        self.calm = self.calm + seconds if needed < self.wanted else 0.0
        if needed > self.wanted:
            self.wanted, self.reason = needed, "Demand"
        elif self.calm > 300:
            self.wanted, self.reason, self.calm = needed, "Demand", 0.0
        elif self.stable.p99 > parse_duration(self.plot.slo):
            self.reason = "Infeasible"
        elif self.wanted == 1:
            self.reason = "MinReplicas"
        else:
            self.reason = "Stable"

    def _roll(self, share: float, seconds: float) -> None:
        if self.plot.canary_from is None or share < self.plot.canary_from:
            return
        if self.candidate is None:
            self.candidate = Arm(self.plot, "r8")
        self.walked += seconds
        if self.walked < 90:
            self.phase = "Starting" if self.walked < 60 else "Verifying"
            return
        if self.plot.worse > 1.2 and self.walked > 240:
            self.phase, self.weight = "Paused", 0.0
            return
        self.step = min(len(STEPS) - 1, int((self.walked - 90) // 900))
        self.weight, self.phase = STEPS[self.step], "Stepping"

    def evidence(self) -> list[dict[str, str]]:
        """Grows in the step at hand; of a worse candidate the other way."""
        since = max(0.0, self.walked - 90)
        inside = (since - 900 * self.step) / 900
        if self.plot.worse > 1.2:
            for_it, against = -0.4, min(5.2, since / 28)
        else:
            for_it, against = 3.2 * min(1.0, inside * 1.1), -0.2 - 0.9 * min(1.0, since / 1800)
        found = {"latency": (against, for_it), "errors": (against / 3, for_it * 0.93 + 0.1)}
        return [
            {"metric": metric, "logERollback": f"{back:.3f}", "logEPass": f"{on:.3f}"}
            for metric, (back, on) in found.items()
        ]

    def status(self, now: datetime) -> dict[str, Any]:
        """As the operator would write it."""
        late = self.stable.p99 > parse_duration(self.plot.slo)
        at_work = self.phase not in ("Idle", "Starting", "Verifying")
        rollout: dict[str, Any] = {"stableRevision": "r7", "phase": self.phase}
        if self.candidate is not None:
            rollout["candidateRevision"] = "r8"
        if at_work:
            rollout |= {"step": self.step, "steps": len(STEPS), "observedWeight": round(100 * self.weight)}
            rollout["analysis"] = {"metrics": self.evidence()}
        if self.phase == "Paused":
            rollout["pause"] = {"reason": "Regression", "since": now.isoformat().replace("+00:00", "Z")}
        return {
            "slo": {"target": self.plot.slo, "days": [{"total": int(self.total)}]},
            "scaling": {"mode": "Direct", "desiredReplicas": self.wanted, "reason": self.reason},
            "rollout": rollout,
            "conditions": _conditions(late=late, stopped=self.phase == "Paused"),
        }

    def arms(self) -> Iterator[tuple[str, ArmFigures]]:
        late = 1 - self.good / self.total
        for arm in (self.stable, self.candidate):
            if arm is None:
                continue
            share = self.weight if arm is self.candidate else 1 - self.weight
            rps, plot = self.rps * share, self.plot
            hourly = rps * 3.6 or math.inf
            load = rps / (plot.carries * len(arm.pods))
            watts = plot.watts[0] + (plot.watts[1] - plot.watts[0]) * min(1.0, 0.8 * load)
            yield (
                arm.revision,
                ArmFigures(
                    p99_seconds=arm.p99 if rps else None,
                    slo_attainment_ratio=1 - late,
                    slo_error_budget_remaining_ratio=1 - late / LATE_ALLOWED,
                    slo_load_ratio=arm.p99 / parse_duration(plot.slo) if rps else None,
                    scaling_load=rps / plot.carries * 1.12,
                    ready_replicas=len(arm.pods),
                    capacity_rps=plot.carries,
                    demand_rps=rps,
                    cost_per_1k_requests=len(arm.pods) * plot.price / hourly if rps else None,
                    energy_joules_per_1k_requests=len(arm.pods) * watts / rps * 1000 if rps else None,
                ),
            )


def _conditions(*, late: bool, stopped: bool) -> list[dict[str, str]]:
    told = {
        "Ready": ("True", "Ready"),
        "ModelReady": ("True", "Verified"),
        "ScalingReady": ("True", "Scaling"),
        "LatencyMetricAvailable": ("True", "Measured"),
        "SLOFeasible": ("False", "Infeasible") if late else ("True", "Feasible"),
        "SLOMet": ("False", "AboveTarget") if late else ("True", "Met"),
        "RolloutHealthy": ("False", "Regression") if stopped else ("True", "Healthy"),
    }
    return [{"type": kind, "status": status, "reason": reason} for kind, (status, reason) in told.items()]


class Story:
    """Goes from 0 to 1 in `seconds`."""

    def __init__(self, seconds: float, began: float) -> None:
        self.seconds, self.now, self.began = seconds, began, began
        self.telemetry, self.standby = Telemetry(), Telemetry()
        self.telemetry.leading.set(1)
        self.services = [Service(plot) for plot in PLOTS]
        self.looks = 0.0

    def go_on(self, seconds: float) -> None:
        self.now += seconds
        share = (self.now - self.began) / self.seconds
        told = self.telemetry
        for service in self.services:
            service.go_on(share, seconds)
            key = Key(service.plot.namespace, service.plot.name)
            status = service.status(datetime.fromtimestamp(self.now, UTC))
            told.service(key, service_figures(status, {}, 20))
            told.arms.update({(key, revision): figures for revision, figures in service.arms()})
        self._busy(seconds, share)
        for build, ready_from in BUILDS.items():
            told.build(build, "Succeeded" if share > ready_from else "Running", used=True)

    def _busy(self, seconds: float, share: float) -> None:
        """The operator's own work."""
        told = self.telemetry
        for result, every in {"requeued": 4.0, "ok": 0.7, "retried": 0.02, "error": 0.004}.items():
            told.reconciles.labels(result).inc(every * seconds * (1 + share))
        self.looks += seconds
        for at in range(int(self.looks - seconds), int(self.looks)):
            told.seconds.observe(0.004 + 0.03 * ((at * 7919) % 11 == 0) + 0.004 * share)
        told.ticks.observe(0.08 + 0.05 * share)
        told.depth.set(int(3 * (1 + math.sin(200 * share))))
        told.oldest.set(0.4 + 0.3 * math.sin(200 * share))
        calls = {("patch", "inferenceservices/status", "200"): 1.4, ("get", "leases", "200"): 0.5}
        calls |= {("patch", "deployments", "200"): 0.2, ("patch", "inferenceservices/status", "409"): 0.02}
        for (verb, resource, code), every in calls.items():
            told.calls.labels(verb, resource, code).inc(every * seconds)

    def operators(self) -> dict[str, Telemetry]:
        """Pod -> what it tells."""
        return {"seawall-5d9c7f-x2x7p": self.telemetry, "seawall-5d9c7f-qk4bz": self.standby}

    def pods(self) -> Iterator[Pod]:
        for service in self.services:
            yield from service.stable.pods
            if service.candidate is not None:
                yield from service.candidate.pods

    @staticmethod
    def rules() -> Mapping[str, Any]:
        """The rule file: what the operator writes for each service."""
        groups = []
        for plot in PLOTS:
            owner = Owner(plot.name, plot.namespace, f"u-{plot.name}")
            made = rule_groups(owner, Promise(parse_duration(plot.slo), "99.9%"))
            groups += [{**group, "name": f"{plot.namespace}-{group['name']}"} for group in made]
        return {"groups": groups}
