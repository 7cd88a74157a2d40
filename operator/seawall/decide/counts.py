"""How many pods each revision is meant to have, and which of these numbers are the operator's to write.

Fixed, External and Direct are; so is a candidate's, which stays pinned until it has taken over: to what its
share of the traffic needs while it is analysed, to what all of the traffic needs where it takes over at once.
Under an autoscaler the live count is nobody's business here. Whatever the mode: no data, no profile and no
change of mode makes a count smaller.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from seawall.api.v1alpha1 import InferenceServiceSpec
from seawall.decide.actuator import OURS, Actuator, bounds_of, fixed_count
from seawall.decide.children import Revision
from seawall.decide.rollout_state import RolloutState
from seawall.decide.types import Assessment, Observed
from seawall.sizing.state import Bounds


@dataclass(frozen=True, slots=True)
class Counts:
    observed: Observed
    spec: InferenceServiceSpec | None
    actuator: Actuator | None
    existing: Mapping[str, Revision]
    stepwise: bool = False
    """a candidate takes over step by step"""

    def meant(self, name: str, state: RolloutState) -> int:
        """Pods that this revision should have; the live number where somebody else says it."""
        said = self.said(name, state)
        if said is not None:
            return said
        here = self.existing.get(name)
        return here.replicas if here is not None else 1

    def said(self, name: str, state: RolloutState) -> int | None:
        """The number that is ours to write for the stable revision or the candidate; None: hands off."""
        if self.spec is None or self.actuator is None or name == state.previous:
            return None
        here, stable = self.existing.get(name), state.stable
        if state.displaced is not None and name == state.candidate and stable is not None:
            return state.pods or 1
        if state.displaced is not None and name == stable:
            return self.left_over(state) if self.actuator.mode in OURS else None
        if self.stepwise and name != stable and stable is not None:
            return self._of_step(here, state)
        if not self.actuator.scaled:
            count = fixed_count(self.spec)
            return count if stable in (None, name) else max(1, count)
        limits = bounds_of(self.spec, self.actuator.mode)
        if name != stable:
            live = here.replicas if here is not None else 0
            return _within(max(live, self._for_all(name, stable, limits)), limits)
        count_of_stable = self._stable(here, limits)
        return max(count_of_stable, state.floor or 0) if count_of_stable is not None else None

    @staticmethod
    def left_over(state: RolloutState) -> int | None:
        """Pods of the stable revision while a candidate takes places of them, whatever the load says."""
        if state.displaced is None or state.floor is None:
            return None
        return max(1, state.floor - state.displaced)

    def need(self, state: RolloutState) -> int | None:
        """Pods that the stable revision needs for all of the traffic. The law knows it while that revision
        has all of it; then what it has said stands, or more where the two are asked for more."""
        assessment = self.observed.assessments.get(state.stable or "")
        decision = assessment.decision if assessment is not None else None
        if decision is None or decision.reason == "NoData" or not decision.feasible:
            return None
        terms = decision.terms
        if state.weight == 0 and not state.observed:
            before = state.need or 0 if state.step is not None else 0
            return max(terms.feed_forward, terms.feedback, terms.backlog, before)
        rates = [self._rate(state.stable), self._rate(state.candidate)]
        if state.need is None or not decision.capacity_rps or None in rates:
            return None
        heavier = max(1.0, terms.feedback / max(1, terms.feed_forward))
        return max(state.need, math.ceil(sum(r or 0.0 for r in rates) * heavier / decision.capacity_rps))

    def instead(self, state: RolloutState) -> int | None:
        """Pods that the candidate needs for all of the traffic, where the stable revision's need is known."""
        need = self.need(state)
        if need is None:
            return None
        pods = [self._capacity(state.stable), self._capacity(state.candidate)]
        return need if not all(pods) else math.ceil(need * (pods[0] or 1.0) / (pods[1] or 1.0))

    def _capacity(self, name: str | None) -> float | None:
        found = self.observed.assessments.get(name or "")
        return found.decision.capacity_rps if found is not None and found.decision is not None else None

    def _rate(self, name: str | None) -> float | None:
        found = self.observed.assessments.get(name or "")
        reading = found.reading if found is not None else None
        if reading is None or reading.rate_15s is None or reading.rate_60s is None:
            return None
        return max(reading.rate_15s, reading.rate_60s)

    def full(self, name: str | None, stable: str | None) -> int:
        """Pods that a candidate needs for all of the traffic."""
        if self.spec is None or self.actuator is None:
            return 1
        if not self.actuator.scaled:
            return max(1, fixed_count(self.spec))
        limits = bounds_of(self.spec, self.actuator.mode)
        return _within(self._for_all(name or "", stable, limits), limits)

    @staticmethod
    def _of_step(here: Revision | None, state: RolloutState) -> int:
        """Never fewer than there are: pods that have answered are not thrown away on the way up."""
        return max(here.replicas if here is not None else 0, state.pods or 1)

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

    def _for_all(self, name: str, stable: str | None, limits: Bounds) -> int:
        """Enough for all of the traffic at the moment when it takes over."""
        serving = self.existing.get(stable or "")
        if serving is None:
            return limits.min_replicas
        sized = _sized(self.observed.assessments.get(name))
        return serving.replicas if sized is None else sized


def _sized(assessment: Assessment | None) -> int | None:
    """What a candidate needs for the traffic that it takes over, where its own profile tells."""
    if assessment is None or assessment.decision is None or assessment.decision.reason == "NoData":
        return None
    return assessment.decision.replicas


def _within(wanted: int, limits: Bounds) -> int:
    """Bounds of the user's go before all else, in both directions."""
    return min(max(wanted, limits.min_replicas), max(limits.max_replicas, limits.min_replicas))
