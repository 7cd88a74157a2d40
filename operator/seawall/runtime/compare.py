"""Has golden sets answered without holding up the queue: a comparison takes seconds to minutes.

One for each service at a time. It is given up as soon as the plan does not ask for it any more, or asks for
another one. A server that does not answer is asked again a few times before anybody is told.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from seawall.canary.shadow import Tally
from seawall.decide.rollout_state import Answers
from seawall.decide.types import ComparisonRequest, Key, Manifest, ObjectRef, TallyRequest
from seawall.ports import ApiRejected, Cluster, Inference, NoAnswer

logger = logging.getLogger(__name__)
AT_ONCE = 2
ATTEMPTS = 3
PAUSE_SECONDS = 10.0
UNKNOWN_SECONDS = 60.0
"""How long it counts that nothing could be concluded; pass and fail count as long as they are asked for."""
SUFFIX = ".npz"


@dataclass(frozen=True, slots=True)
class Question:
    uid: str
    request: ComparisonRequest
    """without addresses: pods come and go"""

    @classmethod
    def of(cls, uid: str, request: ComparisonRequest) -> Question:
        return cls(uid, replace(request, stable_addresses=(), candidate_addresses=()))


@dataclass(slots=True)
class _Running:
    question: Question
    request: ComparisonRequest
    """the newest: its addresses are the ones to ask"""
    golden: bytes
    digest: str
    task: asyncio.Task[Answers] | None = None


@dataclass(frozen=True, slots=True)
class _Kept:
    question: Question
    digest: str
    answers: Answers
    until: float


class Comparer:
    def __init__(
        self,
        cluster: Cluster,
        inference: Inference,
        wake: Callable[[Key], None],
        clock: Callable[[], float],
        patience: float,
        pause: float = PAUSE_SECONDS,
    ) -> None:
        self._cluster = cluster
        self._inference = inference
        self._wake = wake
        self._clock = clock
        self._patience = patience
        self._pause = pause
        self._limit = asyncio.Semaphore(AT_ONCE)
        self._running: dict[Key, _Running] = {}
        self._kept: dict[Key, _Kept] = {}
        self._tallies: dict[Key, tuple[TallyRequest, float, Tally | None]] = {}

    async def ask(self, key: Key, uid: str, request: ComparisonRequest) -> Answers | None:
        """The answers, or None when they take longer; the key comes back to the queue with them.

        Raises ApiUnavailable where the golden set could not be read just now.
        """
        question = Question.of(uid, request)
        running = self._running.get(key)
        if running is not None and running.question == question:
            running.request = request
            return None
        self.cancel(key)
        golden = await self._golden(key.namespace, request.config_map)
        if isinstance(golden, str):
            return Answers(request.candidate, "Unknown", golden)
        digest = hashlib.sha256(golden).hexdigest()
        if (known := self._known(key, question, digest)) is not None:
            return known
        return await self._start(key, _Running(question, request, golden, digest))

    async def tally(self, key: Key, request: TallyRequest) -> Tally | None:
        """What the comparator has counted, as it was within the time that the request allows; None where it
        does not tell. Until that time is over it is not asked again, whatever came of it."""
        asked = self._tallies.get(key)
        now = self._clock()
        if asked is not None and asked[0] == request and now - asked[1] < request.seconds:
            return asked[2]
        found = None
        try:
            found = await self._inference.tally(request)
        except NoAnswer as silent:
            logger.info("the comparator of %s: %s", key, silent)
        self._tallies[key] = (request, now, found)
        return found

    def cancel(self, key: Key) -> None:
        """Nobody waits for the comparison any more, if there is one."""
        running = self._running.pop(key, None)
        if running is not None and running.task is not None:
            running.task.cancel()

    def forget(self, key: Key) -> None:
        """The service is gone."""
        self.cancel(key)
        self._kept.pop(key, None)
        self._tallies.pop(key, None)

    async def _start(self, key: Key, running: _Running) -> Answers | None:
        task = asyncio.create_task(self._compare(running), name=f"compare {key} {running.request.candidate}")
        running.task = task
        self._running[key] = running
        try:
            await asyncio.wait({task}, timeout=self._patience)
        except asyncio.CancelledError:
            self.cancel(key)
            raise
        if not task.done():
            task.add_done_callback(lambda _: self._came_late(key, running))
            return None
        return self._ended(key, running)

    async def _compare(self, running: _Running) -> Answers:
        trouble = ""
        async with self._limit:
            for attempt in range(ATTEMPTS):
                if attempt:
                    await asyncio.sleep(self._pause)
                try:
                    return await self._inference.compare(running.request, running.golden)
                except NoAnswer as silent:
                    trouble = str(silent)
                    logger.info("the comparison with revision %s: %s", running.request.candidate, trouble)
        message = f"asked {ATTEMPTS} times: {trouble}"
        return Answers(running.request.candidate, "Unknown", message)

    def _came_late(self, key: Key, running: _Running) -> None:
        if self._ended(key, running) is not None:
            self._wake(key)

    def _ended(self, key: Key, running: _Running) -> Answers | None:
        """Keeps what has been found out; None where it was given up, or ended as it never should."""
        task = running.task
        if self._running.get(key) is running:
            del self._running[key]
        if task is None or task.cancelled():
            return None
        if (error := task.exception()) is not None:
            logger.error("comparing for %s failed", key, exc_info=error)
            return None
        answers = task.result()
        lasting = float("inf") if answers.verdict != "Unknown" else self._clock() + UNKNOWN_SECONDS
        self._kept[key] = _Kept(running.question, running.digest, answers, lasting)
        return answers

    def _known(self, key: Key, question: Question, digest: str) -> Answers | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        if (kept.question, kept.digest) != (question, digest) or kept.until <= self._clock():
            del self._kept[key]
            return None
        return kept.answers

    async def _golden(self, namespace: str, name: str) -> bytes | str:
        """What the ConfigMap holds, or the sentence that says why it cannot be used."""
        try:
            found = await self._cluster.get(ObjectRef("v1", "ConfigMap", namespace, name))
        except ApiRejected as refused:
            return f"ConfigMap {name} with the golden set cannot be read: {refused.message}"
        if found is None:
            return f"ConfigMap {name} with the golden set does not exist"
        return _npz(found, name)


def _npz(found: Manifest, name: str) -> bytes | str:
    binary = found.get("binaryData") or {}
    keys = [key for key in sorted(binary) if key.endswith(SUFFIX)]
    if len(keys) != 1:
        told = ", ".join([*sorted(binary), *sorted(found.get("data") or {})][:10]) or "nothing"
        return (
            f"ConfigMap {name} must hold the golden set as its only key in binaryData that ends in {SUFFIX};"
            f" it holds {told}"
        )
    try:
        return base64.b64decode(binary[keys[0]], validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        return f"ConfigMap {name}: {keys[0]} is no base64: {error}"
