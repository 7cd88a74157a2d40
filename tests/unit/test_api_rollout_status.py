"""status.rollout: whatever the state machine writes has a place in the schema, and comes back as it was."""

from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

from seawall.api import crd
from seawall.api.walk import mismatches, unknown_fields
from seawall.canary import session
from seawall.canary.judge import Settings
from seawall.canary.window import Arm, Window
from seawall.decide.rollout_state import Hold, Phase, Rejection, RolloutState

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SCHEMA = crd.schema("InferenceService")["properties"]["status"]["properties"]["rollout"]


def evidence() -> dict[str, Any]:
    """As an analysis of all three metrics leaves it behind."""
    settings = Settings()
    place = session.Place("3-0a1b2c3d-2", step=1, weight=20, since=0.0)
    windows = [
        Window(15.0 * n, Arm(800.0, 8.0, 2.0, 100.0, 1.0, 8), Arm(200.0, 2.0, 1.0, 100.0, 1.0, 2))
        for n in range(1, 9)
    ]
    made = session.read(None, windows, place, settings)
    assert made is not None
    return session.keep(made, made.said(settings), settings)


FULL = RolloutState(
    id="3-0a1b2c3d-2",
    phase=Phase.STEPPING,
    stable="aaaaaaaa",
    candidate="bbbbbbbb",
    previous="cccccccc",
    trigger="Platform",
    started_at=NOW,
    switched_at=NOW,
    step=1,
    steps=3,
    step_started_at=NOW,
    weight=20,
    observed=10,
    pods=2,
    floor=8,
    displaced=2,
    need=5,
    losses=1,
    conflicts=2,
    hold=Hold("Analysing", "not enough requests yet", NOW),
    pause=Hold("PausedByCommand", "A person said pause", NOW),
    rejected=Rejection("dddddddd", "Regression", "latency"),
    last_command="pause@3-0a1b2c3d-2",
    build="digits-int8-0123456789",
    comparator="0123456789abcdef",
    analysis=evidence(),
    history=(
        {
            "revision": "aaaaaaaa",
            "outcome": "Rejected",
            "reason": "Regression",
            "finishedAt": "2026-11-21T12:00:00Z",
        },
    ),
)


def test_a_state_with_everything_in_it_fits_the_schema() -> None:
    absent = RolloutState()
    same = [f.name for f in fields(RolloutState) if getattr(FULL, f.name) == getattr(absent, f.name)]
    assert same == [], "the example leaves these as they are at the beginning"
    written = FULL.to_status()
    assert list(unknown_fields(written, SCHEMA)) == []
    assert list(mismatches(written, SCHEMA, "")) == []


def given(value: Any, path: str = "") -> set[str]:
    """The path of every field, lists left out."""
    if isinstance(value, list):
        return {below for item in value for below in given(item, path)}
    if not isinstance(value, dict):
        return set()
    return {f"{path}.{k}" for k in value} | {b for k, v in value.items() for b in given(v, f"{path}.{k}")}


def known(schema: dict[str, Any], path: str = "") -> set[str]:
    properties = schema.get("properties") or schema.get("items", {}).get("properties") or {}
    return {f"{path}.{k}" for k in properties} | {
        b for k, v in properties.items() for b in known(v, f"{path}.{k}")
    }


def test_the_schema_has_no_field_that_nobody_writes() -> None:
    assert known(SCHEMA) == given(FULL.to_status())


def test_it_comes_back_as_it_was() -> None:
    state = replace(FULL, previous=None)  # a rollout that has a candidate keeps nothing else warm
    assert RolloutState.of(state.to_status()) == state
