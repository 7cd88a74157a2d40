"""Triton's metrics, from the lines of a scrape or from series of Prometheus, into one pod's sample.

Only the families that are used are looked at: a scrape has hundreds of lines, and all of its series of other
models (the stages of a pipeline among them) and of other families are passed over before they are parsed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping

from seawall.measure.types import Histogram, PodSample

SUCCESS = "nv_inference_request_success"
FAILURE = "nv_inference_request_failure"
PENDING = "nv_inference_pending_request_count"
SUMMARY = "nv_inference_request_summary_us"
BUCKET = "nv_inference_first_response_histogram_ms_bucket"
ENERGY = "nv_energy_consumption"
FAMILIES = (SUCCESS, FAILURE, PENDING, SUMMARY, BUCKET, ENERGY)
QUANTILE = 0.99

Series = tuple[str, Mapping[str, str], float]

_LINE = re.compile(r'(\w+)(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?[ \t]+(\S+)(?:[ \t]+\S+)?[ \t]*')
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")
_OPENINGS = tuple(family + bracket for family in FAMILIES for bracket in ("{", " "))


class Unreadable(Exception):
    """This is no metrics text; the message says where, as a phrase that follows the pod's name."""


def read_text(text: str) -> Iterator[Series]:
    """The series of the families above, in the text's order."""
    if text and not text.endswith("\n"):
        raise Unreadable("tells a text that was cut off")
    for line in text.split("\n"):
        if not line.startswith(_OPENINGS):
            continue
        match = _LINE.fullmatch(line.rstrip("\r"))
        if match is None:
            raise Unreadable(f"tells a line that is no metric: {line[:80]}")
        labels = {name: _plain(value) for name, value in _LABEL.findall(match[2] or "")}
        try:
            yield match[1], labels, float(match[3])
        except ValueError:
            raise Unreadable(f"tells {match[3][:40]} as the value of {match[1]}") from None


def pod_sample(
    pod: str, at: float, model: str, series: Iterable[Series], started: float | None = None
) -> PodSample:
    """What the series say of one model; all of its versions together. A series told twice is a problem."""
    found = _Found()
    problem = ""
    for name, labels, value in series:
        if name != ENERGY and labels.get("model") != model:
            continue
        key = (name, *sorted(labels.items()))
        if key in found.seen:
            problem = problem or f"tells {name} twice"
        found.seen.add(key)
        found.take(name, labels, value)
    return PodSample(
        pod=pod,
        at=at,
        answered=found.sums.get(SUCCESS),
        # Only reasons that occurred may be told.
        failed=found.sums.get(FAILURE, 0.0 if SUCCESS in found.sums else None),
        pending=found.sums.get(PENDING),
        histogram=found.histogram(),
        summary_p99_ms=found.summary(),
        joules=found.sums.get(ENERGY),
        started=started,
        problem=problem,
    )


class _Found:
    def __init__(self) -> None:
        self.seen: set[tuple[object, ...]] = set()
        self.sums: dict[str, float] = {}
        self._buckets: dict[str, dict[float, float]] = {}
        self._quantiles: list[float] = []

    def take(self, name: str, labels: Mapping[str, str], value: float) -> None:
        if name == BUCKET:
            edges = self._buckets.setdefault(labels.get("version", ""), {})
            edges[number(labels.get("le", ""))] = value
        elif name == SUMMARY:
            if number(labels.get("quantile", "")) == QUANTILE:
                self._quantiles.append(value)
        else:
            self.sums[name] = self.sums.get(name, 0.0) + value

    def histogram(self) -> Histogram | None:
        """Of all versions, at the edges that all of them have."""
        if not self._buckets:
            return None
        versions = list(self._buckets.values())
        edges = sorted(set.intersection(*(set(version) for version in versions)))
        counts = (sum(version[edge] for version in versions) for edge in edges)
        return Histogram(tuple(edges), tuple(counts))

    def summary(self) -> float | None:
        """The slowest version's; Triton writes NaN after a minute without requests."""
        told = [value for value in self._quantiles if not math.isnan(value)]
        return max(told) / 1000 if told else None


def number(text: str) -> float:
    """A label that is a number; NaN, which is no edge of anything, where it is not."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _plain(value: str) -> str:
    if "\\" not in value:
        return value
    return _ESCAPE.sub(lambda match: "\n" if match[1] == "n" else match[1], value)
