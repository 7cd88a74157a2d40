"""How long a rollout may stand still before somebody is told: longer than its own plan takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seawall.decide.rollout_plan import QualityStep, RolloutPlan, ShadowStep, WeightStep
from seawall.decide.watchers import patience

DIRECT = RolloutPlan()
HOLDS = 60 + 900 + 600 + 300
"""Warm-up, the holds of the usual policy, and what a step does besides."""
PLANS: dict[str, tuple[RolloutPlan, float]] = {
    "no steps: pods have to come up": (DIRECT, 1200 + HOLDS),
    "steps of the usual length: about an hour": (replace(DIRECT, steps=(WeightStep(None),)), 1800 + HOLDS),
    "the longest of them counts": (
        replace(DIRECT, steps=(WeightStep(5, max_seconds=600), WeightStep(50, max_seconds=86400))),
        86400 + HOLDS,
    ),
    "a long shadow": (replace(DIRECT, steps=(ShadowStep(10, 7200, 0.01),)), 7200 + HOLDS),
    "recorded inputs take no time of their own": (
        replace(DIRECT, steps=(QualityStep("golden", None, None, 0.01),)),
        1200 + HOLDS,
    ),
    "a model that loads slowly": (replace(DIRECT, progress_seconds=5400), 5400 + HOLDS),
    "a policy that holds for a day": (
        replace(DIRECT, policy=replace(DIRECT.policy, no_data_seconds=86400)),
        1200 + HOLDS - 900 + 86400,
    ),
}


@pytest.mark.parametrize(("plan", "seconds"), PLANS.values(), ids=PLANS)
def test_a_rollout_is_stuck_only_beyond(plan: RolloutPlan, seconds: float) -> None:
    assert patience(plan) == seconds
