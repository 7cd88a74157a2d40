"""The kinds of panel that the pages are built from, so that a series looks the same wherever it is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, statetimeline, table
from grafana_foundation_sdk.builders import timeseries as lines_of
from grafana_foundation_sdk.models import common as shown
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heat
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
GOOD, WARN, BAD, NEUTRAL = "green", "orange", "red", "text"
TAG = "seawall"
SERVICE_UID, FLEET_UID, OPERATOR_UID = "seawall-service", "seawall-fleet", "seawall-operator"
THE_SERVICE = "namespace, inferenceservice"
THE_REVISION = f"{THE_SERVICE}, revision"

Steps = Sequence[tuple[float | None, str]]
"""(from this value on, this colour); the first has None"""
Words = Mapping[int, tuple[str, str]]
"""value -> (what it means, its colour)"""
LEFT: Steps = ((None, BAD), (0, WARN), (0.25, GOOD))
"""of an error budget"""
TRUTH: Words = {1: ("True", GOOD), 0: ("False", BAD), -1: ("Unknown", WARN)}


@dataclass(frozen=True)
class Ask:
    """One query of a panel and what its series are called."""

    expr: str
    legend: str = ""


def dashed(name: str, colour: str) -> tuple[str, list[model.DynamicConfigValue]]:
    """A line to hold others against."""
    return name, [
        model.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 6]}),
        model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour}),
        model.DynamicConfigValue("custom.fillOpacity", 0),
    ]


def thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    made = [model.Threshold(value=value, color=colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(made)


def number(
    title: str,
    text: str,
    expr: str,
    unit: str = "short",
    steps: Steps = ((None, NEUTRAL),),
    *,
    width: int = 4,
    decimals: int | None = None,
    label: str | None = None,
) -> stat.Panel:
    """The value of the moment; with `label`, that label's value in place of the number."""
    panel = (
        stat.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .span(width)
        .height(4)
        .unit(unit)
        .thresholds(thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .graph_mode(shown.BigValueGraphMode.NONE if label else shown.BigValueGraphMode.AREA)
        .color_mode(shown.BigValueColorMode.VALUE)
        .text_mode(shown.BigValueTextMode.NAME if label else shown.BigValueTextMode.AUTO)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
        .no_value("no data")
    )
    if decimals is not None:
        panel = panel.decimals(decimals)
    target = prometheus.Dataquery().expr(expr).ref_id("A").datasource(SOURCE)
    if label:
        return panel.with_target(target.instant().legend_format(f"{{{{{label}}}}}"))
    return panel.with_target(target.range().legend_format(title))


def lines(
    title: str,
    text: str,
    asks: Sequence[Ask],
    unit: str = "short",
    *,
    width: int = 12,
    height: int = 8,
    held_against: Mapping[str, str] | None = None,
    steps: Steps | None = None,
    stacked: bool = False,
    least: float | None = 0,
    most: float | None = None,
) -> lines_of.Panel:
    """`held_against`: legend -> colour of a dashed series. `steps`: dashed lines at fixed values."""
    panel = (
        lines_of.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .span(width)
        .height(height)
        .unit(unit)
        .line_width(1.5)
        .fill_opacity(25 if stacked else 6)
        .show_points(shown.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(shown.LegendDisplayMode.TABLE)
            .placement(shown.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(
            common.VizTooltipOptions().mode(shown.TooltipDisplayMode.MULTI).sort(shown.SortOrder.DESCENDING)
        )
    )
    for ref, ask in zip("ABCDEFGH", asks, strict=False):
        target = prometheus.Dataquery().expr(ask.expr).ref_id(ref).datasource(SOURCE)
        panel = panel.with_target(target.range().legend_format(ask.legend))
    for name, colour in (held_against or {}).items():
        panel = panel.override_by_name(*dashed(name, colour))
    if steps is not None:
        style = common.GraphThresholdsStyleConfig().mode(shown.GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds(thresholds(steps)).thresholds_style(style)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(shown.StackingMode.NORMAL).group("A"))
    if least is not None:
        panel = panel.min(least)
    return panel if most is None else panel.max(most)


def heat_map(
    title: str, text: str, expr: str, unit: str, *, width: int = 12, height: int = 8
) -> heatmap.Panel:
    """Of a histogram's buckets: the legend is the upper edge."""
    target = prometheus.Dataquery().expr(expr).ref_id("A").datasource(SOURCE).range()
    colours = (
        heatmap.HeatmapColorOptions().mode(heat.HeatmapColorMode.SCHEME).scheme("Oranges").fill("dark-orange")
    )
    return (
        heatmap.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .span(width)
        .height(height)
        .calculate(False)
        .color(colours.scale(heat.HeatmapColorScale.EXPONENTIAL).exponent(0.5).steps(64))
        .y_axis(heatmap.YAxisConfig().unit(unit).axis_placement(shown.AxisPlacement.LEFT))
        .cell_gap(1)
        .with_target(target.format(PromQueryFormat.HEATMAP).legend_format("{{le}}"))
    )


def states(
    title: str, text: str, ask: Ask, *, width: int = 12, height: int = 8, words: Words | None = None
) -> statetimeline.Panel:
    """When something was said: a bar for each thing, as long as its series is there."""
    named = [_mapping(words)] if words else []
    colours = model.FieldColorModeId.THRESHOLDS if words else model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME
    target = prometheus.Dataquery().expr(ask.expr).ref_id("A").datasource(SOURCE).range()
    return (
        statetimeline.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .span(width)
        .height(height)
        .show_value(shown.VisibilityMode.NEVER)
        .row_height(0.8)
        .fill_opacity(75)
        .line_width(0)
        .color_scheme(dashboard.FieldColor().mode(colours))
        .mappings(named)
        .legend(common.VizLegendOptions().show_legend(False))
        .with_target(target.legend_format(ask.legend))
    )


@dataclass(frozen=True)
class Column:
    """One query of a table, merged with the others on the labels that they share."""

    name: str
    expr: str
    unit: str = "short"
    decimals: int | None = None
    steps: Steps | None = None
    words: Words | None = None
    hidden: bool = False
    """its labels are what is shown"""


def grid(
    title: str,
    text: str,
    labels: Mapping[str, str],
    columns: Sequence[Column],
    *,
    width: int = 24,
    height: int = 9,
    link: tuple[str, str] | None = None,
    sort: tuple[str, bool] | None = None,
) -> table.Panel:
    """`labels`: label -> its column's head. `link`: (column, address). `sort`: (column, descending)."""
    panel = table.Panel().title(title).description(text).datasource(SOURCE).span(width).height(height)
    for ref, column in zip("ABCDEFGHIJKL", columns, strict=False):
        target = prometheus.Dataquery().expr(column.expr).ref_id(ref).datasource(SOURCE).instant()
        panel = panel.with_target(target.format(PromQueryFormat.TABLE)).override_by_name(
            column.name, _column(column)
        )
    values = {f"Value #{ref}": column.name for ref, column in zip("ABCDEFGHIJKL", columns, strict=False)}
    if len(columns) == 1:
        values = {"Value": columns[0].name}
    order = {name: at for at, name in enumerate([*labels, *values])}
    hidden = {ref: True for ref, name in values.items() if any(c.hidden and c.name == name for c in columns)}
    panel = panel.with_transformation(model.DataTransformerConfig("merge", options={}))
    options = {
        "excludeByName": {"Time": True} | hidden,
        "indexByName": order,
        "renameByName": {**labels, **values},
    }
    panel = panel.with_transformation(model.DataTransformerConfig("organize", options=options))
    if link:
        address = [{"title": "Open", "url": link[1], "targetBlank": False}]
        panel = panel.override_by_name(link[0], [model.DynamicConfigValue("links", address)])
    if sort:
        panel = panel.sort_by([common.TableSortByFieldState().display_name(sort[0]).desc(sort[1])])
    return panel


def _column(column: Column) -> list[model.DynamicConfigValue]:
    made: list[Any] = [model.DynamicConfigValue("unit", column.unit)]
    if column.decimals is not None:
        made.append(model.DynamicConfigValue("decimals", column.decimals))
    if column.steps is not None:
        steps = [{"value": value, "color": colour} for value, colour in column.steps]
        made.append(model.DynamicConfigValue("thresholds", {"mode": "absolute", "steps": steps}))
        made.append(model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}))
        made.append(model.DynamicConfigValue("color", {"mode": "thresholds"}))
    if column.words is not None:
        made.append(model.DynamicConfigValue("mappings", [_mapping(column.words)]))
        made.append(model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}))
    return made


def _mapping(words: Words) -> model.ValueMap:
    found = enumerate(words.items())
    return model.ValueMap(
        {
            str(v): model.ValueMappingResult(text=text, color=colour, index=at)
            for at, (v, (text, colour)) in found
        }
    )
