"""The comparator of a shadow step: fed as a gateway feeds it, between two small servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import random
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web

from seawall.__main__ import main
from seawall.adapters import comparator as rooms
from seawall.adapters.comparator import MOST_BODY, Comparator, Order
from seawall.adapters.counts import counted, read_tally
from seawall.adapters.triton import TritonInference
from seawall.canary.shadow import Tally
from seawall.decide.types import TallyRequest
from seawall.ports import NoAnswer
from support.tritonhttp import HttpTriton, question

pytestmark = pytest.mark.long

INFER = "/v2/models/digits/infer"
RNG = np.random.default_rng(11)
ROWS = RNG.normal(size=(20, 1, 4)).astype(np.float32)
CLOSED = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "DESCRIBE_SECONDS", 0.01)


class Fed:
    """A comparator that listens, and a gateway in front of it."""

    def __init__(self, made: Comparator, address: str, session: aiohttp.ClientSession) -> None:
        self.made = made
        self.address = address
        self._session = session

    async def send(
        self, body: bytes, headers: dict[str, str], path: str = INFER, method: str = "POST"
    ) -> int:
        url = f"http://{self.address}{path}"
        async with self._session.request(method, url, data=body, headers=headers) as answered:
            return answered.status

    async def ask(self, rows: Any, **how: Any) -> None:
        assert await self.send(*question(rows, **how)) == 204

    async def counts(self) -> Tally:
        return await TritonInference().tally(TallyRequest(self.address, "3-abc/1", 15.0))

    async def until(self, done: Any) -> Tally:
        async with asyncio.timeout(10):
            while not done(tally := await self.counts()):  # noqa: ASYNC110 - it is a server
                await asyncio.sleep(0.01)
        return tally


@contextlib.asynccontextmanager
async def between(
    stable: HttpTriton | str,
    candidate: HttpTriton | str,
    *,
    percent: int = 100,
    known: bool = True,
    **more: Any,
) -> AsyncIterator[Fed]:
    async with contextlib.AsyncExitStack() as stack:
        one, other = [
            side if isinstance(side, str) else await stack.enter_async_context(side.serving())
            for side in (stable, candidate)
        ]
        made = Comparator(Order("3-abc/1", "digits", one, other, percent), random.Random(5), **more)  # noqa: S311
        runner = web.AppRunner(made.app(), shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        )
        fed = Fed(made, f"127.0.0.1:{runner.addresses[0][1]}", session)
        if known:
            async with asyncio.timeout(5):
                while made._model is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        yield fed


def done(tally: Tally) -> int:
    return tally.compared + tally.skipped + tally.failed_stable + tally.failed_candidate + tally.dropped


def permuted(x: Any, _call: int) -> Any:
    return x[:, [1, 2, 3, 0]]


def rounded(x: Any, _call: int) -> Any:
    return x * np.float32(1.0001)


def noisy(x: Any, call: int) -> Any:
    return -x if call % 3 == 0 else x


def refuses(status: int) -> Any:
    return lambda _x, _call: web.json_response({"error": "no such thing"}, status=status)


def says(body: bytes, **headers: str) -> Any:
    return lambda _x, _call: web.Response(body=body, headers=headers)


def other_shape(x: Any, _call: int) -> Any:
    return x[:, :2]


def not_a_number(x: Any, _call: int) -> Any:
    return np.full_like(x, np.nan)


def outputs(**changes: Any) -> Any:
    tensor = {"name": "scores", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
    return says(json.dumps({"outputs": [tensor | changes]}).encode())


SIDES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "the same model": (None, None, {"compared": 20, "differ": 0, "noise": 0, "metrics": ("cosine",)}),
    "another one, all but": (None, rounded, {"compared": 20, "differ": 0}),
    "a wrong one": (None, permuted, {"compared": 20, "noise": 0, "only_stable": 0}),
    "a candidate that refuses everything": (None, refuses(400), {"compared": 20, "differ": 20}),
    "a candidate that fails on everything": (None, refuses(500), {"compared": 20, "differ": 20}),
    "a candidate that is busy": (None, refuses(503), {"compared": 0, "failed_candidate": 20}),
    "a stable revision that refuses": (refuses(400), None, {"compared": 0, "skipped": 20}),
    "a stable revision that is busy": (refuses(503), None, {"compared": 0, "failed_stable": 20}),
    "a stable revision that answers nonsense": (says(b"{"), None, {"compared": 0, "failed_stable": 20}),
    "a stable revision that answers NaN": (not_a_number, None, {"compared": 0, "skipped": 20}),
    "a candidate that answers NaN": (None, not_a_number, {"compared": 20, "differ": 20}),
    "another shape": (None, other_shape, {"compared": 20, "differ": 20}),
    "another name": (None, outputs(name="else"), {"compared": 20, "differ": 20}),
    "no JSON": (None, says(b"<html>"), {"compared": 20, "differ": 20}),
    "JSON of another kind": (None, says(b"[1]"), {"compared": 20, "differ": 20}),
    "no outputs": (None, says(b'{"outputs": []}'), {"compared": 20, "differ": 20}),
    "a header longer than the answer": (
        None,
        says(b"{}", **{"Inference-Header-Content-Length": "999"}),
        {"compared": 20, "differ": 20},
    ),
    "a header of words": (
        None,
        says(b"{}", **{"Inference-Header-Content-Length": "many"}),
        {"compared": 20, "differ": 20},
    ),
    "fewer numbers than promised": (None, outputs(shape=[1, 400]), {"compared": 20, "differ": 20}),
    "a datatype that nobody knows": (None, outputs(datatype="FP7"), {"compared": 20, "differ": 20}),
    "nested without end": (None, says(b"[" * 100_000), {"compared": 20, "differ": 20}),
}


@pytest.mark.parametrize("case", SIDES)
async def test_what_is_counted_between_two_revisions(case: str) -> None:
    stable, candidate, expected = SIDES[case]
    servers = [HttpTriton(**({"compute": c} if c else {})) for c in (stable, candidate)]
    async with between(*servers) as fed:
        for row in ROWS:
            await fed.ask(row)
        tally = await fed.until(lambda t: done(t) == 20)
    assert {name: getattr(tally, name) for name in expected} == expected
    assert (tally.seen, tally.dropped, tally.repeats) == (20, 0, True)
    if case == "a wrong one":
        assert tally.differ > 15
        assert 3 <= tally.only_candidate <= tally.doubled <= 17
    if tally.failed_stable or tally.failed_candidate or tally.skipped:
        assert tally.remark or case.endswith("NaN")


async def test_noise_of_the_stable_revision_is_told_from_disagreement() -> None:
    stable = HttpTriton(noisy, {"max_batch_size": 8, "backend": "python"})
    async with between(stable, HttpTriton()) as fed:
        for row in ROWS:
            await fed.ask(row)
        tally = await fed.until(lambda t: done(t) == 20)
    assert not tally.repeats
    assert 0 < tally.noise <= tally.doubled
    assert tally.only_stable > 0


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("path", [INFER, "/v2/models/digits/versions/1/infer"])
async def test_requests_are_put_as_their_client_put_them(binary: bool, path: str) -> None:
    stable, candidate = HttpTriton(), HttpTriton()
    async with between(stable, candidate) as fed:
        assert await fed.send(*question(ROWS[0], binary=binary), path) == 204
        tally = await fed.until(lambda t: done(t) == 1)
    assert (tally.compared, tally.differ) == (1, 0)
    assert candidate.paths == [path]


async def test_a_compressed_request_is_put_plain() -> None:
    body, headers = question(ROWS[0])
    async with between(HttpTriton(), HttpTriton()) as fed:
        await fed.send(gzip.compress(body), headers | {"Content-Encoding": "gzip"})
        tally = await fed.until(lambda t: done(t) == 1)
    assert tally.compared == 1


async def test_of_a_batch_one_row_counts() -> None:
    def last_row(x: Any, _call: int) -> Any:
        return np.concatenate([x[:-1], -x[-1:]])

    async with between(HttpTriton(), HttpTriton(last_row)) as fed:
        for _ in range(30):
            await fed.ask(RNG.normal(size=(4, 4)))
        tally = await fed.until(lambda t: done(t) == 30)
    assert 2 <= tally.differ <= 16
    assert tally.compared == 30


NOT_COMPARED: dict[str, tuple[Any, str, str, dict[str, int]]] = {
    "another model": (question(ROWS[0]), "/v2/models/else/infer", "POST", {"seen": 0}),
    "a question for the model's description": ((b"", {}), "/v2/models/digits", "GET", {"seen": 0}),
    "whatever else": ((b"x", {}), "/v2/repository/index", "POST", {"seen": 0}),
    "a path with tricks": (question(ROWS[0]), "/v2/models/digits/../digits/infer/x", "POST", {"seen": 0}),
    "scores in words": (question(ROWS[0], classification=3), INFER, "POST", {"seen": 1, "skipped": 1}),
    "a part of a sequence": (question(ROWS[0], sequence_id=3), INFER, "POST", {"seen": 1, "skipped": 1}),
    "a body beyond bounds": ((b"x" * (MOST_BODY + 1), {}), INFER, "POST", {"seen": 1, "dropped": 1}),
    "a bomb": (
        (gzip.compress(b"0" * 2**26), {"Content-Encoding": "gzip"}), INFER, "POST", {"seen": 1, "dropped": 1}
    ),
    "what is not compressed as it says": (
        (b"plain", {"Content-Encoding": "gzip"}), INFER, "POST", {"compared": 0}
    ),
    "rubbish": ((b"\x00\xff{", {}), INFER, "POST", {"compared": 0, "seen": 1}),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_COMPARED)
async def test_what_is_not_compared(case: str) -> None:
    (body, headers), path, method, expected = NOT_COMPARED[case]
    async with between(HttpTriton(), HttpTriton()) as fed:
        with contextlib.suppress(aiohttp.ClientError):
            await fed.send(body, headers, path, method)
        await fed.ask(ROWS[1])
        tally = await fed.until(lambda t: t.compared == 1 and done(t) == t.seen)
    told = asdict(replace(tally, seen=tally.seen - 1, compared=0))
    assert {name: told[name] for name in expected} == expected


async def test_the_sample_is_drawn_here() -> None:
    async with between(HttpTriton(), HttpTriton(), percent=10) as fed:
        for _ in range(200):
            await fed.ask(ROWS[0])
        tally = await fed.until(lambda t: t.seen == 200)
        assert 5 <= tally.compared + tally.dropped <= 40


async def test_slow_revisions_make_no_backlog() -> None:
    async with between(HttpTriton(delay=0.3), HttpTriton(delay=0.3), seconds=0.05) as fed:
        await asyncio.gather(*(fed.ask(ROWS[0]) for _ in range(200)))
        tally = await fed.counts()
        assert tally.dropped >= 100
        tally = await fed.until(lambda t: done(t) == 200)
        assert tally.failed_stable == 200 - tally.dropped
        assert fed.made._held == 0


async def test_a_slow_candidate_is_no_wrong_one() -> None:
    async with between(HttpTriton(), HttpTriton(delay=0.5), seconds=0.1) as fed:
        for row in ROWS[:5]:
            await fed.ask(row)
        tally = await fed.until(lambda t: done(t) == 5)
    assert (tally.failed_candidate, tally.compared) == (5, 0)
    assert "the candidate does not answer" in tally.remark


KEPT: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a candidate with sequences": ({}, {"sequence_batching": {}}, "the candidate keeps state"),
    "a stable revision with sequences": ({"sequence_batching": {}}, {}, "the stable revision keeps state"),
    "streams": ({}, {"model_transaction_policy": {"decoupled": True}}, "a decoupled model"),
    "batches on one side": ({}, {"max_batch_size": 0}, "takes batches and the other does not"),
}


@pytest.mark.parametrize("case", KEPT)
async def test_a_model_that_keeps_state_is_refused(case: str) -> None:
    one, other, words = KEPT[case]
    servers = [HttpTriton(config={"max_batch_size": 8, "backend": "python"} | c) for c in (one, other)]
    async with between(*servers, known=False) as fed:
        tally = await fed.until(lambda t: t.refusal)
        await fed.ask(ROWS[0])
        assert (await fed.counts()).seen == 1
    assert words in tally.refusal
    assert [server.calls for server in servers] == [0, 0]


async def test_nothing_is_compared_before_both_have_described_their_model() -> None:
    async with between(HttpTriton(), CLOSED, known=False) as fed:
        await fed.ask(ROWS[0])
        tally = await fed.until(lambda t: t.remark)
    assert "the candidate does not answer" in tally.remark
    assert done(tally) == 0


async def test_each_start_has_a_name_of_its_own() -> None:
    starts = set()
    for _ in range(2):
        async with between(HttpTriton(), HttpTriton()) as fed:
            starts.add((await fed.counts()).start)
    assert len(starts) == 2


GOOD = asdict(Tally("s", "3-abc/1", seen=9, compared=5, differ=2, doubled=3, noise=1, only_candidate=1))
NO_COUNTS: dict[str, Any] = {
    "nothing": b"",
    "no JSON": b"<html>",
    "a list": b"[]",
    "nested without end": b"[" * 9000,
    "a part": {"start": "s"},
    "no start": GOOD | {"start": ""},
    "a number in words": GOOD | {"seen": "9"},
    "a negative number": GOOD | {"dropped": -1},
    "a fraction": GOOD | {"compared": 5.5},
    "a truth for a number": GOOD | {"noise": True},
    "more than came": GOOD | {"compared": 10},
    "more noise than was asked": GOOD | {"noise": 4},
    "a number beyond bounds": GOOD | {"seen": 10**13},
    "metrics in a word": GOOD | {"metrics": "top1"},
}


@pytest.mark.parametrize("case", NO_COUNTS)
def test_what_does_not_add_up_is_not_believed(case: str) -> None:
    raw = NO_COUNTS[case]
    assert read_tally(raw if isinstance(raw, bytes) else json.dumps(raw).encode()) is None


def test_counts_are_read_as_they_were_told() -> None:
    assert read_tally(json.dumps(GOOD).encode()) == Tally(**{**GOOD, "metrics": ()})


async def test_another_rollouts_comparator_is_not_listened_to() -> None:
    async with between(HttpTriton(), HttpTriton()) as fed:
        with pytest.raises(NoAnswer, match="it works for 3-abc/1, not for 4-def/0"):
            await counted(TallyRequest(fed.address, "4-def/0", 1.0))
    with pytest.raises(NoAnswer, match="does not answer"):
        await counted(TallyRequest("127.0.0.1:9", "3-abc/1", 1.0))


@pytest.mark.parametrize("order", [None, "", "{", "[]", '{"order": "x"}', '{"nothing": 1}'])
def test_a_comparator_without_a_readable_order_says_so(
    order: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("seawall.runtime.telemetry.configure_logging", lambda level: None)
    monkeypatch.delenv("SEAWALL_COMPARATOR", raising=False)
    if order is not None:
        monkeypatch.setenv("SEAWALL_COMPARATOR", order)
    assert main(["comparator", "--host", "127.0.0.1", "--port", "0"]) == 2
    assert "SEAWALL_COMPARATOR must hold the order" in capsys.readouterr().err
