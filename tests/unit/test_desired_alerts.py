"""How a budget burns and how long a rollout may stand still: the alerts of one service, with the real promtool."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from seawall.decide.rollout_state import Phase
from seawall.desired.alerts import UNDER_WAY
from seawall.desired.burn import pairs
from seawall.desired.monitoring import Promise, build_prometheus_rule, rule_groups
from seawall.desired.names import Owner
from support.promtool import examined, firing, labelled, needs_promtool

OWNER = Owner("digits", "vision", "u-1")
SERVICE = {"namespace": "vision", "inferenceservice": "digits"}
REVISION = {**SERVICE, "revision": "r1"}
CALL, TICKET = "SeawallErrorBudgetBurning", "SeawallErrorBudgetBurningSlowly"


@dataclass
class Spell:
    """Of a thousand requests a minute so many are late, and so many fail, for so many hours."""

    hours: float
    late: float = 0
    failed: float = 0
    of: float = 1000


STEP = 5
"""Minutes between two evaluations: three days in a second."""


def told_by(spells: list[Spell]) -> list[dict[str, str]]:
    """What the rates of the last five minutes were."""
    values: dict[str, list[str]] = {"rps": [], "failed_rps": [], "measured_rps": [], "good_rps": []}
    for spell in spells:
        repeats = round(spell.hours * 60 / STEP) - 1
        rates = (spell.of, spell.failed, spell.of, spell.of - spell.late - spell.failed)
        for record, rate in zip(values, rates, strict=True):
            values[record].append(f"{rate / 60:.9f}x{repeats}")
    names = {record: labelled(f"seawall:{record}:5m", SERVICE) for record in values}
    return [{"series": names[record], "values": " ".join(text)} for record, text in values.items()]


def seldom(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rules in their order, without those that make the rates."""
    rules = [rule for group in groups[1:] for rule in group["rules"]]
    kept = [rule for rule in rules if not rule.get("record", "").endswith("_rps:5m")]
    kept = [rule for rule in kept if rule.get("record") != "seawall:rps:5m"]
    return [{"name": "merged", "interval": f"{STEP}m", "rules": kept}]


SLOW_BURNS: dict[str, tuple[str, float, list[Spell], list[str]]] = {
    "call: 8 % late for seven hours is six times too much": (CALL, 30, [Spell(7, late=80)], ["latency"]),
    "call: 5 % is not": (CALL, 30, [Spell(7, late=50)], []),
    "call: of a budget of seven days 4 % in an hour is": (CALL, 7, [Spell(1.2, late=40)], ["latency"]),
    "call: of one of thirty days it is not": (CALL, 30, [Spell(1.2, late=40)], []),
    "call: of one of a day, 3 % in an hour is": (CALL, 1, [Spell(1.2, late=30)], ["latency"]),
    "call: of one of a day, what is even is not": (CALL, 1, [Spell(1.2, late=12)], []),
    "call: failures alone, both budgets": (
        CALL, 30, [Spell(7, failed=70)], ["latency", "availability"],
    ),
    "call: nine bad requests in an hour are too few": (CALL, 30, [Spell(1, failed=0.15, of=0.15)], []),
    "ticket: 4 % late for a day": (TICKET, 30, [Spell(26, late=40)], ["latency"]),
    "ticket: 2 % for a day is enough for that of three": (TICKET, 30, [Spell(26, late=20)], ["latency"]),
    "ticket: within the promise, for three days": (TICKET, 30, [Spell(74, late=9)], []),
    "ticket: a little over it, for three days": (TICKET, 30, [Spell(74, late=12)], ["latency"]),
    "ticket: over since seven hours": (TICKET, 30, [Spell(67, late=40), Spell(7)], []),
    "ticket: one failure in five hundred for three days": (
        TICKET, 30, [Spell(74, failed=2)], ["availability"],
    ),
    "ticket: of one of seven days, 2 % for a day": (TICKET, 7, [Spell(26, late=20)], ["latency"]),
    "ticket: a budget of a day has none": (TICKET, 1, [Spell(26, late=500)], []),
}  # fmt: skip


@needs_promtool
@pytest.mark.parametrize("name", SLOW_BURNS)
def test_a_burn_over_hours_and_days(name: str, tmp_path: Path) -> None:
    alert, window, spells, objectives = SLOW_BURNS[name]
    groups = seldom(rule_groups(OWNER, Promise(0.02, "99.9%", window_days=window)))
    minutes = round(sum(spell.hours for spell in spells) * 60) - STEP
    asked = firing(alert, ["objective"], [{"objective": o} for o in objectives], f"{minutes}m")
    test = {"input_series": told_by(spells), "promql_expr_test": [asked]}
    examined(tmp_path, groups, test, f"{STEP}m", f"{STEP}m")


STANDS: dict[str, tuple[str, str, str, bool]] = {
    "longer than any step takes": ("Stepping", "0x200", "70m", True),
    "no longer than one may take": ("Stepping", "0x200", "55m", False),
    "it got on": ("Stepping", "0x100 3600x100", "115m", False),
    "it got on, and then no more": ("Stepping", "0x100 6000x200", "270m", True),
    "a pause is a person's": ("Paused", "0x200", "70m", False),
    "the window in which it may be brought back": ("Watching", "0x200", "70m", False),
    "a build has its own deadline": ("Building", "0x200", "70m", False),
}


@needs_promtool
@pytest.mark.parametrize(("phase", "since", "at", "fires"), STANDS.values(), ids=STANDS)
def test_the_alert_of_a_rollout_that_stands_still(
    phase: str, since: str, at: str, fires: bool, tmp_path: Path
) -> None:
    series = [
        {"series": labelled("seawall_rollout_progress_timestamp_seconds", SERVICE), "values": since},
        {"series": labelled("seawall_rollout_phase", REVISION | {"phase": phase}), "values": "1x400"},
    ]
    asked = firing("SeawallRolloutStuck", ["inferenceservice"], [{"inferenceservice": "digits"}] * fires, at)
    _, budget, _ = rule_groups(OWNER, Promise(0.02, patience_seconds=3600))
    examined(tmp_path, [budget], {"input_series": series, "promql_expr_test": [asked]}, "1m", "1m")


def test_the_phases_of_that_alert_are_the_rollouts() -> None:
    others = {"Idle", "Building", "Watching", "Paused", "RolledBack"}
    assert set(UNDER_WAY.split("|")) | others == set(Phase)


@pytest.mark.parametrize(
    ("availability", "limits"),
    [
        (None, [["0.144", "0.06"]]),
        ("99.9%", [["0.144", "0.06"], ["0.0144", "0.006"]]),
        ("99.9999%", [["0.144", "0.06"], ["0.0000144", "0.000006"]]),
        ("50%", [["0.144", "0.06"], ["0.9", "0.9"]]),
    ],
)
def test_the_burn_rates_are_plain_numbers(availability: str | None, limits: list[list[str]]) -> None:
    burning = [rule["expr"] for rule in made_rules(Promise(0.02, availability)) if rule.get("alert") == CALL]
    for expr, (fast, slow) in zip(burning, limits, strict=True):
        assert [part.split(")")[0] for part in expr.split(" > ")[1:]] == [fast, fast, slow, slow]


PAIRS: dict[float, list[tuple[str, str, str]]] = {
    0.5: [("1h", "5m", "2")],
    1: [("1h", "5m", "2")],
    2: [("1h", "5m", "2")],
    3: [("1h", "5m", "2"), ("1d", "2h", "1")],
    7: [("1h", "5m", "3.36"), ("6h", "30m", "2"), ("1d", "2h", "1")],
    28: [("1h", "5m", "13.44"), ("6h", "30m", "5.6"), ("1d", "2h", "2.8"), ("3d", "6h", "1")],
    30: [("1h", "5m", "14.4"), ("6h", "30m", "6"), ("1d", "2h", "3"), ("3d", "6h", "1")],
    90: [("1h", "5m", "43.2"), ("6h", "30m", "18"), ("1d", "2h", "9"), ("3d", "6h", "3")],
}


@pytest.mark.parametrize("days", PAIRS)
def test_the_rates_follow_the_window_of_the_budget(days: float) -> None:
    found = [(pair.long, pair.short, pair.rate) for pair in pairs(days)]
    assert [(long, short) for long, short, _ in found] == [(long, short) for long, short, _ in PAIRS[days]]
    for (*_, rate), (*_, expected) in zip(found, PAIRS[days], strict=True):
        assert abs(rate - Decimal(expected)) < Decimal("1e-9")


def made_rules(promise: Promise) -> list[dict[str, Any]]:
    groups = build_prometheus_rule(OWNER, promise)["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize(
    ("promise", "records", "alerts"),
    [(Promise(0.02), 23, 3), (Promise(0.02, "99.9%"), 28, 5), (Promise(0.02, None, 1), 15, 2)],
    ids=["latency alone", "with availability", "of a day"],
)
def test_a_thousand_services_have_a_thousand_times_as_many(
    promise: Promise, records: int, alerts: int
) -> None:
    made = made_rules(promise)
    names = [rule["record"] for rule in made if "record" in rule]
    assert (len(names), len(made) - len(names)) == (records, alerts)
    assert len(set(names)) == records
    assert len(json.dumps(build_prometheus_rule(OWNER, promise), separators=(",", ":"))) < 14_000


@pytest.mark.parametrize("window", [1, 3, 7, 30, 365])
def test_what_an_alert_asks_for_is_recorded(window: int) -> None:
    made = made_rules(Promise(0.02, "99.9%", window))
    known = {rule["record"] for rule in made if "record" in rule}
    asked = {name for rule in made for name in re.findall(r"seawall:[a-z_]+(?::[0-9]+[mhd])?", rule["expr"])}
    assert asked <= known
