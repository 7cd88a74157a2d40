"""Which turns of which conditions become Events."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from seawall.decide.types import EventNote
from seawall.runtime.transitions import TOLD, turned

ROOT = Path(__file__).parents[2]


def status(**conditions):
    return {
        "conditions": [
            {"type": name, "status": value, "reason": f"{name}{value}", "message": f"{name} is {value}"}
            for name, value in conditions.items()
        ]
    }


MISSED = EventNote("Warning", "SLOMetFalse", "SLOMet is False")
MET = EventNote("Normal", "SLOMetTrue", "SLOMet is True")
TURNS = {
    "at first nothing": (None, status(SLOMet="Unknown"), []),
    "well from the start": (None, status(SLOMet="True"), []),
    "bad from the start": (None, status(SLOMet="False"), [MISSED]),
    "it turns bad": (status(SLOMet="True"), status(SLOMet="False"), [MISSED]),
    "it was not known": (status(SLOMet="Unknown"), status(SLOMet="False"), [MISSED]),
    "it stays bad": (status(SLOMet="False"), status(SLOMet="False"), []),
    "it is well again": (status(SLOMet="False"), status(SLOMet="True"), [MET]),
    "it stays well": (status(SLOMet="True"), status(SLOMet="True"), []),
    "nobody can tell any more": (status(SLOMet="False"), status(SLOMet="Unknown"), []),
    "a condition with Events of its own": (status(Ready="True"), status(Ready="False"), []),
    "no status": (status(SLOMet="True"), None, []),
    "two at once": (
        status(SLOMet="True", SpecAccepted="True"),
        status(SLOMet="False", SpecAccepted="False"),
        [EventNote("Warning", "SpecAcceptedFalse", "SpecAccepted is False"), MISSED],
    ),
}


@pytest.mark.parametrize("case", TURNS)
def test_what_is_told(case):
    before, after, told = TURNS[case]
    assert list(turned(before, after)) == told


def reasons():
    """Of every Event whose reason is written where it is made."""
    for path in (ROOT / "operator" / "seawall" / "decide").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "EventNote":
                reason = node.args[1]
                if isinstance(reason, ast.Constant):
                    yield reason.value


def test_the_page_names_every_reason():
    section = (ROOT / "docs" / "cli.md").read_text().split("## Events")[1].split("\n## ")[0]
    found = set(reasons())
    assert len(found) > 8
    for reason in {*found, *TOLD}:
        assert f"`{reason}`" in section, f"docs/cli.md, Events: {reason} is not explained"
