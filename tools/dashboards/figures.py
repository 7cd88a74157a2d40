"""Numbers as people read them, round steps for axes, and the colours by their names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

COLOURS = {
    "green": "#2c9a4b",
    "orange": "#d97f0c",
    "red": "#cf3030",
    "blue": "#2f6bd8",
    "text": "#20242c",
}
PALETTE = ("#2f6bd8", "#d9660c", "#2c9a4b", "#9a48c9", "#1497a8", "#b7791f", "#cf3070", "#5a6578")
PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
BEHIND = {"reqps": " req/s", "ops": " ops/s", "watt": " W", "joule": " J", "ms": " ms", "short": ""}


def said(value: float, unit: str, decimals: int | None = None) -> str:
    if unit == "percentunit":
        return f"{_rounded(value * 100, decimals)} %"
    if unit == "s":
        return _seconds(value, decimals)
    if unit == "bytes":
        return f"{value / 2**20:.0f} MiB"
    number, prefix = value, ""
    for least, letter in PREFIXES:
        if abs(value) >= least and decimals is None:
            number, prefix = value / least, letter
            break
    behind = BEHIND.get(unit, f" {unit}").strip()
    return f"{_rounded(number, decimals)} {prefix}{behind}".rstrip()


def _seconds(value: float, decimals: int | None) -> str:
    for least, name in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if abs(value) >= least:
            return f"{_rounded(value / least, decimals)} {name}"
    if value == 0:
        return "0 s"
    return f"{_rounded(value * 1000, decimals)} ms"


def _rounded(number: float, decimals: int | None) -> str:
    if decimals is None:
        decimals = 0 if number == round(number) or abs(number) >= 100 else 2 if abs(number) < 10 else 1
        told = f"{number:.{decimals}f}"
        return told.rstrip("0").rstrip(".") if decimals else told
    return f"{number:.{decimals}f}"


def ticks(low: float, high: float, unit: str = "", about: int = 4) -> list[float]:
    """Round values that enclose both ends."""
    if unit == "bytes":
        return [each * 2**20 for each in ticks(low / 2**20, high / 2**20)]
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / about
    scale = 10 ** math.floor(math.log10(rough))
    step = next(each * scale for each in (1, 2, 2.5, 5, 10) if each * scale >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(at * step, 12) for at in range(first, last + 1)]


def marked(marks: Sequence[float], unit: str) -> list[str]:
    """With as many digits as it takes to tell them apart."""
    for decimals in (None, 2, 3, 4, 5):
        told = [said(mark, unit, decimals) for mark in marks]
        if len(set(told)) == len(told):
            break
    return told


def colour_at(steps: Sequence[Mapping[str, Any]], value: float) -> str:
    """Of the last threshold that the value has reached."""
    name = "text"
    for step in steps:
        if step["value"] is None or value >= step["value"]:
            name = step["color"]
    return COLOURS.get(name, name)


def shade(share: float) -> str:
    """Of a heat map: white to dark orange."""
    light, dark = (255, 246, 235), (160, 50, 4)
    middle = (245, 140, 50)
    ends, within = ((light, middle), share * 2) if share < 0.5 else ((middle, dark), share * 2 - 1)
    return "#" + "".join(f"{round(a + (b - a) * within):02x}" for a, b in zip(*ends, strict=True))
