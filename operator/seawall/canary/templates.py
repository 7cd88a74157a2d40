"""Metrics of a user's own: PromQL of two cumulative counters for each arm, under the same judge.

What a query says at both ends of a window is a count. Anything else (a counter that fell, no series, several)
is no count at all: it speaks neither for a candidate nor against it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from seawall.canary.judge import Rule
from seawall.canary.window import BUILT_IN

VARIABLE = re.compile(r"\{\{(namespace|name|stable|candidate)\}\}")
PLAIN = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
"""Means nothing but itself inside a string of PromQL."""
FLOOR = 0.01
ALARM_SHARE = 0.4
"""Beside the built-in metrics' shares, before all are dealt anew."""
BY_RATIO = 0.5
"""Nobody knows whether such a rate lies far below its floor, as errors do, or near it."""
CORRELATION = 0.05
FEWEST_LOST = 2
"""So many windows in a row without counts are not chance any more."""


class Uncounted(Exception):
    """Why a template has no counts in a window, as a sentence for people."""


@dataclass(frozen=True, slots=True)
class Pair:
    bad: str
    total: str

    def filled(self, values: Mapping[str, str]) -> Pair:
        return Pair(filled(self.bad, values), filled(self.total, values))


@dataclass(frozen=True, slots=True)
class Template:
    name: str
    stable: Pair
    candidate: Pair

    @property
    def digest(self) -> str:
        """Other queries are another metric, whatever its name."""
        texts = [self.stable.bad, self.stable.total, self.candidate.bad, self.candidate.total]
        return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:8]


def filled(query: str, values: Mapping[str, str]) -> str:
    """With its variables replaced, all at once: what a value holds is never looked at again."""

    def value(found: re.Match[str]) -> str:
        known = values.get(found[1], "")
        if PLAIN.fullmatch(known) is None:
            raise Uncounted(f"there is no {found[1]} that {{{{{found[1]}}}}} could stand for")
        return known

    return VARIABLE.sub(value, query)


def grown(before: Mapping[str, float], now: Mapping[str, float], pair: Pair, arm: str) -> tuple[float, float]:
    """(bad, total) within a window, from what queries said at its ends. Raises Uncounted."""
    found = {}
    for kind, query in (("bad", pair.bad), ("total", pair.total)):
        found[kind] = now[query] - before[query]
        if found[kind] < 0:
            raise Uncounted(f"{arm}.{kind} fell: a counter began anew, or series left the sum")
    if found["bad"] > found["total"]:
        raise Uncounted(f"{arm}.bad grew by more than {arm}.total, of which it must be a part")
    return found["bad"], found["total"]


def rule_of(name: str, of: str = "") -> Rule:
    """Before anything is said about its bounds."""
    return Rule(name, FLOOR, 1.25, 2.0, ALARM_SHARE, BY_RATIO, CORRELATION, CORRELATION, of)


def dealt(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Alpha is dealt out whole to those that are judged: evidence whose weights sum to 1 holds alpha by
    however few or many of them."""
    used = tuple(rules)
    whole = sum(rule.alarm_share for rule in used)
    return tuple(replace(rule, alarm_share=rule.alarm_share / whole) for rule in used)


def further(rules: Iterable[Rule]) -> list[str]:
    """Names of those that are not built in."""
    return [rule.metric for rule in rules if rule.metric not in BUILT_IN]
