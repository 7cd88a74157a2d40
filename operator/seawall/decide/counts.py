"""How many pods each revision is meant to have, and which of these numbers are the operator's to write.

Fixed, External and Direct are; so is a candidate's, which stays pinned until it has taken over. Under an
autoscaler the live count is nobody's business here. Whatever the mode: no data, no profile and no change of
mode makes a count smaller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from seawall.api.v1alpha1 import InferenceServiceSpec
from seawall.decide.actuator import OURS, Actuator, bounds_of, fixed_count
from seawall.decide.children import Revision
from seawall.decide.types import Assessment, Observed
from seawall.sizing.state import Bounds


@dataclass(frozen=True, slots=True)
class Counts:
    observed: Observed
    spec: InferenceServiceSpec | None
    actuator: Actuator | None
    existing: Mapping[str, Revision]

    def meant(self, name: str, stable: str | None) -> int:
        """Pods that this revision should have; the live number where somebody else says it."""
        said = self.said(name, stable)
        if said is not None:
            return said
        here = self.existing.get(name)
        return here.replicas if here is not None else 1

    def said(self, name: str, stable: str | None) -> int | None:
        """The number that is ours to write for the stable revision or the candidate; None: hands off."""
        here = self.existing.get(name)
        if self.spec is None or self.actuator is None:
            return None
        if not self.actuator.scaled:
            count = fixed_count(self.spec)
            return count if stable in (None, name) else max(1, count)
        limits = bounds_of(self.spec, self.actuator.mode)
        if name != stable:
            return self._candidate(name, stable, limits)
        return self._stable(here, limits)

    def _stable(self, here: Revision | None, limits: Bounds) -> int | None:
        if here is None:  # its Deployment has to be made again
            before = (self.observed.service.get("status") or {}).get("scaling") or {}
            return _within(int(before.get("desiredReplicas") or 0), limits)
        if here.replicas == 0:
            return limits.min_replicas  # no autoscaler wakes a count of 0
        if self.actuator is None or self.actuator.mode not in OURS:
            return None
        return _within(self._decided(here), limits)

    def _decided(self, here: Revision) -> int:
        assessment = self.observed.assessments.get(here.name)
        if assessment is None or assessment.decision is None:
            return here.replicas
        wanted = assessment.decision.replicas
        scaling = (self.observed.service.get("status") or {}).get("scaling") or {}
        lowers = assessment.mode == "Direct" and scaling.get("mode") == "Direct"
        if not lowers or assessment.decision.reason == "NoData":
            return max(wanted, here.replicas)
        return wanted

    def _candidate(self, name: str, stable: str | None, limits: Bounds) -> int:
        """Enough for all of the traffic at the moment when it takes over, and never fewer than before."""
        here, serving = self.existing.get(name), self.existing.get(stable or "")
        live = here.replicas if here is not None else 0
        assessment = self.observed.assessments.get(name)
        if serving is None:
            wanted = limits.min_replicas
        else:
            sized = _sized(assessment)
            wanted = serving.replicas if sized is None else sized
        return _within(max(live, wanted), limits)


def _sized(assessment: Assessment | None) -> int | None:
    """What a candidate needs for the traffic that it takes over, where its own profile tells."""
    if assessment is None or assessment.decision is None or assessment.decision.reason == "NoData":
        return None
    return assessment.decision.replicas


def _within(wanted: int, limits: Bounds) -> int:
    """Bounds of the user's go before all else, in both directions."""
    return min(max(wanted, limits.min_replicas), max(limits.max_replicas, limits.min_replicas))
