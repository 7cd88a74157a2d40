"""The comparator of a shadow step: gets copies of live requests, puts some of them to both revisions, and
counts how often the answers differ.

Gateways throw away what it answers, so it answers nothing, at once. Contour copies every request whatever
the route's percentage says; the sample is drawn here. It never holds a backlog: what does not fit into its
short queue is counted and dropped. Counts are kept in memory only, under the name of this start.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import aiohttp
from aiohttp import web

from seawall.adapters.live import HEADER_LENGTH, SECONDS, Declared, Question, Revision, Same, Stateful
from seawall.adapters.synthetic import Arrays, Refused, WrongAnswer
from seawall.canary.shadow import Tally
from seawall.ports import NoAnswer

logger = logging.getLogger(__name__)
AT_ONCE = 4
QUEUE = 32
MOST_BODY = 4 * 2**20
QUEUE_BYTES = 32 * 2**20
DOUBLED = 0.5
"""Share of the compared requests that the stable revision is asked twice."""
DESCRIBE_SECONDS = 2.0
REMARK = 200
UNREADABLE = (
    web.HTTPException, web.RequestPayloadError, aiohttp.ClientError, OSError, TimeoutError, ValueError
)  # fmt: skip
"""What reading a request's body may end with: too long, cut off, late, not compressed as it says."""
INFER = re.compile(r"/v2/models/([^/]+)(?:/versions/[^/]+)?/infer")


class BadOrder(Exception):
    """The order cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Order:
    """What `desired.comparator` writes into the pod's environment."""

    order: str
    model: str
    stable: str
    """http://host:port of the Service"""
    candidate: str
    percent: int


def read_order(text: str | None) -> Order:
    try:
        return Order(**json.loads(text or ""))
    except (ValueError, TypeError, RecursionError) as error:
        raise BadOrder(f"SEAWALL_COMPARATOR must hold the order as JSON: {error}") from error


class Comparator:
    def __init__(self, order: Order, chance: random.Random | None = None, seconds: float = SECONDS) -> None:
        self._order = order
        self._stable = Revision("the stable revision", order.stable, order.model, seconds)
        self._candidate = Revision("the candidate", order.candidate, order.model, seconds)
        self._chance = chance or random.Random()  # noqa: S311 - a sample, no secret
        self._queue: asyncio.Queue[Question] = asyncio.Queue(QUEUE)
        self._held = 0
        """bytes of requests that are read, wait or are put"""
        self._model: Declared | None = None
        self.tally = Tally(secrets.token_hex(8), order.order)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=MOST_BODY)
        app.router.add_get("/counts", self._counts)
        app.router.add_get("/healthz", self._nothing)
        app.router.add_route("*", "/{path:.*}", self._mirrored)
        app.cleanup_ctx.append(self._working)
        return app

    async def _working(self, _app: web.Application) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(force_close=True, limit=4 * AT_ONCE)
        async with aiohttp.ClientSession(
            connector=connector, trust_env=False, auto_decompress=False
        ) as session:
            tasks = [asyncio.create_task(self._describe(session))]
            tasks += [asyncio.create_task(self._work(session)) for _ in range(AT_ONCE)]
            yield
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _nothing(self, _request: web.Request) -> web.Response:
        return web.Response(status=204)

    async def _counts(self, _request: web.Request) -> web.Response:
        return web.json_response(asdict(self.tally))

    async def _mirrored(self, request: web.Request) -> web.Response:
        named = INFER.fullmatch(request.path) if request.method == "POST" else None
        if named is not None and named[1] == self._order.model:
            self._count("seen")
            drawn = self._chance.random() * 100 < self._order.percent
            if self._model is not None and drawn:
                await self._take(request)
        return web.Response(status=204)

    async def _take(self, request: web.Request) -> None:
        known = request.content_length is not None and "Content-Encoding" not in request.headers
        size = request.content_length if known and request.content_length is not None else MOST_BODY
        if size > MOST_BODY or self._held + size > QUEUE_BYTES or self._queue.full():
            self._count("dropped")
            return
        self._held += size
        try:
            async with asyncio.timeout(SECONDS):
                body = await request.read()
            self._queue.put_nowait(
                Question(request.rel_url.raw_path, body, request.headers.get(HEADER_LENGTH))
            )
            self._held += len(body)
        except (*UNREADABLE, asyncio.QueueFull):
            self._count("dropped")
        finally:
            self._held -= size

    async def _describe(self, session: aiohttp.ClientSession) -> None:
        """Once, as soon as both answer."""
        while True:
            try:
                stable, candidate = [await one.describe(session) for one in (self._stable, self._candidate)]
            except Stateful as kept:
                self.tally = replace(self.tally, refusal=str(kept))
                return
            except NoAnswer as silent:
                self._remark(str(silent))
                await asyncio.sleep(DESCRIBE_SECONDS)
                continue
            if stable.batched != candidate.batched:
                refusal = "one of the two revisions takes batches and the other does not"
                self.tally = replace(self.tally, refusal=refusal)
                return
            self.tally = replace(self.tally, repeats=stable.repeats, remark="")
            self._model = stable
            return

    async def _work(self, session: aiohttp.ClientSession) -> None:
        while True:
            question = await self._queue.get()
            try:
                await self._put(session, question)
            except Exception:
                # What one request does to us must not end the comparison of the others.
                logger.exception("a request could not be compared")
                self._count("skipped")
            finally:
                self._held -= len(question.body)

    async def _put(self, session: aiohttp.ClientSession, question: Question) -> None:
        if not question.comparable:
            self._count("skipped")
            return
        twice = self._chance.random() < DOUBLED
        asked = [self._stable, self._candidate, *([self._stable] if twice else [])]
        wanted, found, *again = await asyncio.gather(*(_asked(one, session, question) for one in asked))
        if not isinstance(wanted, dict):
            self._remark(str(wanted))
            self._count("skipped" if isinstance(wanted, Refused) else "failed_stable")
            return
        if isinstance(found, WrongAnswer):  # only what is said twice counts
            found = await _asked(self._candidate, session, question)
        if isinstance(found, NoAnswer):
            self._remark(str(found))
            self._count("failed_candidate")
            return
        same = Same(wanted, batched=bool(self._model and self._model.batched), row=self._chance.random())
        if not same.usable:
            self._count("skipped")
            return
        if not isinstance(found, dict):
            self._remark(str(found))
        self._note(same, found, again[0] if again else None)

    def _note(self, same: Same, found: Any, again: Any) -> None:
        differs = not isinstance(found, dict) or not same.holds(found)
        doubled = isinstance(again, dict)
        noisy = doubled and not same.holds(again)
        tally = self.tally
        self.tally = replace(
            tally,
            compared=tally.compared + 1,
            differ=tally.differ + differs,
            doubled=tally.doubled + doubled,
            noise=tally.noise + noisy,
            only_candidate=tally.only_candidate + (doubled and differs and not noisy),
            only_stable=tally.only_stable + (noisy and not differs),
            metrics=tuple(sorted({*tally.metrics, same.metric})),
        )

    def _count(self, what: str) -> None:
        self.tally = replace(self.tally, **{what: getattr(self.tally, what) + 1})

    def _remark(self, words: str) -> None:
        if not self.tally.remark:
            self.tally = replace(self.tally, remark=" ".join(words.split())[:REMARK])


async def _asked(
    revision: Revision, session: aiohttp.ClientSession, question: Question
) -> Arrays | WrongAnswer | NoAnswer:
    try:
        return await revision.answer(session, question)
    except (WrongAnswer, NoAnswer) as problem:
        return problem


def serve(environment: Mapping[str, str], host: str | None, port: int) -> None:
    """Until SIGTERM."""
    order = read_order(environment.get("SEAWALL_COMPARATOR"))
    web.run_app(
        Comparator(order).app(), host=host, port=port, access_log=None, print=None, shutdown_timeout=1.0
    )
