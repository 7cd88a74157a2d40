"""Asks Prometheus what a user's templates say of each window that has closed.

Beside the rounds of the scaler and one question at a time for each service: a query that somebody has written
badly costs that service its data and nobody else theirs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from seawall.canary.counts import Counts, Question, Told
from seawall.canary.templates import Pair, Uncounted, grown
from seawall.canary.window import Count, Window
from seawall.decide.types import Key
from seawall.ports import Metrics, NoCount

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 8.0
"""For all templates of one window together."""
BEHIND = 4
"""Windows that may wait to be asked about; older ones have no data."""
SLOW = "Prometheus takes too long to answer"


class Counted(Protocol):
    """A service whose windows wait for counts."""

    @property
    def counts(self) -> Counts: ...

    def waiting(self) -> list[Window]:
        """Oldest first."""

    def show(self) -> None:
        """Makes public what has been counted."""


class Counting:
    def __init__(self, metrics: Metrics, done: Callable[[Key], None]) -> None:
        """`done` hears of every window that has been asked about."""
        self._metrics = metrics
        self._done = done
        self._tasks: dict[Key, asyncio.Task[None]] = {}

    def start(self, key: Key, service: Counted) -> None:
        if key not in self._tasks:
            task = asyncio.create_task(self._run(key, service), name=f"counts of {key}")
            self._tasks[key] = task
            task.add_done_callback(lambda _: self._tasks.pop(key, None))

    def cancel(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    async def _run(self, key: Key, service: Counted) -> None:
        try:
            while due := service.waiting():
                counts, questions = service.counts, service.counts.questions
                if len(due) > BEHIND:
                    told = Told(untold=_sentence(questions[0], SLOW))
                else:
                    told = await self._ask(counts, due[0])
                if counts.questions == questions:
                    counts.learn(due[0], told)
                    service.show()
                    self._done(key)
        except Exception:  # one service's surprise is that service's
            logger.exception("a window was not counted", extra={"key": str(key)})

    async def _ask(self, counts: Counts, window: Window) -> Told:
        stable: dict[str, tuple[Count, Count]] = {}
        candidate: dict[str, tuple[Count, Count]] = {}
        untold = ""
        end = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        for question in counts.questions:
            try:
                async with asyncio.timeout_at(end):
                    found = await self._grown(counts, question, window.end)
            except TimeoutError:
                untold = untold or _sentence(question, SLOW)
            except Uncounted as problem:
                untold = untold or _sentence(question, str(problem))
            else:
                stable[question.name], candidate[question.name] = found
        return Told(stable, candidate, untold)

    async def _grown(
        self, counts: Counts, question: Question, end: float
    ) -> tuple[tuple[float, float], tuple[float, float]]:
        if question.problem:
            raise Uncounted(question.problem)
        found = []
        for arm, pair in question.arms.items():
            before = await self._standing(counts, arm, pair, end - counts.seconds)
            found.append(grown(before, await self._standing(counts, arm, pair, end), pair, arm))
        return found[0], found[1]

    async def _standing(self, counts: Counts, arm: str, pair: Pair, at: float) -> dict[str, float]:
        found = {}
        for kind, query in (("bad", pair.bad), ("total", pair.total)):
            if (at, query) not in counts.edges:
                try:
                    counts.edges[at, query] = await self._metrics.count(query, at)
                except NoCount as problem:
                    raise Uncounted(f"{arm}.{kind}: {problem}") from None
            found[query] = counts.edges[at, query]
        return found


def _sentence(question: Question, problem: str) -> str:
    return f"The template {question.name} has no data: {problem}"
