"""Reads arrival traces of four kinds and refuses what it cannot trust, with one sentence that says where.

A trace becomes either exact arrival times (one timestamp per request, not rescaled) or a rate per step.
Rates are turned into arrivals by a Poisson process within each step, from a seed.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from seawall.simulate.kernel import Floats

MINUTE = 60.0
LONGEST_SECONDS = 366 * 86400.0
"""One count is kept for each second."""
_FRACTION = re.compile(r"(\.\d{6})\d+")


class TraceError(ValueError):
    """Why a trace is refused, as one sentence for whoever typed its name."""


@dataclass(frozen=True)
class Trace:
    """Requests per second, constant within each step; `times` where the file names every request."""

    name: str
    rates: Floats
    step: float
    times: Floats | None = None
    factor: float = 1.0

    @property
    def seconds(self) -> float:
        return len(self.rates) * self.step

    @property
    def mean_rps(self) -> float:
        return float(self.rates.mean())

    @property
    def exact(self) -> bool:
        return self.times is not None

    def scaled_to(self, mean_rps: float) -> Trace:
        """The same shape at another mean: every step's rate times one factor. Exact times are given up."""
        factor = mean_rps / self.mean_rps
        return replace(self, rates=self.rates * factor, times=None, factor=self.factor * factor)

    def with_burst(self, times: float, start: float, seconds: float) -> Trace:
        """`times` the rate for `seconds`, from `start` on."""
        at = np.arange(len(self.rates)) * self.step
        inside = (at >= start) & (at < start + seconds)
        return replace(self, rates=np.where(inside, self.rates * times, self.rates), times=None)


def read(path: Path, period: float | None = None, series: str | None = None) -> Trace:
    """The format is known by the file's first line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise TraceError(f"{path.name}: cannot be read as text: {problem}") from None
    lines = text.splitlines()
    start = next((line.strip() for line in lines if line.strip()), "")
    if not start:
        raise TraceError(f"{path.name}: is empty")
    if start.startswith("{"):
        return _faro(path.name, lines, series)
    if series is not None:
        raise TraceError(f"{path.name}: has one series only; --series is for files with several")
    rows = list(csv.reader(lines))
    header = [cell.strip().lower() for cell in rows[0]]
    body = [(number, row) for number, row in enumerate(rows[1:], 2) if any(cell.strip() for cell in row)]
    if "timestamp" in header:
        return _timestamps(path.name, body, header.index("timestamp"))
    if "period" in header and "count" in header:
        return _periods(path.name, body, header.index("period"), header.index("count"), period)
    raise TraceError(
        f"{path.name}: line 1: neither a 'timestamp' column nor 'period,count' nor JSON lines was found"
    )


def series_of(path: Path) -> list[str]:
    """Names that --series takes; none for a file with one series."""
    with path.open(encoding="utf-8-sig") as lines:
        first = next((line for line in lines if line.strip()), "")
    if not first.lstrip().startswith("{"):
        return []
    return [name for name, _ in _counts(path.name, 1, first)]


def _cell(name: str, number: int, row: Sequence[str], place: int) -> str:
    if place >= len(row) or not row[place].strip():
        raise TraceError(f"{name}: line {number}: a value is missing")
    return row[place].strip()


def _timestamps(name: str, body: Sequence[tuple[int, list[str]]], place: int) -> Trace:
    times = np.empty(len(body))
    for index, (number, row) in enumerate(body):
        times[index] = _seconds(name, number, _cell(name, number, row, place))
        if index and times[index] < times[index - 1]:
            raise TraceError(f"{name}: line {number}: is earlier than the line before; sort the file by time")
    if len(times) < 2:
        raise TraceError(f"{name}: two requests are needed at least, {len(times)} found")
    if times[0] < 0:
        raise TraceError(f"{name}: line {body[0][0]}: a negative time")
    times -= times[0]
    if times[-1] <= 0:
        raise TraceError(f"{name}: all requests have the same time")
    if times[-1] > LONGEST_SECONDS:
        raise TraceError(f"{name}: the requests lie {times[-1]:.3g} s apart; a year is the most")
    counts = np.bincount(times.astype(np.int64)).astype(np.float64)
    return Trace(name, counts, 1.0, times)


def _seconds(name: str, number: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        try:
            when = datetime.fromisoformat(_FRACTION.sub(r"\1", text))
        except ValueError:
            raise TraceError(
                f"{name}: line {number}: {text!r} is neither seconds nor an RFC 3339 time"
            ) from None
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(value):
        raise TraceError(f"{name}: line {number}: {text!r} is no time")
    return value


def _periods(
    name: str, body: Sequence[tuple[int, list[str]]], at: int, of: int, period: float | None
) -> Trace:
    if period is None:
        raise TraceError(f"{name}: counts per period need --period SECONDS")
    counts: list[float] = []
    first = 0.0
    for number, row in body:
        index = _number(name, number, _cell(name, number, row, at), "period")
        count = _number(name, number, _cell(name, number, row, of), "count")
        if not counts:
            first = index
        _in_sequence(name, number, index - first, len(counts))
        counts.append(count)
    return _rates(name, counts, period)


def _in_sequence(name: str, number: int, index: float, expected: int) -> None:
    if index == expected:
        return
    if index < expected:
        raise TraceError(f"{name}: line {number}: period repeats or goes back; sort the file, one row each")
    raise TraceError(
        f"{name}: line {number}: a gap of {index - expected:g} periods before this line;"
        " write 0 where nothing came"
    )


def _number(name: str, number: int, text: object, what: str) -> float:
    try:
        value = math.nan if isinstance(text, bool) else float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise TraceError(f"{name}: line {number}: {what} {text!r} is no number")
    if value < 0:
        raise TraceError(f"{name}: line {number}: {what} {text!r} is negative")
    return value


def _rates(name: str, counts: Sequence[float], step: float) -> Trace:
    if not counts:
        raise TraceError(f"{name}: has no rows")
    rates = np.array(counts) / step
    if not rates.any():
        raise TraceError(f"{name}: has no requests")
    return Trace(name, rates, step)


def _faro(name: str, lines: Sequence[str], series: str | None) -> Trace:
    """JSON lines, one a minute: {"ts": 0, "counts": {"serve-cluster0": {"classifier": 957}, …}}."""
    wanted: list[float] = []
    first = 0.0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        minute = _number(name, number, _json(name, number, line).get("ts"), "ts")
        counts = dict(_counts(name, number, line))
        if series is None and len(counts) > 1:
            raise TraceError(f"{name}: holds {len(counts)} series; choose one with --series: {_list(counts)}")
        chosen = series or next(iter(counts))
        if chosen not in counts:
            raise TraceError(f"{name}: line {number}: no series {chosen!r}; there are {_list(counts)}")
        first = minute if not wanted else first
        _in_sequence(name, number, minute - first, len(wanted))
        wanted.append(_number(name, number, counts[chosen], "count"))
    return _rates(f"{name}:{series}" if series else name, wanted, MINUTE)


def _json(name: str, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise TraceError(f"{name}: line {number}: no JSON: {problem}") from None
    if not isinstance(row, dict) or not isinstance(row.get("counts"), dict) or not row["counts"]:
        raise TraceError(f"{name}: line {number}: an object with 'ts' and 'counts' is needed")
    return row


def _counts(name: str, number: int, line: str) -> Iterator[tuple[str, Any]]:
    """One series per application; its inner name is added only where an application has several."""
    for outer, inner in _json(name, number, line)["counts"].items():
        if not isinstance(inner, Mapping) or not inner:
            raise TraceError(f"{name}: line {number}: counts of {outer!r} must be an object of numbers")
        for key, count in inner.items():
            yield (outer if len(inner) == 1 else f"{outer}/{key}"), count


def _list(counts: Mapping[str, Any]) -> str:
    return ", ".join(sorted(counts))
