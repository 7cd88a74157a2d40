"""Panels over time, drawn as SVG: lines, heat maps and bars of states."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any

from dashboards.figures import COLOURS, PALETTE, colour_at, marked, said, shade, ticks

LEFT, RIGHT, TOP, BOTTOM = 66, 10, 6, 20
LEGEND_LINE = 15
MOST_LEGEND = 5
"""lines, before the rest is counted"""


@dataclass(frozen=True)
class Line:
    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Frame:
    """The picture's size in pixels, and the time that it spans."""

    width: float
    height: float
    start: float
    end: float
    step: float

    def x(self, at: float, left: float = LEFT) -> float:
        return left + (at - self.start) / (self.end - self.start) * (self.width - left - RIGHT)

    def hours(self, bottom: float, left: float = LEFT) -> list[str]:
        every = 1800
        first = math.ceil(self.start / every) * every
        made = []
        for at in range(first, int(self.end) + 1, every):
            x = self.x(at, left)
            name = f"{datetime.fromtimestamp(at, UTC):%H:%M}"
            made.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom:.1f}" class="grid"/>')
            made.append(f'<text x="{x:.1f}" y="{bottom + 14:.1f}" class="tick middle">{name}</text>')
        return made


def style_of(panel: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What the overrides say of one series or column."""
    found: dict[str, Any] = {}
    for override in panel["fieldConfig"].get("overrides") or ():
        if override["matcher"]["options"] == name:
            found |= {each["id"]: each.get("value") for each in override["properties"]}
    return found


def lines(panel: Mapping[str, Any], found: Sequence[Line], frame: Frame) -> str:
    fields = panel["fieldConfig"]["defaults"]
    custom, unit = fields.get("custom") or {}, fields["unit"]
    shown = min(len(found), MOST_LEGEND)
    bottom = frame.height - BOTTOM - LEGEND_LINE * shown - 4
    stacked = (custom.get("stacking") or {}).get("mode") == "normal"
    tops = _stacked(found) if stacked else [[(at, 0.0, value) for at, value in each.points] for each in found]
    drawn_steps = (custom.get("thresholdsStyle") or {}).get("mode") == "dashed"
    steps = (
        [each for each in fields["thresholds"]["steps"] if each["value"] is not None] if drawn_steps else []
    )
    values = [value for each in tops for _, _, value in each if math.isfinite(value)]
    near = [each["value"] for each in steps if values and each["value"] <= 3 * max(values)]
    low = min([*values, fields.get("min", math.inf), *[v for v in near if v >= 0]], default=0)
    high = max([*values, *near], default=1)
    marks = ticks(low, high, unit)
    low, high = marks[0], marks[-1]

    def y(value: float) -> float:
        return bottom - (min(max(value, low), high) - low) / (high - low) * (bottom - TOP)

    made = frame.hours(bottom)
    for mark, name in zip(marks, marked(marks, unit), strict=True):
        across = f'x1="{LEFT}" x2="{frame.width - RIGHT}"'
        made.append(f'<line {across} y1="{y(mark):.1f}" y2="{y(mark):.1f}" class="grid"/>')
        made.append(f'<text x="{LEFT - 6}" y="{y(mark) + 4:.1f}" class="tick end">{name}</text>')
    for at, (each, points) in enumerate(zip(found, tops, strict=True)):
        style = style_of(panel, each.name)
        colour = _colour(style, at)
        dash = ' stroke-dasharray="7 5"' if "custom.lineStyle" in style else ""
        for piece in _pieces(points, frame.step):
            upper = " ".join(f"{frame.x(t):.1f},{y(v):.1f}" for t, _, v in piece)
            if stacked:
                lower = " ".join(f"{frame.x(t):.1f},{y(b):.1f}" for t, b, _ in reversed(piece))
                made.append(f'<polygon points="{upper} {lower}" fill="{colour}" fill-opacity="0.3"/>')
            made.append(
                f'<polyline points="{upper}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>'
            )
    for each in near:
        colour = colour_at(fields["thresholds"]["steps"], each)
        made.append(
            f'<line x1="{LEFT}" x2="{frame.width - RIGHT}" y1="{y(each):.1f}" y2="{y(each):.1f}" '
            f'stroke="{colour}" stroke-dasharray="4 4"/>'
        )
    return _svg(frame, made + _legend(panel, found, frame, bottom + BOTTOM + 10, unit))


def _colour(style: Mapping[str, Any], at: int) -> str:
    fixed = (style.get("color") or {}).get("fixedColor")
    return COLOURS[fixed] if fixed else PALETTE[at % len(PALETTE)]


def _legend(
    panel: Mapping[str, Any], found: Sequence[Line], frame: Frame, top: float, unit: str
) -> list[str]:
    made = []
    listed = found if len(found) <= MOST_LEGEND else found[: MOST_LEGEND - 1]
    for at, each in enumerate(listed):
        y = top + at * LEGEND_LINE
        numbers = [value for _, value in each.points if math.isfinite(value)]
        told = f"{said(numbers[-1], unit)}, max {said(max(numbers), unit)}" if numbers else "no data"
        colour = _colour(style_of(panel, each.name), at)
        room = max(8, int((frame.width - 40 - 6.6 * len(told)) / 6.6))
        name = each.name if len(each.name) <= room else each.name[: room - 1] + "…"
        made.append(f'<rect x="8" y="{y - 5:.1f}" width="12" height="3" fill="{colour}"/>')
        made.append(f'<text x="26" y="{y:.1f}" class="legend">{escape(name)}</text>')
        made.append(f'<text x="{frame.width - RIGHT}" y="{y:.1f}" class="legend end">{told}</text>')
    if len(found) > len(listed):
        y = top + len(listed) * LEGEND_LINE
        made.append(f'<text x="26" y="{y:.1f}" class="tick">and {len(found) - len(listed)} more</text>')
    return made


def _stacked(found: Sequence[Line]) -> list[list[tuple[float, float, float]]]:
    below: dict[float, float] = {}
    made = []
    for each in found:
        layer = []
        for at, value in each.points:
            base = below.get(at, 0.0)
            layer.append((at, base, base + (value if math.isfinite(value) else 0.0)))
            below[at] = layer[-1][2]
        made.append(layer)
    return made


def _pieces(
    points: Sequence[tuple[float, float, float]], step: float
) -> list[list[tuple[float, float, float]]]:
    """Broken where there are no data."""
    made: list[list[tuple[float, float, float]]] = [[]]
    for point in points:
        if not math.isfinite(point[2]):
            continue
        if made[-1] and point[0] - made[-1][-1][0] > 2.5 * step:
            made.append([])
        made[-1].append(point)
    return [piece for piece in made if piece]


def heat(panel: Mapping[str, Any], found: Sequence[Line], frame: Frame) -> str:
    """Cumulative buckets, as Prometheus has them, to what lies in each."""
    edges = sorted((float(each.name), dict(each.points)) for each in found)
    moments = sorted({at for _, points in edges for at in points})
    inside: list[tuple[str, dict[float, float]]] = []
    before: dict[float, float] = {}
    for edge, points in edges:
        name = "more" if math.isinf(edge) else f"{edge:.0f}"
        inside.append((name, {at: max(0.0, value - before.get(at, 0.0)) for at, value in points.items()}))
        before = points
    most = max((value for _, cells in inside for value in cells.values()), default=1) or 1
    bottom = frame.height - BOTTOM - 4
    each_height = (bottom - TOP) / max(1, len(inside))
    width = (frame.width - LEFT - RIGHT) / max(1, len(moments)) + 0.4
    unit = panel["options"]["yAxis"]["unit"]
    made = []
    for row, (name, cells) in enumerate(inside):
        y = bottom - (row + 1) * each_height
        for at, value in cells.items():
            if value > 0:
                colour = shade(math.sqrt(value / most))
                made.append(
                    f'<rect x="{frame.x(at) - width:.1f}" y="{y:.1f}" width="{width:.1f}" '
                    f'height="{each_height - 1:.1f}" fill="{colour}"/>'
                )
        made.append(
            f'<text x="{LEFT - 6}" y="{y + each_height / 2 + 4:.1f}" class="tick end">{name} {unit}</text>'
        )
    return _svg(frame, made + frame.hours(bottom)[1::2])


def states(panel: Mapping[str, Any], found: Sequence[Line], frame: Frame) -> str:
    left = min(frame.width * 0.45, 14 + 6.6 * max((len(each.name) for each in found), default=0))
    bottom = frame.height - BOTTOM - 4
    room = min(26.0, (bottom - TOP) / max(1, len(found)))
    words = {float(value): each for value, each in _words(panel["fieldConfig"]["defaults"]).items()}
    made = frame.hours(bottom, left)
    for row, each in enumerate(sorted(found, key=lambda line: line.name)):
        y = TOP + row * room
        made.append(f'<text x="6" y="{y + room / 2 + 4:.1f}" class="legend">{escape(each.name)}</text>')
        for began, ended, value in _runs(each.points, frame.step):
            colour = COLOURS[words[value]["color"]] if value in words else PALETTE[row % len(PALETTE)]
            x = frame.x(max(frame.start, began - frame.step), left)
            made.append(
                f'<rect x="{x:.1f}" y="{y + 2:.1f}" width="{frame.x(ended, left) - x:.1f}" '
                f'height="{room - 4:.1f}" fill="{colour}" fill-opacity="0.8"/>'
            )
    return _svg(frame, made)


def _runs(points: Sequence[tuple[float, float]], step: float) -> list[tuple[float, float, float]]:
    """(from, to, value) for as long as one value was said."""
    made: list[tuple[float, float, float]] = []
    for at, value in points:
        if made and value == made[-1][2] and at - made[-1][1] < 2.5 * step:
            made[-1] = (made[-1][0], at, value)
        elif math.isfinite(value):
            made.append((at, at, value))
    return made


def _words(fields: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        value: each for mapping in fields.get("mappings") or () for value, each in mapping["options"].items()
    }


def spark(points: Sequence[tuple[float, float]], colour: str, width: float, height: float) -> str:
    """The small line under a number."""
    numbers = [value for _, value in points if math.isfinite(value)]
    if len(numbers) < 2:
        return ""
    low, high = min(numbers), max(numbers)
    span = (high - low) or 1.0
    at = [
        f"{width * i / (len(numbers) - 1):.1f},{height - 2 - (value - low) / span * (height - 4):.1f}"
        for i, value in enumerate(numbers)
    ]
    return (
        f'<svg width="{width}" height="{height}" class="spark"><polyline points="{" ".join(at)}" fill="none" '
        f'stroke="{colour}" stroke-width="1.4" stroke-opacity="0.6"/></svg>'
    )


def _svg(frame: Frame, parts: Sequence[str]) -> str:
    return f'<svg width="{frame.width:.0f}" height="{frame.height:.0f}">{"".join(parts)}</svg>'
