"""What the dashboards ask, read from their JSON as Grafana reads it: by the tests and by the preview."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "charts" / "seawall" / "dashboards"


@dataclass(frozen=True)
class Query:
    """One query of one panel, with the variables still in it."""

    dashboard: str
    panel: str
    ref: str
    expr: str
    instant: bool


def load() -> dict[str, dict[str, Any]]:
    """Page -> its JSON."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))}


def panels(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Without rows."""
    return [panel for panel in page["panels"] if panel["type"] != "row"]


def queries(pages: Mapping[str, Mapping[str, Any]]) -> Iterator[Query]:
    for name, page in pages.items():
        for panel in panels(page):
            for target in panel["targets"]:
                instant = bool(target.get("instant"))
                yield Query(name, panel["title"], target["refId"], target["expr"], instant)


def asked(expr: str, variables: Mapping[str, str]) -> str:
    """As Grafana sends it."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in variables:
            raise ValueError(f"a variable without a value: {found[0]} in {expr}")
        return variables[found[1]]

    return re.sub(r"\$(\w+)", value, expr)
