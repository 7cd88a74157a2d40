"""What the templates of one service say of its windows, as far as Prometheus has been asked.

A window is public once it has been asked about, because it is counted once: what came later would be lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from seawall.canary.templates import Pair, Template, Uncounted
from seawall.canary.window import Count, Metric, Window


@dataclass(frozen=True, slots=True)
class Told:
    """Of one window; a template is in both or in neither."""

    stable: Mapping[Metric, tuple[Count, Count]] = field(default_factory=dict)
    candidate: Mapping[Metric, tuple[Count, Count]] = field(default_factory=dict)
    untold: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One template with its variables filled in, or why they cannot be."""

    name: str
    arms: Mapping[str, Pair]
    problem: str = ""


def _question(template: Template, values: Mapping[str, str]) -> Question:
    try:
        arms = {"stable": template.stable.filled(values), "candidate": template.candidate.filled(values)}
    except Uncounted as problem:
        return Question(template.name, {}, str(problem))
    return Question(template.name, arms)


@dataclass(slots=True)
class Counts:
    questions: tuple[Question, ...] = ()
    since: float = float("-inf")
    """windows up to here are not asked about: they are of other revisions, or of other templates"""
    told: dict[float, Told] = field(default_factory=dict)
    """by the window's end"""
    seconds: float = 15.0
    """of a window"""
    edges: dict[tuple[float, str], float] = field(default_factory=dict)
    """what a query said of a moment: one window's end is the next one's beginning"""

    def follow(
        self,
        templates: Iterable[Template],
        values: Mapping[str, str],
        seconds: float,
        closed: Sequence[Window],
    ) -> None:
        self.seconds = seconds
        questions = tuple(_question(template, values) for template in templates)
        if questions != self.questions:
            self.questions, self.told, self.edges = questions, {}, {}
            self.since = closed[-1].end if closed else self.since

    def due(self, closed: Iterable[Window]) -> list[Window]:
        """Those in which there was a candidate to be asked about, oldest first."""
        if not self.questions:
            return []
        return [w for w in closed if w.end > self.since and w.candidate.ready_pods and w.end not in self.told]

    def learn(self, window: Window, told: Told) -> None:
        self.told[window.end] = told
        self.edges = {place: value for place, value in self.edges.items() if place[0] >= window.end}

    def completed(self, closed: Sequence[Window]) -> tuple[Window, ...]:
        """Up to the first that is still due."""
        due = self.due(closed)
        first = due[0].end if due else float("inf")
        ends = {window.end for window in closed}
        self.told = {end: told for end, told in self.told.items() if end in ends}
        return tuple(self._with(window) for window in closed if window.end < first)

    def _with(self, window: Window) -> Window:
        told = self.told.get(window.end)
        if told is None:
            return window
        return replace(
            window,
            stable=replace(window.stable, further=told.stable),
            candidate=replace(window.candidate, further=told.candidate),
            untold=told.untold,
        )


__all__ = ["Counts", "Question", "Told"]
