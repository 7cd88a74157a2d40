"""Which differences between two assessments are worth a look at the service, and of which kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from seawall.decide.telling import acted_on, verdict
from seawall.decide.types import Assessment
from seawall.measure.types import Reading
from seawall.sizing.state import Decision, Terms

SLO_MS = 200.0
DECISION = Decision(
    replicas=3,
    reason="Demand",
    terms=Terms(3, 3, 0),
    load_ratio=0.8,
    demand_rps=40.0,
    capacity_rps=20.0,
    predicted_p99_ms=150.0,
    feasible=True,
    message="3 pods for 40 requests/s",
)
READING = Reading(at=0.0, source="TritonSummary", rate_15s=40.0, rate_60s=40.0, p99_ms=150.0)
SEEN = Assessment(
    revision="a1", reading=READING, decision=DECISION, load=2.4, profile="Measured", mode="Direct"
)


def reading(**changes: Any) -> dict[str, Any]:
    return {"reading": replace(READING, **changes)}


def decision(**changes: Any) -> dict[str, Any]:
    return {"decision": replace(DECISION, **changes)}


ACTED_ON = {
    "another count": decision(replicas=4),
    "the count is unknown": {"decision": None},
    "no request rate to decide by": decision(reason="NoData"),
    "no load to publish": {"load": None},
    "another mode": {"mode": "HPA"},
    "a profile was learned": {"profile": "Build"},
}
VERDICTS = {
    "the objective is missed": reading(p99_ms=200.5),
    "too many requests were late": reading(late_share=0.011),
    "the p99 is unknown": reading(p99_ms=None, trouble="NotEnoughRequests"),
    "another source tells it": reading(source="Gateway"),
    "no count meets the objective": decision(feasible=False),
    "pods do not take the latency away": decision(elsewhere_ms=3.0),
    "an idle pod is too slow": decision(reason="Infeasible"),
    "batches run slower than the profile says": {"drift": "Batches take 1.4 times as long."},
    "nothing was read": {"reading": None},
}
FIGURES = {
    "another p99 on the same side": reading(p99_ms=199.0),
    "other late requests on the same side": reading(late_share=None, p99_ms=180.0),
    "another load": {"load": 2.9},
    "another demand": decision(demand_rps=44.0, message="3 pods for 44 requests/s"),
    "another price": {"cost_per_1k": 0.2},
}


@pytest.mark.parametrize(
    ("changes", "at_once", "soon"),
    [(changes, True, None) for changes in ACTED_ON.values()]
    + [(changes, False, True) for changes in VERDICTS.values()]
    + [(changes, False, False) for changes in FIGURES.values()],
    ids=[*ACTED_ON, *VERDICTS, *FIGURES],
)
def test_what_is_told_at_once_and_what_soon(
    changes: dict[str, Any], at_once: bool, soon: bool | None
) -> None:
    now = replace(SEEN, **changes)
    assert (acted_on(now) != acted_on(SEEN)) == at_once
    if soon is not None:
        assert (verdict(now, SLO_MS, None) != verdict(SEEN, SLO_MS, None)) == soon


@pytest.mark.parametrize(
    ("before", "now", "missed"),
    [
        ({"p99_ms": 150.0}, {"p99_ms": 200.0}, False),
        ({"p99_ms": 150.0}, {"p99_ms": 201.0}, True),
        ({"p99_ms": 250.0}, {"p99_ms": 195.0}, True),
        ({"p99_ms": 250.0}, {"p99_ms": 189.0}, False),
        ({"late_share": 0.0}, {"late_share": 0.009}, False),
        ({"late_share": 0.5}, {"late_share": 0.009}, True),
        ({"late_share": 0.5}, {"late_share": 0.007}, False),
        ({"p99_ms": 250.0}, {"p99_ms": None, "late_share": None}, None),
    ],
)
def test_an_objective_that_was_missed_is_met_again_with_something_to_spare(
    before: dict[str, Any], now: dict[str, Any], missed: bool | None
) -> None:
    told = verdict(replace(SEEN, **reading(**before)), SLO_MS, None)
    assert verdict(replace(SEEN, **reading(**now)), SLO_MS, told).missed is missed


@pytest.mark.parametrize("p99_ms", [150.0, 195.0, 200.0, 250.0])
@pytest.mark.parametrize("missed_before", [False, True])
def test_the_same_reading_gives_the_same_verdict_again(p99_ms: float, missed_before: bool) -> None:
    seen = replace(SEEN, **reading(p99_ms=p99_ms))
    before = verdict(replace(SEEN, **reading(p99_ms=999.0 if missed_before else 1.0)), SLO_MS, None)
    once = verdict(seen, SLO_MS, before)
    assert verdict(seen, SLO_MS, once) == once
