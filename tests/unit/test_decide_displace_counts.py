"""How many pods the stable revision needs for all of the traffic, while it has all of it and while it has not."""

from __future__ import annotations

from typing import Any

import pytest

from seawall.decide.counts import Counts
from seawall.decide.rollout_state import RolloutState
from seawall.decide.types import Assessment
from seawall.measure.types import Reading
from seawall.sizing.state import Decision, Terms
from support.rollout_sim import A, B
from support.town import Town

BESIDE = RolloutState(stable=A, candidate=B, step=1, steps=2, weight=50, observed=50, need=3)


def assessed(rate: float | None, terms: tuple[int, int, int] = (3, 3, 0), **over: Any) -> Assessment:
    base: dict[str, Any] = {"reason": "Demand", "capacity_rps": 100.0, "feasible": True}
    decision = Decision(
        replicas=5, terms=Terms(*terms), load_ratio=None, demand_rps=rate, predicted_p99_ms=None,
        message="as told", **(base | over),
    )  # fmt: skip
    return Assessment("", Reading(0.0, "Triton", rate, rate), decision)


def counted(state: RolloutState, told: dict[str, Assessment]) -> tuple[int | None, int | None]:
    counts = Counts(Town().observed(assessments=told), None, None, {})
    return counts.need(state), counts.instead(state)


ALL = RolloutState(stable=A, candidate=B)
NEEDS: dict[str, tuple[RolloutState, dict[str, Assessment], tuple[int | None, int | None]]] = {
    "nobody has measured": (ALL, {}, (None, None)),
    "the rate is unknown": (ALL, {A: assessed(None, reason="NoData")}, (None, None)),
    "no number of pods meets the objective": (ALL, {A: assessed(99.0, feasible=False)}, (None, None)),
    "the law's largest term, whatever the bounds are": (ALL, {A: assessed(250.0, (2, 3, 4))}, (4, 4)),
    "a candidate that carries half": (
        ALL, {A: assessed(250.0), B: assessed(None, capacity_rps=50.0)}, (3, 6)
    ),
    "what was needed before stands": (BESIDE, {A: assessed(100.0), B: assessed(100.0)}, (3, 3)),
    "both together are asked for more": (BESIDE, {A: assessed(250.0), B: assessed(210.0)}, (5, 5)),
    "requests are heavier than the model thinks": (
        BESIDE, {A: assessed(150.0, (2, 4, 0)), B: assessed(150.0)}, (6, 6)
    ),
    "the candidate's rate is unknown": (BESIDE, {A: assessed(100.0)}, (None, None)),
    "the candidate has lost its weight for a moment": (
        RolloutState(stable=A, candidate=B, step=1, need=3), {A: assessed(90.0, (1, 1, 0))}, (3, 3)
    ),
}  # fmt: skip


@pytest.mark.parametrize(("state", "told", "wanted"), NEEDS.values(), ids=NEEDS)
def test_the_need_is_of_all_of_the_traffic(
    state: RolloutState, told: dict[str, Assessment], wanted: tuple[int | None, int | None]
) -> None:
    assert counted(state, told) == wanted
