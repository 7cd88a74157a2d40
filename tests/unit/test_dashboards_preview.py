"""The preview's figures and lines: what people would read off its pictures."""

from __future__ import annotations

import re

import pytest
from dashboards.draw import Frame, Line, heat, lines, states
from dashboards.figures import COLOURS, colour_at, marked, said, ticks

SAID = {
    (0.0142, "s", None): "14.2 ms",
    (0.02, "s", None): "20 ms",
    (95.0, "s", None): "1.58 min",
    (0.0, "s", None): "0 s",
    (0.9983, "percentunit", 2): "99.83 %",
    (1.0, "percentunit", 0): "100 %",
    (2400.0, "reqps", None): "2.4 kreq/s",
    (583.4, "reqps", None): "583 req/s",
    (0.0031, "short", 4): "0.0031",
    (104857600.0, "bytes", None): "100 MiB",
    (8.0, "short", None): "8",
}


@pytest.mark.parametrize(("number", "text"), SAID.items(), ids=str)
def test_a_number_is_said(number: tuple[float, str, int | None], text: str) -> None:
    assert said(*number) == text


@pytest.mark.parametrize(
    ("low", "high", "unit", "marks"),
    [
        (0.0, 7.54, "short", [0, 2, 4, 6, 8]),
        (0.0, 0.02, "s", [0, 0.005, 0.01, 0.015, 0.02]),
        (3.0, 3.0, "short", [3, 4, 5, 6]),
        (-1.1, 0.0, "short", [-1.5, -1, -0.5, 0]),
        (0.0, 200 * 2**20, "bytes", [0, 50 * 2**20, 100 * 2**20, 150 * 2**20, 200 * 2**20]),
    ],
)
def test_marks_enclose_both_ends(low: float, high: float, unit: str, marks: list[float]) -> None:
    assert ticks(low, high, unit) == marks


def test_marks_can_be_told_apart() -> None:
    assert marked([0.991, 0.992, 0.993], "short") == ["0.991", "0.992", "0.993"]


def test_a_colour_is_that_of_the_last_threshold_reached() -> None:
    steps = [{"value": None, "color": "green"}, {"value": 1, "color": "red"}]
    assert [colour_at(steps, value) for value in (0.5, 1.0)] == [COLOURS["green"], COLOURS["red"]]


FRAME = Frame(400, 200, 0.0, 3600.0, 60.0)


def panel(**defaults: object) -> dict[str, object]:
    thresholds = {"steps": [{"value": None, "color": "text"}]}
    return {"fieldConfig": {"defaults": {"unit": "short", "thresholds": thresholds, **defaults}}}


def test_a_line_is_broken_where_there_are_no_data() -> None:
    whole = [(60.0 * at, 1.0 + at % 3) for at in range(30)]
    gap = [point for point in whole if not 600 < point[0] < 900]
    assert lines(panel(), [Line("a", whole)], FRAME).count("<polyline") == 1
    assert lines(panel(), [Line("a", gap)], FRAME).count("<polyline") == 2


def test_a_dashed_series_stays_dashed_and_in_its_colour() -> None:
    properties = [
        {"id": "custom.lineStyle", "value": {"fill": "dash"}},
        {"id": "color", "value": {"fixedColor": "red"}},
    ]
    made = panel()
    made["fieldConfig"]["overrides"] = [{"matcher": {"options": "target"}, "properties": properties}]  # type: ignore[index]
    drawn = lines(made, [Line("target", [(0.0, 1.0), (60.0, 1.0)])], FRAME)
    (line,) = re.findall("<polyline[^>]*>", drawn)
    assert "stroke-dasharray" in line
    assert COLOURS["red"] in line


def test_buckets_are_told_from_their_sums() -> None:
    """Three requests below 5 ms, none from there to 10 ms, one above: two cells in colour."""
    of = {"options": {"yAxis": {"unit": "ms"}}}
    buckets = [Line("+Inf", [(60.0, 4.0)]), Line("10", [(60.0, 3.0)]), Line("5", [(60.0, 3.0)])]
    assert heat(of, buckets, FRAME).count("<rect") == 2


def test_a_state_is_one_bar_for_as_long_as_it_is_said() -> None:
    points = [(60.0 * at, 1.0) for at in range(10)] + [(60.0 * at, 1.0) for at in range(20, 30)]
    assert states(panel(), [Line("Stepping", points)], FRAME).count("<rect") == 2
