"""Recorded windows: one JSON object per line, checked field by field, because a verdict rests on each.

A file that cannot be read says nothing about a candidate, so every fault is an Unreadable with its line and
field, never a window that is left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

from seawall.canary.window import BUILT_IN, Arm, Count, Metric, Window

SAME_EDGE = 1e-9
MOST_FURTHER = 5


class Unreadable(ValueError):
    """One sentence: line, field, what is wrong with it."""


def read(lines: Iterable[str], slo_seconds: float | None = None) -> Iterator[Window]:
    """Empty lines are skipped. With an SLO, slow requests are counted from `buckets` where there are some."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _window(_parsed(line), slo_seconds)
        except Unreadable as problem:
            raise Unreadable(f"line {number}: {problem}") from None


def _parsed(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise Unreadable(f"not JSON: {problem}") from None
    if not isinstance(value, dict):
        raise Unreadable("a window is an object with windowEnd, stable and candidate")
    return value


def _window(value: dict[str, Any], slo_seconds: float | None) -> Window:
    arms = {name: _arm(value, name, slo_seconds) for name in ("stable", "candidate")}
    if arms["stable"].further.keys() != arms["candidate"].further.keys():
        raise Unreadable("metrics: stable and candidate name different ones")
    return Window(_number(value, "windowEnd", ""), arms["stable"], arms["candidate"])


def _arm(value: dict[str, Any], name: str, slo_seconds: float | None) -> Arm:
    given = value.get(name)
    if not isinstance(given, dict):
        raise Unreadable(f"{name}: an object with requests, slow and errors is needed")
    where = f"{name}."
    requests, errors = (_number(given, field, where) for field in ("requests", "errors"))
    compared, disagreements = (_number(given, field, where, 0.0) for field in ("compared", "disagreements"))
    most: float | None = None
    if "buckets" in given and slo_seconds is not None:
        slow, most = _bracket(given["buckets"], requests, slo_seconds, where)
    else:
        slow = _number(given, "slow", where)
    for field, part, whole, of in (
        ("slow", slow, requests, "requests"), ("errors", errors, requests, "requests"),
        ("disagreements", disagreements, compared, "compared"),
    ):  # fmt: skip
        if part > whole:
            raise Unreadable(f"{where}{field}: {part:g} is more than {of}, {whole:g}")
    further = _further(given.get("metrics", {}), f"{where}metrics")
    return Arm(requests, slow, errors, compared, disagreements, _pods(given, where), most, further)


def _further(given: Any, where: str) -> dict[Metric, tuple[Count, Count]]:
    """Metrics of the user's own: how many of how many were bad."""
    if not isinstance(given, dict) or not all(isinstance(counts, dict) for counts in given.values()):
        raise Unreadable(f"{where}: an object of names, each with bad and total, is needed")
    if len(given) > MOST_FURTHER:
        raise Unreadable(f"{where}: {len(given)} are more than {MOST_FURTHER}")
    found: dict[Metric, tuple[Count, Count]] = {}
    for name, counts in given.items():
        if not name or name in BUILT_IN:
            raise Unreadable(f"{where}: {name!r} is not the name of a further metric")
        bad, total = (_number(counts, part, f"{where}.{name}.") for part in ("bad", "total"))
        if bad > total:
            raise Unreadable(f"{where}.{name}.bad: {bad:g} is more than total, {total:g}")
        found[name] = (bad, total)
    return found


def _number(value: dict[str, Any], field: str, where: str, absent: float | None = None) -> float:
    given = value.get(field, absent)
    if given is None:
        raise Unreadable(f"{where}{field}: is missing")
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise Unreadable(f"{where}{field}: {json.dumps(given)} is not a number")
    try:
        number = float(given)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < 0:
        raise Unreadable(f"{where}{field}: {number:g} is not a count of at least 0")
    return number


def _pods(value: dict[str, Any], where: str) -> int | None:
    if value.get("readyPods") is None:
        return None
    pods = _number(value, "readyPods", where)
    if pods != int(pods):
        raise Unreadable(f"{where}readyPods: {pods:g} is not a whole number")
    return int(pods)


def _bracket(given: Any, requests: float, slo_seconds: float, where: str) -> tuple[float, float | None]:
    """(surely slow, slow at most where no edge is at the SLO) from cumulative counts by upper edge."""
    where = f"{where}buckets"
    if not isinstance(given, dict) or not given:
        raise Unreadable(f"{where}: an object of upper edges in seconds and cumulative counts is needed")
    counts = sorted((_edge(text, where), _number(given, text, f"{where}.")) for text in given)
    held = [count for _, count in counts]
    if held != sorted(held) or held[-1] > requests:
        raise Unreadable(f"{where}: cumulative counts must not fall, nor exceed requests, {requests:g}")
    at = [count for edge, count in counts if math.isclose(edge, slo_seconds, rel_tol=SAME_EDGE)]
    if at:
        return requests - at[0], None
    below = [count for edge, count in counts if edge < slo_seconds]
    above = [count for edge, count in counts if edge > slo_seconds and math.isfinite(edge)]
    return (requests - above[0] if above else 0.0), (requests - below[-1] if below else requests)


def _edge(text: str, where: str) -> float:
    try:
        edge = float(text)
    except ValueError:
        edge = math.nan
    if math.isnan(edge) or edge <= 0:
        raise Unreadable(f"{where}: {text!r} is not an upper edge in seconds")
    return edge
