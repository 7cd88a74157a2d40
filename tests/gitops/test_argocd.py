"""Argo CD's view of Seawall's resources: health and actions at every point of their lives, in a real Lua."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from gitops import builds, situations
from gitops.argolua import answers
from gitops.expected import BUILDS, EXPECTED
from gitops.situations import Said
from seawall.decide.acceptance import COMMAND_ANNOTATION
from seawall.decide.rollout_commands import VERBS, refusal
from seawall.decide.rollout_state import Phase, RolloutState

pytestmark = pytest.mark.long
ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "examples/gitops/argocd/resource_customizations/serving.seawall.dev"
SERVICE = SCRIPTS / "InferenceService"


def test_the_stories_lead_through_every_phase_and_no_situation_is_left_out() -> None:
    met = situations.services()
    assert {each.phase for each in met} == set(Phase)
    assert set(met) == set(EXPECTED)


def test_the_health_of_a_service() -> None:
    met = sorted(situations.services().items())
    told = answers(SERVICE / "health.lua", [live for _, live in met])
    assert {name: one["status"] for (name, _), one in zip(met, told, strict=True)} == EXPECTED
    for (name, live), one in zip(met, told, strict=True):
        reason, _, words = one["message"].partition(": ")
        known = {(c["reason"], c["message"]) for c in live["status"]["conditions"]}
        assert (reason, words) in known, name


def test_what_the_status_does_not_tell_of_yet_is_on_its_way() -> None:
    serving = situations.services()[Said("Idle", "Serving", "Idle")]
    edited, fresh, bare = copy.deepcopy(serving), copy.deepcopy(serving), copy.deepcopy(serving)
    edited["metadata"]["generation"] += 1
    del fresh["status"]
    bare["status"]["conditions"] = []
    told = answers(SERVICE / "health.lua", [edited, fresh, bare])
    assert [one["status"] for one in told] == ["Progressing"] * 3


def test_an_objective_that_is_missed_says_nothing_about_the_health() -> None:
    live = copy.deepcopy(situations.services()[Said("Idle", "Serving", "Idle")])
    for condition in live["status"]["conditions"]:
        if condition["type"] in ("SLOMet", "SLOFeasible", "ScalingReady", "LatencyMetricAvailable"):
            condition["status"] = "False"
    [told] = answers(SERVICE / "health.lua", [live])
    assert told["status"] == "Healthy"


def test_a_reason_that_nobody_knows_yet_needs_somebody() -> None:
    live = copy.deepcopy(situations.services()[Said("Starting", "!Starting", "Starting")])
    ready = next(c for c in live["status"]["conditions"] if c["type"] == "Ready")
    ready["reason"] = "SomethingNew"
    [told] = answers(SERVICE / "health.lua", [live])
    assert told["status"] == "Degraded"


def test_the_actions_that_are_offered_are_the_ones_that_would_be_obeyed() -> None:
    met = [live for _, live in sorted(situations.services().items())]
    told = answers(SERVICE / "actions/discovery.lua", met)
    enabled = set()
    for live, actions in zip(met, told, strict=True):
        state = RolloutState.of(live["status"].get("rollout"))
        would = {verb: bool(state.id) and not refusal(verb, state, state.steps or 0) for verb in VERBS}
        assert {verb: not action["disabled"] for verb, action in actions.items()} == would, situations.said(
            live
        )
        enabled |= {verb for verb, obeyed in would.items() if obeyed}
    assert enabled == set(VERBS), "each is offered somewhere"


def test_nothing_is_offered_before_there_is_a_status() -> None:
    live = copy.deepcopy(situations.services()[Said("Idle", "Serving", "Idle")])
    del live["status"]
    [actions] = answers(SERVICE / "actions/discovery.lua", [live])
    assert set(actions) == set(VERBS)
    assert all(action == {"disabled": True} for action in actions.values())


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("annotations", [None, {"team": "search"}], ids=["the first annotation", "one more"])
def test_an_action_writes_the_command_and_nothing_else(verb: str, annotations: dict[str, str] | None) -> None:
    live = copy.deepcopy(situations.services()[Said("Stepping", "Updating", "Stepping")])
    live["metadata"].pop("annotations", None)
    if annotations is not None:
        live["metadata"]["annotations"] = annotations
    [made] = answers(SERVICE / f"actions/{verb}/action.lua", [live])
    word = made["metadata"]["annotations"].pop(COMMAND_ANNOTATION)
    said, _, meant = word.partition("@")
    assert (said, meant.partition(":")[0]) == (verb, live["status"]["rollout"]["id"])
    assert meant.partition(":")[2].isdigit()
    assert without_nothing(made) == without_nothing(live)


def test_the_health_of_a_build() -> None:
    met = builds.situations()
    told = answers(
        SCRIPTS / "ModelBuild/health.lua", [*met.values(), {**next(iter(met.values())), "status": None}]
    )
    assert {name: one["status"] for name, one in zip(met, told[:-1], strict=True)} == BUILDS
    assert all(one["message"].startswith(reason) for (_, reason), one in zip(met, told[:-1], strict=True))
    assert told[-1]["status"] == "Progressing"


def without_nothing(value: Any) -> Any:
    """Lua cannot tell an empty map from an empty list; Argo CD takes the old value for either."""
    if isinstance(value, dict):
        return {key: kept for key, item in value.items() if (kept := without_nothing(item)) not in ({}, [])}
    return [without_nothing(item) for item in value] if isinstance(value, list) else value
