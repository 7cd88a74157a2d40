"""The dashboards as a TypeScript program over Grafana's own types: the unknown does not compile.

Those types leave `options` and `custom` of a panel open: these are held against the types of its plugin.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

RAW = "./node_modules/@grafana/schema/dist/esm/raw"
PLUGINS = {
    "timeseries": "TimeSeries",
    "stat": "Stat",
    "heatmap": "Heatmap",
    "state-timeline": "StateTimeline",
    "table": "Table",
}
STYLED = ("timeseries", "state-timeline", "heatmap")
"""Plugins whose fields have a type of their own"""
# Enumerations are written as their values in JSON.
HEAD = """\
type Json<T> = T extends string ? `${T}`
  : T extends number ? (number extends T ? number : `${T}` extends `${infer N extends number}` ? N : T)
  : T extends boolean | null | undefined ? T
  : T extends (infer U)[] ? Json<U>[]
  : T extends object ? {[K in keyof T]: Json<T[K]>} : T;
"""


def program(pages: Mapping[str, Mapping[str, Any]]) -> str:
    return HEAD + "\n".join([*_imports(), *_constants(pages)]) + "\n"


def _imports() -> Iterator[str]:
    yield (
        "import type {Dashboard, Panel, RowPanel, VariableModel} "
        f'from "{RAW}/dashboard/x/dashboard_types.gen";'
    )
    for plugin in PLUGINS.values():
        path = f"{RAW}/composable/{plugin.lower()}/panelcfg/x/{plugin}PanelCfg_types.gen"
        yield f'import type * as {plugin} from "{path}";'


def _constants(pages: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    found = [each for page in pages.values() for each in _parts(page)]
    for number, (kind, value) in enumerate(found):
        yield f"const c{number}: {kind} = {json.dumps(value)};"


def _parts(page: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    variables = page["templating"]["list"]
    yield "Json<Omit<Dashboard, 'panels'>>", {k: v for k, v in page.items() if k != "panels"}
    for variable in variables:
        yield "Json<VariableModel>", variable
    for panel in page["panels"]:
        if panel["type"] == "row":
            yield "Json<RowPanel>", panel
            continue
        plugin = PLUGINS[panel["type"]]
        yield "Json<Panel>", panel
        yield f"Partial<Json<{plugin}.Options>>", panel.get("options", {})
        if panel["type"] in STYLED and "fieldConfig" in panel:
            custom = panel["fieldConfig"]["defaults"].get("custom", {})
            yield f"Partial<Json<{plugin}.FieldConfig>>", custom
