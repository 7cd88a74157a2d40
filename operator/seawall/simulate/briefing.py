"""What a policy is told about the service it scales, and the sizes that follow from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seawall.simulate.kernel import Floats, Ints
from seawall.simulate.run import Scenario
from seawall.simulate.traces import Trace
from seawall.sizing.behavior import Behavior
from seawall.sizing.capacity import CapacityTable, Sizing
from seawall.sizing.montecarlo import simulate_pod
from seawall.sizing.profile import Dispatch, PodProfile

CLAIRVOYANT_LOAD = 0.9
TUNED_LOAD = 0.8


@dataclass(frozen=True)
class Briefing:
    """What policies are built from. `trace`, `true` and `drifted` are for those that may know the future."""

    trace: Trace
    scenario: Scenario
    profile: PodProfile
    """as the operator believes it"""
    slo_ms: float
    dispatch: Dispatch
    table: CapacityTable
    believed: Sizing
    """capacity by that profile"""
    true: Sizing
    """capacity of the pods as they are"""
    drifted: Sizing
    """and after the drift"""
    minimum: int
    maximum: int
    behavior: Behavior | None = None
    """of the autoscaler that people configure; None, as most do"""

    def clamp(self, replicas: int) -> int:
        return max(self.minimum, min(self.maximum, replicas))


def needed(briefing: Briefing) -> Ints:
    """Pods for every step of the trace, each at nine tenths of what it can take."""
    trace, scenario = briefing.trace, briefing.scenario
    rates, places = np.unique(trace.rates, return_inverse=True)
    counts = _counts(briefing.true, rates)[places]
    if scenario.drift:
        late = np.arange(len(counts)) * trace.step >= scenario.drift_from(trace.seconds)
        counts = np.where(late, _counts(briefing.drifted, rates)[places], counts)
    return counts


def _counts(sizing: Sizing, rates: Floats) -> Ints:
    return np.array([sizing.pods_for(float(rate) / CLAIRVOYANT_LOAD) for rate in rates], np.int64)


def tuned_rps(briefing: Briefing) -> float:
    """What an expert sets per pod who knows the capacity at the usual size of the service."""
    usual = briefing.believed.pods_for(briefing.trace.mean_rps / TUNED_LOAD)
    return TUNED_LOAD * briefing.believed.rps(usual)


def tuned_concurrency(briefing: Briefing) -> float:
    """The same expert's target for requests inside a pod, by Little's law."""
    rate = tuned_rps(briefing)
    pods = min(16, briefing.believed.pods_for(briefing.trace.mean_rps / TUNED_LOAD))
    rng = np.random.default_rng(0)
    found = simulate_pod(briefing.profile, np.array([rate]), np.ones(1), briefing.dispatch, pods, 4000, rng)
    return rate * (float(found.mean()) - briefing.profile.overhead_ms) / 1e3
