"""How `seawall status` orders, sums up and colours many services."""

from __future__ import annotations

import io

import pytest

from seawall.cli.status import summary
from seawall.cli.status_fleet import ordered, summed_up, table, totals, trouble, why
from seawall.cli.terminal import aligned, painter


def plain(text, code):
    return text


def marked(text, code):
    return f"<{code}>{text.rstrip()}" if code else text


def row(name="a", ready="True", slo=None, seen=1, count=1, **status):
    conditions = [{"type": "Ready", "status": ready, "reason": "R", "message": "the pods do not come up"}]
    if slo is not None:
        conditions.append({"type": "SLOMet", "status": slo, "reason": "S", "message": "the p99 is 31ms"})
    return summary(
        {
            "metadata": {"name": name, "namespace": "n", "generation": 1},
            "spec": {
                "accelerator": {"class": "gpu", "count": count},
                "slo": {"p99": "20ms"},
                "model": {"uri": "s3://m"},
            },
            "status": {"observedGeneration": seen, "conditions": conditions, **status},
        }
    )


HELD = {"reason": "StableNotReady", "message": "3 of 4 pods"}
ROLLING = {"candidateRevision": "b", "phase": "Stepping", "desiredWeight": 20}
TROUBLES = {
    "not ready": (row(ready="False"), 0, "the pods do not come up"),
    "not known": (row(ready="Unknown"), 1, "the pods do not come up"),
    "not seen since the last edit": (row(seen=0), 1, "the operator has not looked at its latest spec yet"),
    "never seen": (
        summary({"metadata": {"name": "a", "namespace": "n", "generation": 1}}),
        1,
        "the operator has not looked at it yet",
    ),
    "the objective is missed": (row(slo="False"), 2, "the p99 is 31ms"),
    "a rollout that waits": (row(rollout=ROLLING | {"hold": HELD}), 3, "waits: StableNotReady: 3 of 4 pods"),
    "a rollout that a person has to look at": (
        row(rollout=ROLLING | {"pause": HELD}),
        3,
        "paused: StableNotReady: 3 of 4 pods",
    ),
    "a rollout on its way": (row(rollout=ROLLING), 4, "Stepping at 20%"),
    "well": (row(slo="True"), 5, ""),
}


@pytest.mark.parametrize("case", TROUBLES)
def test_how_bad_it_is_and_why(case):
    shown, rank, sentence = TROUBLES[case]
    assert (trouble(shown), why(shown)) == (rank, sentence)


def test_the_worst_comes_first_and_equals_by_name():
    rows = [row("z"), row("b", ready="False"), row("c", slo="False"), row("a")]
    assert [r["name"] for r in ordered(rows)] == ["b", "c", "a", "z"]


def test_what_the_fleet_comes_to():
    rows = [
        row("a", slo="True", replicas=3, count=2),
        row("b", slo="False", replicas=1, rollout=ROLLING | {"candidateReplicas": 1}),
        row("c", ready="False"),
    ]
    total = totals(rows, {"gpu": (0.5, "EUR")})
    assert summed_up(total) == "services 3, ready 2, SLO met 1 of 2 measured, rollouts 1, cost 4.00 EUR/h"
    assert summed_up(totals(rows, None)) == "services 3, ready 2, SLO met 1 of 2 measured, rollouts 1"


def test_colours_say_what_needs_a_look():
    lines = table([row("a", ready="False"), row("b", slo="False")], marked, with_namespace=False).splitlines()
    assert "<1>NAME" in lines[0]
    assert "<31>False" in lines[1]
    assert "<32>True" in lines[2]
    missed = table([row(slo="False")], marked, with_namespace=True)
    assert "<31>-" in missed.splitlines()[1]  # the p99, of which nothing is known here


def test_the_last_column_is_cut_to_the_terminal():
    long = [("A", "WHY"), ("x", "a sentence that goes on and on and on for longer than any terminal is wide")]
    assert max(map(len, aligned(long, width=40).splitlines())) == 40
    assert aligned(long).splitlines()[1].endswith("wide")


class Terminal(io.StringIO):
    def isatty(self):
        return True


COLOURS = {
    "a terminal": ("auto", Terminal(), {"TERM": "xterm"}, True),
    "a pipe": ("auto", io.StringIO(), {"TERM": "xterm"}, False),
    "NO_COLOR": ("auto", Terminal(), {"NO_COLOR": "1"}, False),
    "an empty NO_COLOR says nothing": ("auto", Terminal(), {"NO_COLOR": ""}, True),
    "a terminal without colours": ("auto", Terminal(), {"TERM": "dumb"}, False),
    "always": ("always", io.StringIO(), {"NO_COLOR": "1"}, True),
    "never": ("never", Terminal(), {}, False),
}


@pytest.mark.parametrize("case", COLOURS)
def test_when_there_are_colours(case):
    choice, stream, environment, coloured = COLOURS[case]
    assert ("\x1b" in painter(choice, stream, environment)("text", "31")) is coloured


def test_a_colour_does_not_reach_into_the_space_between_columns():
    paint = painter("always", io.StringIO(), {})
    assert paint("ok   ", "32") == "\x1b[32mok\x1b[0m   "
    assert paint("     ", "32") == "     "
