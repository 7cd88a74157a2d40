"""Asks model servers without holding up the queue: a silent pod costs a worker a moment, not a time-out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from seawall.decide.types import Key, Verdict, Verification, VerificationRequest
from seawall.ports import Inference

PASSED_SECONDS = 10.0
"""How long a pass counts: a switch is planned twice, and the second time must not ask again."""
AT_ONCE = 32

Question = tuple[str, str]
"""uid of the service, revision"""


class Verifier:
    def __init__(
        self,
        inference: Inference,
        wake: Callable[[Key], None],
        clock: Callable[[], float],
        patience: float,
    ) -> None:
        self._inference = inference
        self._wake = wake
        self._clock = clock
        self._patience = patience
        self._limit = asyncio.Semaphore(AT_ONCE)
        self._asking: dict[Question, asyncio.Task[Verification]] = {}
        self._answers: dict[Question, tuple[Verification, float]] = {}

    async def ask(self, key: Key, uid: str, request: VerificationRequest) -> Verification | None:
        """The answer, or None when it takes longer; the key comes back to the queue with it."""
        question = (uid, request.revision)
        if (known := self._known(question)) is not None:
            return known
        task = self._asking.get(question)
        if task is None:
            task = asyncio.create_task(self._put(request), name=f"verify {key} {request.revision}")
            self._asking[question] = task
        done, _ = await asyncio.wait({task}, timeout=self._patience)
        if not done:
            task.add_done_callback(lambda ended: self._came_late(key, question, ended))
            return None
        self._asking.pop(question, None)
        return self._keep(question, task.result(), only_passed=True)

    async def _put(self, request: VerificationRequest) -> Verification:
        async with self._limit:
            return await self._inference.verify(request)

    def _came_late(self, key: Key, question: Question, task: asyncio.Task[Verification]) -> None:
        if self._asking.pop(question, None) is None or task.cancelled():
            return
        self._keep(question, task.result(), only_passed=False)
        self._wake(key)

    def _keep(self, question: Question, answer: Verification, *, only_passed: bool) -> Verification:
        if answer.verdict is Verdict.PASSED or not only_passed:
            self._answers[question] = (answer, self._clock() + PASSED_SECONDS)
        return answer

    def _known(self, question: Question) -> Verification | None:
        now = self._clock()
        for old in [q for q, (_, until) in self._answers.items() if until <= now]:
            del self._answers[old]
        found = self._answers.get(question)
        if found is None:
            return None
        if found[0].verdict is not Verdict.PASSED:
            del self._answers[question]  # counts once; the next look asks again
        return found[0]
