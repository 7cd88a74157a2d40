"""What the operator tells Prometheus of each service and build, computed when Prometheus asks.

A thousand services as objects of prometheus_client would cost megabytes. Only the replica that leads fills
the figures, so that a standby tells of no service.
"""

from __future__ import annotations

import math
from collections import Counter as Counted
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from seawall.decide.types import Key
from seawall.runtime.figures import ArmFigures, Progress, RolloutFigures, ServiceFigures

PHASES = ("Pending", "Running", "Succeeded", "Refused", "Failed")
SERVICE_SERIES = {
    "slo_target_seconds": "The p99 latency asked for, in seconds.",
    "desired_replicas": "Pods that the service shall have.",
    "max_replicas": "Pods that the service may have at most, where it is scaled.",
    "slo_requests": "Requests within the SLO's window, from which attainment and budget are counted.",
}
ARM_SERIES = {
    "p99_seconds": "The p99 latency of the last minute, in seconds.",
    "slo_attainment_ratio": "Share of requests within the SLO, over the SLO's window.",
    "slo_error_budget_remaining_ratio": "Share of the error budget that is left; negative when overspent.",
    "slo_load_ratio": "The observed p99 as load: 1 is exactly at capacity.",
    "scaling_load": "The load in pods, by which autoscalers size the revision.",
    "ready_replicas": "Pods that receive traffic.",
    "capacity_rps": "Requests per second that one pod carries within the SLO.",
    "demand_rps": "Requests per second that the revision is sized for.",
    "cost_per_1k_requests": "Price of a thousand requests, in the class's currency.",
    "energy_joules_per_1k_requests": "Energy of a thousand requests, in joules.",
}
SERVICE = ["namespace", "inferenceservice"]
LABELS = [*SERVICE, "revision"]

Labelled = tuple[tuple[str, ...], float]


@dataclass(slots=True)
class Clocked:
    """Since when each rollout is where it is. The status remembers no such time but that of a pause, so a
    process that starts takes the moment at which it looks first: an alert comes late rather than wrongly."""

    _since: dict[Key, tuple[tuple[object, ...], float]] = field(default_factory=dict)

    def note(self, key: Key, progress: Progress | None, now: float) -> None:
        if progress is None:
            self.forget(key)
        elif key not in self._since or self._since[key][0] != progress.mark:
            self._since[key] = progress.mark, now

    def forget(self, key: Key) -> None:
        self._since.pop(key, None)

    def since(self, key: Key, progress: Progress) -> float | None:
        if progress.pause is not None:
            return progress.pause
        found = self._since.get(key)
        return found[1] if found is not None else None


class Services(Collector):
    def __init__(
        self,
        figures: Mapping[Key, ServiceFigures],
        arms: Mapping[tuple[Key, str], ArmFigures],
        clocked: Clocked,
    ) -> None:
        self._figures = figures
        self._arms = arms
        self._clocked = clocked

    def collect(self) -> Iterator[GaugeMetricFamily]:
        known = list(self._figures.items())
        services = [((key.namespace, key.name, each.revision), each) for key, each in known]
        yield from _by_field(SERVICE_SERIES, services)
        arms = [((key.namespace, key.name, revision), f) for (key, revision), f in list(self._arms.items())]
        yield from _by_field(ARM_SERIES, arms)
        yield _family(
            "scaling_reason",
            "Why the count is what it is: 1 for the reason of the moment.",
            [*LABELS, "reason"],
            [((*labels, each.scaling_reason), 1) for labels, each in services if each.scaling_reason],
        )
        yield from _condition_families(known)
        yield from _rollout_families([(labels[:2], each.rollout) for labels, each in services])
        yield from self._progress_families(known)

    def _progress_families(self, known: Sequence[tuple[Key, ServiceFigures]]) -> Iterator[GaugeMetricFamily]:
        going = [(key, each.progress) for key, each in known if each.progress is not None]
        yield _family(
            "rollout_phase",
            "What a rollout is at: 1 for the phase of the moment; none while there is no rollout.",
            [*LABELS, "phase"],
            [((key.namespace, key.name, each.revision, each.phase), 1) for key, each in going],
        )
        moments = [(key, self._clocked.since(key, each)) for key, each in going]
        yield _family(
            "rollout_progress_timestamp_seconds",
            "When a rollout last got on: its phase, step, weight or pods changed, or it began to wait for a"
            " person.",
            SERVICE,
            [((key.namespace, key.name), since) for key, since in moments if since is not None],
        )


def _family(name: str, text: str, labels: Sequence[str], samples: Iterable[Labelled]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"seawall_{name}", text, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _by_field(
    series: Mapping[str, str], figures: Sequence[tuple[tuple[str, str, str], object]]
) -> Iterator[GaugeMetricFamily]:
    for name, text in series.items():
        found = [(labels, getattr(each, name)) for labels, each in figures]
        told = [(labels, value) for labels, value in found if value is not None and math.isfinite(value)]
        yield _family(name, text, LABELS, told)


def _condition_families(known: Sequence[tuple[Key, ServiceFigures]]) -> Iterator[GaugeMetricFamily]:
    found = [((key.namespace, key.name), condition) for key, each in known for condition in each.conditions]
    yield _family(
        "condition",
        "A condition of the service: 1 true, 0 false, -1 unknown.",
        [*SERVICE, "type"],
        [((*labels, kind), value) for labels, (kind, value, _) in found],
    )
    yield _family(
        "condition_reason",
        "Why a condition of the service is not true: 1 for the reason of the moment.",
        [*SERVICE, "type", "reason"],
        [((*labels, kind, reason), 1) for labels, (kind, value, reason) in found if value != 1],
    )


def _rollout_families(
    services: Sequence[tuple[tuple[str, ...], RolloutFigures | None]],
) -> Iterator[GaugeMetricFamily]:
    going = [((*labels, each.revision), each) for labels, each in services if each is not None]
    yield _family(
        "rollout_weight_ratio",
        "Share of the traffic that the routes give a candidate.",
        LABELS,
        [(labels, each.weight) for labels, each in going if each.weight is not None],
    )
    yield _family(
        "rollout_evidence",
        "Evidence for rolling a candidate back, or for passing its step: a natural logarithm.",
        [*LABELS, "metric", "direction"],
        [
            ((*labels, metric, direction), value)
            for labels, each in going
            for metric, direction, value in each.evidence
        ],
    )
    yield _family(
        "rollout_step",
        "Steps of its plan that a candidate has passed.",
        LABELS,
        [(labels, each.step) for labels, each in going if each.step is not None],
    )
    yield _family(
        "rollout_steps",
        "Steps that a candidate's plan has.",
        LABELS,
        [(labels, each.steps) for labels, each in going if each.steps is not None],
    )


class Builds(Collector):
    def __init__(self, phases: Mapping[Key, str], used: set[Key]) -> None:
        self._phases = phases
        self._used = used

    def collect(self) -> Iterator[GaugeMetricFamily]:
        phases = dict(self._phases)
        found = Counted(phases.values())
        yield _family(
            "builds", "ModelBuilds, by phase.", ["phase"], [((phase,), found[phase]) for phase in PHASES]
        )
        yield _family(
            "build_phase",
            "A ModelBuild that somebody uses: 1 for the phase of the moment.",
            ["namespace", "modelbuild", "phase"],
            [
                ((key.namespace, key.name, phase), 1)
                for key, phase in sorted(phases.items(), key=lambda item: str(item[0]))
                if key in self._used
            ],
        )
