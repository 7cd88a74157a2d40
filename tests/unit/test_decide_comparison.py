"""What a quality step asks of whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from seawall.canary.judge import Settings
from seawall.decide.children import Revision
from seawall.decide.comparison import comparison_of
from seawall.decide.rollout_plan import QualityStep, RolloutPlan, WeightStep
from seawall.decide.rollout_state import Phase, RolloutState, Step
from seawall.decide.types import ComparisonRequest

QUALITY = QualityStep("golden", 500, "cosine", 0.02)
PLAN = RolloutPlan("Canary", (QUALITY, WeightStep(10, 1, 60.0)), settings=Settings(alpha=0.001, beta=0.1))
STATE = RolloutState(id="3-abc", phase=Phase.QUALITY, stable="old", candidate="new", step=0)
STEP = Step(STATE, "old", frozenset({"old", "new"}), compare=True)


def revision(name: str, *ips: str, ready: str = "True") -> Revision:
    pods = tuple(
        {"metadata": {}, "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": ready}]}}
        for ip in ips
    )
    return Revision(name, {"spec": {}}, None, pods)


BOTH = {r.name: r for r in (revision("old", "10.0.0.1", "10.0.0.2"), revision("new", "fd00::1"))}


def test_the_request_says_all_that_is_asked() -> None:
    assert comparison_of(STEP, PLAN, "digits", BOTH) == ComparisonRequest(
        rollout="3-abc", step=0, model="digits", stable="old", candidate="new",
        stable_addresses=("10.0.0.1:8001", "10.0.0.2:8001"), candidate_addresses=("[fd00::1]:8001",),
        config_map="golden", size=500, metric="cosine", max_disagreement=0.02, alpha=0.001, beta=0.1,
    )  # fmt: skip


NOTHING: dict[str, tuple[Step, RolloutPlan, dict[str, Any]]] = {
    "the step does not ask for it": (replace(STEP, compare=False), PLAN, BOTH),
    "it is a step of weight": (replace(STEP, state=replace(STATE, step=1)), PLAN, BOTH),
    "the plan has become shorter": (replace(STEP, state=replace(STATE, step=7)), PLAN, BOTH),
    "there is no candidate": (STEP, PLAN, {"old": BOTH["old"]}),
    "the candidate has no pod": (STEP, PLAN, BOTH | {"new": revision("new")}),
    "no stable pod is ready": (STEP, PLAN, BOTH | {"old": revision("old", "10.0.0.1", ready="False")}),
}


@pytest.mark.parametrize(("step", "rolling", "existing"), NOTHING.values(), ids=NOTHING.keys())
def test_nothing_is_asked(step: Step, rolling: RolloutPlan, existing: dict[str, Any]) -> None:
    assert comparison_of(step, rolling, "digits", existing) is None
