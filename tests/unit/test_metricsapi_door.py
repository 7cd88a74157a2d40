"""Who may read /metrics, what the API server is asked for it, and how little it is asked."""

from __future__ import annotations

import asyncio

import pytest

from seawall.metricsapi.door import (
    ADMITTED,
    ADMITTED_SECONDS,
    AT_ONCE,
    CROWDED,
    LONGEST,
    NO_TOKEN,
    REFUSED_SECONDS,
    REMEMBERED,
    UNASKABLE,
    UNKNOWN,
    Door,
)
from seawall.ports import ApiRejected, ApiUnavailable, Caller

PROMETHEUS = Caller("system:serviceaccount:monitoring:prometheus", "u1", ("system:authenticated",))
STRANGER = Caller("system:serviceaccount:web:default")


class ApiServer:
    """Knows two tokens; one of their owners has the right."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.allowed = {PROMETHEUS.name}
        self.answering = asyncio.Event()
        self.answering.set()
        self.door = Door(self, lambda: self.now)

    async def caller(self, token: str) -> Caller | None:
        self.asked.append(token)
        await self.answering.wait()
        if self.error:
            raise self.error
        return {"good": PROMETHEUS, "poor": STRANGER}.get(token)

    async def may_get(self, caller: Caller, path: str) -> bool:
        assert path == "/metrics"
        return caller.name in self.allowed

    async def status(self, token: str) -> int:
        return (await self.door.enter(f"Bearer {token}")).status


HEADERS = {
    "no header": "",
    "a password": "Basic Z29vZDpnb29k",
    "a scheme without a token": "Bearer ",
    "a token without a scheme": "good",
    "a token longer than any": "Bearer " + "x" * (LONGEST + 1),
    "bytes that are no text": "Bearer \udcff",
}


@pytest.mark.parametrize("case", HEADERS)
async def test_what_is_no_bearer_token_is_refused_without_a_question(case: str) -> None:
    api = ApiServer()
    assert await api.door.enter(HEADERS[case]) is NO_TOKEN
    assert api.asked == []


async def test_the_scheme_is_read_in_any_case() -> None:
    assert await ApiServer().door.enter("bearer good") is ADMITTED


@pytest.mark.parametrize(("token", "status"), [("good", 200), ("poor", 403), ("garbage", 401)])
async def test_the_api_servers_word_decides(token: str, status: int) -> None:
    assert await ApiServer().status(token) == status


@pytest.mark.parametrize(
    "error", [ApiUnavailable("away"), ApiRejected("tokenreviews is forbidden")], ids=["away", "no right"]
)
async def test_when_it_cannot_be_asked_nobody_is_let_in_and_nothing_is_remembered(error: Exception) -> None:
    api = ApiServer()
    api.error = error
    assert await api.door.enter("Bearer good") is UNASKABLE
    api.error = None
    assert await api.status("good") == 200


@pytest.mark.parametrize(
    ("token", "status", "kept"), [("good", 200, ADMITTED_SECONDS), ("garbage", 401, REFUSED_SECONDS)]
)
async def test_an_answer_is_remembered_for_a_while(token: str, status: int, kept: float) -> None:
    api = ApiServer()
    for later in (0.0, kept - 0.5, 1.0):
        api.now += later
        assert await api.status(token) == status
    assert api.asked == [token, token], "once at first, and once when it was too old"


async def test_a_right_that_is_taken_away_ends_within_a_minute() -> None:
    api = ApiServer()
    assert await api.status("good") == 200
    api.allowed.clear()
    api.now += ADMITTED_SECONDS
    assert await api.status("good") == 403


async def test_an_admitted_token_is_refused_when_it_cannot_be_reviewed_again() -> None:
    api = ApiServer()
    assert await api.status("good") == 200
    api.error = ApiUnavailable("away")
    assert await api.status("good") == 200, "it is still remembered"
    api.now += ADMITTED_SECONDS
    assert await api.status("good") == 503


async def test_one_token_is_one_question_however_many_ask() -> None:
    api = ApiServer()
    api.answering.clear()
    asking = [asyncio.create_task(api.status("good")) for _ in range(50)]
    await asyncio.sleep(0)
    asking[0].cancel()  # who hangs up does not take the answer from the others
    await asyncio.sleep(0)
    api.answering.set()
    assert await asyncio.gather(*asking[1:]) == [200] * 49
    assert api.asked == ["good"]


async def test_a_flood_of_made_up_tokens_is_bounded_and_does_not_lock_prometheus_out() -> None:
    api = ApiServer()
    assert await api.status("good") == 200
    for number in range(3 * REMEMBERED):
        assert await api.status(f"made-up-{number}") == 401
    api.answering.clear()
    flood = [asyncio.create_task(api.door.enter(f"Bearer more-{n}")) for n in range(4 * AT_ONCE)]
    await asyncio.sleep(0.01)
    assert [task.result() for task in flood if task.done()] == [CROWDED] * 3 * AT_ONCE
    api.now += ADMITTED_SECONDS
    known = asyncio.create_task(api.door.enter("Bearer good"))
    await asyncio.sleep(0.01)
    assert not known.done(), "it is reviewed beside the strangers, not turned away"
    api.answering.set()
    assert await known is ADMITTED
    assert set(await asyncio.gather(*flood)) == {CROWDED, UNKNOWN}


async def test_no_more_tokens_are_remembered_than_fit_and_none_in_clear() -> None:
    api = ApiServer()
    for number in range(REMEMBERED + 10):
        await api.status(f"made-up-{number}")
    assert len(api.door._refused) == REMEMBERED
    assert "made-up" not in repr(vars(api.door))
