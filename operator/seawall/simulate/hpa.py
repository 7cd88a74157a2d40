"""The HorizontalPodAutoscaler of Kubernetes, as its controller behaves: one reconcile at a time.

Followed from the controller's source (stabilisation in both directions, tolerance fields, events of both
directions in the rate limits: 1.33 and later). Scale-to-zero is not modelled beyond what `min == 0` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from seawall.simulate.hpa_limits import normalise_plain
from seawall.simulate.hpa_metrics import TOLERANCE, Metric, MetricUnavailable, Pod, Tolerances, propose
from seawall.sizing.behavior import Behavior, History, normalise, record

SYNC_SECONDS = 15.0


@dataclass(frozen=True)
class Outcome:
    replicas: int
    rescaled: bool
    reason: str
    proposal: int | None = None


@dataclass
class HorizontalPodAutoscaler:
    minimum: int = 1
    maximum: int = 10
    behavior: Behavior | None = None
    history: History = field(default_factory=History)

    def reconcile(
        self,
        now: float,
        spec: int,
        pods: Sequence[Pod],
        metrics: Sequence[Metric],
        status: int | None = None,
        ambiguous: bool = False,
    ) -> Outcome:
        """`spec` and `status`: the scale's; status is spec unless given. `ambiguous`: another autoscaler
        selects some of these pods too."""
        if not self.history.proposals:
            self.history.proposals.append((now, spec))
        if spec == 0 and self.minimum != 0:
            return Outcome(0, False, "ScalingDisabled")
        if spec > self.maximum:
            return self._rescaled(now, spec, self.maximum, None, "above maxReplicas")
        if spec < self.minimum:
            return self._rescaled(now, spec, self.minimum, None, "below minReplicas")
        if ambiguous:
            return Outcome(spec, False, "AmbiguousSelector")
        proposal = self._proposal(now, spec, spec if status is None else status, pods, metrics)
        if proposal is None:
            return Outcome(spec, False, "FailedGetMetrics")
        desired = self._normalised(now, spec, proposal)
        return self._rescaled(now, spec, desired, proposal, "metric")

    def _proposal(
        self, now: float, spec: int, status: int, pods: Sequence[Pod], metrics: Sequence[Metric]
    ) -> int | None:
        """The largest; none when all failed, or when some failed and the rest would scale down."""
        found = []
        for metric in metrics:
            try:
                found.append(propose(metric, spec, status, pods, self._tolerances(), now))
            except MetricUnavailable:
                continue
        if not found or (len(found) < len(metrics) and max(found) < spec):
            return None
        return max(found)

    def _tolerances(self) -> Tolerances:
        if self.behavior is None:
            return Tolerances()
        up, down = self.behavior.up.tolerance, self.behavior.down.tolerance
        return Tolerances(TOLERANCE if down is None else down, TOLERANCE if up is None else up)

    def _normalised(self, now: float, spec: int, proposal: int) -> int:
        if self.behavior is None:
            return normalise_plain(self.history, now, spec, proposal, self.minimum, self.maximum)
        return normalise(self.history, self.behavior, now, spec, proposal, self.minimum, self.maximum)

    def _rescaled(self, now: float, spec: int, desired: int, proposal: int | None, reason: str) -> Outcome:
        if desired != spec and self.behavior is not None:
            record(self.history, now, spec, desired)
        return Outcome(desired, desired != spec, reason, proposal)
