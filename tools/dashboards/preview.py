"""Draws the dashboards without Grafana: the same JSON, the same queries, on a plain page of our own.

For pictures where no Grafana is to be had, and for a look at a change. Not everything that Grafana can do is
drawn: what the dashboards of this folder use, and of that a fair likeness.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any

from dashboards import draw
from dashboards.draw import Frame, Line
from dashboards.figures import COLOURS, colour_at, said
from dashboards.queries import asked
from dashboards.stand import Labels, Prometheus

WIDTH, CELL, GAP = 1500, 30, 8
HEAD, MARGIN, PANEL_HEAD = 74, 16, 26
ROW_TEXT = "row"
STYLE = """
body{margin:0;background:#f3f4f6;color:#20242c;font:13px 'DejaVu Sans',sans-serif;position:relative}
header{position:absolute;left:16px;top:12px}
h1{font-size:19px;margin:0 0 4px}
header p{margin:0;color:#5a6578}
h2{position:absolute;font-size:14px;margin:0;padding-top:7px}
section{position:absolute;background:#fff;border:1px solid #dfe2e7;border-radius:4px;overflow:hidden}
h3{font-size:12px;font-weight:600;margin:6px 8px 0;height:18px;white-space:nowrap}
.tick{font-size:10px;fill:#6b7484}
.legend{font-size:11px;fill:#333a46}
.end{text-anchor:end}
.middle{text-anchor:middle}
.grid{stroke:#eceef2}
.number{font-size:25px;font-weight:600;margin:10px 10px 0}
.spark{position:absolute;left:8px;bottom:6px}
table{border-collapse:collapse;width:100%;font-size:12px}
td,th{padding:4px 8px;text-align:left;border-top:1px solid #eceef2;white-space:nowrap}
th{color:#6b7484;font-weight:600;border:0}
td.n,th.n{text-align:right}
.none{color:#9aa2af;margin:14px 10px}
"""


@dataclass(frozen=True)
class View:
    """What is looked at: where the data are, which variables, which time."""

    holder: Prometheus
    variables: Mapping[str, str]
    start: float
    end: float
    step: float

    def ask(self, expr: str) -> str:
        return asked(expr, {**self.variables, "__rate_interval": "1m"})


def page(json: Mapping[str, Any], view: View, note: str) -> tuple[str, int]:
    """HTML, and how high it is."""
    parts, bottom = [], 0
    for panel in json["panels"]:
        at = panel["gridPos"]
        bottom = max(bottom, at["y"] + at["h"])
        parts.append(_placed(panel, view))
    height = HEAD + bottom * CELL + MARGIN
    chosen = ", ".join(f"{name} = {value}" for name, value in view.variables.items())
    times = " to ".join(f"{datetime.fromtimestamp(at, UTC):%H:%M}" for at in (view.start, view.end))
    title = f"<h1>{escape(json['title'])}</h1>"
    head = f"<header>{title}<p>{escape(chosen)}; {times} UTC. {escape(note)}</p></header>"
    body = f'<body style="width:{WIDTH}px;height:{height}px">{head}{"".join(parts)}</body>'
    return f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>{body}', height


def _placed(panel: Mapping[str, Any], view: View) -> str:
    at = panel["gridPos"]
    unit = (WIDTH - 2 * MARGIN) / 24
    left, top = MARGIN + at["x"] * unit, HEAD + at["y"] * CELL
    if panel["type"] == ROW_TEXT:
        return f'<h2 style="left:{left:.0f}px;top:{top}px">{escape(panel["title"])}</h2>'
    width, height = at["w"] * unit - GAP, at["h"] * CELL - GAP
    inner = _drawn(panel, view, width, height - PANEL_HEAD)
    place = f"left:{left:.0f}px;top:{top}px;width:{width:.0f}px;height:{height}px"
    title = escape(panel["title"])
    return f'<section style="{place}"><h3>{title}</h3>{inner}</section>'


def _drawn(panel: Mapping[str, Any], view: View, width: float, height: float) -> str:
    kind = panel["type"]
    if kind == "table":
        return _table(panel, view)
    if kind == "stat":
        return _number(panel, view, width)
    found = [
        Line(_name(target["legendFormat"], labels), points)
        for target in panel["targets"]
        for labels, points in view.holder.over(view.ask(target["expr"]), view.start, view.end, view.step)
    ]
    if not found:
        return '<p class="none">no data</p>'
    frame = Frame(width, height, view.start, view.end, view.step)
    return {"timeseries": draw.lines, "heatmap": draw.heat, "state-timeline": draw.states}[kind](
        panel, found, frame
    )


def _name(legend: str, labels: Labels) -> str:
    return re.sub(r"{{ *(\w+) *}}", lambda found: labels.get(found[1], ""), legend)


def _number(panel: Mapping[str, Any], view: View, width: float) -> str:
    (target,) = panel["targets"]
    fields, expr = panel["fieldConfig"]["defaults"], view.ask(target["expr"])
    if panel["options"]["textMode"] == "name":
        named = [_name(target["legendFormat"], labels) for labels, _ in view.holder.now(expr, view.end)]
        return f'<p class="number">{escape(", ".join(named) or fields["noValue"])}</p>'
    found = view.holder.over(expr, view.start, view.end, view.step)
    points = [point for _, series in found for point in series if math.isfinite(point[1])]
    if not points:
        return f'<p class="none">{fields["noValue"]}</p>'
    last = points[-1][1]
    colour = colour_at(fields["thresholds"]["steps"], last)
    told = said(last, fields["unit"], fields.get("decimals"))
    small = draw.spark(points, colour, width - 16, 34)
    return f'<p class="number" style="color:{colour}">{told}</p>{small}'


def _table(panel: Mapping[str, Any], view: View) -> str:
    """The transformations merge and organize, as far as they are used."""
    organize = next(each["options"] for each in panel["transformations"] if each["id"] == "organize")
    alone = len(panel["targets"]) == 1
    rows: list[dict[str, Any]] = []
    for target in panel["targets"]:
        column = "Value" if alone else f"Value #{target['refId']}"
        for labels, value in view.holder.now(view.ask(target["expr"]), view.end):
            _merge(rows, labels, column, value)
    order, renamed = organize["indexByName"], organize["renameByName"]
    there = sorted({key for row in rows for key in row}, key=lambda name: order.get(name, len(order)))
    names = {name: renamed.get(name, name) for name in there if name not in organize["excludeByName"]}
    shown = [{names[key]: value for key, value in row.items() if key in names} for row in rows]
    for each in panel.get("options", {}).get("sortBy", ()):
        shown.sort(key=_key(each["displayName"]), reverse=bool(each["desc"]))
    if not shown:
        return '<p class="none">no data</p>'
    heads = "".join(f"<th{_right(shown, name)}>{escape(name)}</th>" for name in names.values())
    lines = "".join(
        "<tr>" + "".join(_cell(panel, name, row.get(name)) for name in names.values()) + "</tr>"
        for row in shown
    )
    return f"<table><tr>{heads}</tr>{lines}</table>"


def _merge(rows: list[dict[str, Any]], labels: Labels, column: str, value: float) -> None:
    """Into the row that says the same, where there is one without this column."""
    for row in rows:
        shared = [key for key in labels if key in row]
        if shared and column not in row and all(row[key] == labels[key] for key in shared):
            row.update(labels)
            row[column] = value
            return
    rows.append({**labels, column: value})


def _key(name: str) -> Any:
    return lambda row: (name not in row, row.get(name, 0))


def _right(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    return ' class="n"' if any(isinstance(row.get(name), float) for row in rows) else ""


def _cell(panel: Mapping[str, Any], name: str, value: Any) -> str:
    if not isinstance(value, float):
        return f"<td>{escape(str(value)) if value is not None else ''}</td>"
    style = draw.style_of(panel, name)
    for mapping in style.get("mappings") or ():
        if word := mapping["options"].get(f"{value:.0f}"):
            return f'<td class="n" style="color:{COLOURS[word["color"]]}">{word["text"]}</td>'
    steps = (style.get("thresholds") or {}).get("steps") or ()
    told = said(value, style.get("unit", "short"), style.get("decimals"))
    return f'<td class="n" style="color:{colour_at(steps, value)}">{told}</td>'
