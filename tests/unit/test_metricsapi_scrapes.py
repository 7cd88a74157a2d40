"""/metrics over real TLS: who is answered what, and whose certificate it is."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import pytest

from seawall.metricsapi.certificates import SERVING_LIFE, Credentials
from seawall.metricsapi.door import Door
from seawall.metricsapi.scrapes import Scrapes
from seawall.ports import ApiRejected, ApiUnavailable, Caller
from support.fakecluster import FakeCluster
from support.frontproxy import trusting

NAMESPACE, NAME = "seawall-system", "seawall-metrics"
SERVER = f"{NAME}.{NAMESPACE}.svc"
FIGURES = b"seawall_leader 1.0\n"


class Rights:
    async def caller(self, token: str) -> Caller | None:
        return Caller(token) if token in ("prometheus", "stranger") else None

    async def may_get(self, caller: Caller, path: str) -> bool:
        return caller.name == "prometheus"


class Scene:
    def __init__(self, *, leads: bool = True) -> None:
        self.cluster = FakeCluster()
        self.leads = leads
        self.now = datetime.now(UTC)
        self.scrapes = self.replica()

    def replica(self) -> Scrapes:
        door = Door(Rights(), asyncio.get_running_loop().time)
        return Scrapes(
            self.cluster, door, NAMESPACE, NAME, "127.0.0.1", 0, interval=0.02, now=lambda: self.now
        )

    @asynccontextmanager
    async def running(self, scrapes: Scrapes | None = None) -> AsyncIterator[Scrapes]:
        running = scrapes or self.scrapes
        task = asyncio.create_task(running.run(lambda: FIGURES, lambda: self.leads))
        try:
            yield running
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    @property
    def authority(self) -> str:
        held = Credentials.of(self.cluster.objects[("Secret", NAMESPACE, NAME)])
        assert held is not None
        return held.authority


async def listening(scrapes: Scrapes) -> None:
    async with asyncio.timeout(20):
        while not scrapes.port:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


async def asked(
    scene: Scene, scrapes: Scrapes, token: str | None, path: str = "/metrics", method: str = "GET"
) -> tuple[int, str, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"https://127.0.0.1:{scrapes.port}{path}"
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            method, url, ssl=trusting(scene.authority), server_hostname=SERVER, headers=headers
        ) as answer,
    ):
        return answer.status, await answer.text(), answer.headers.get("WWW-Authenticate", "")


CASES = {
    "a reader": ("prometheus", "/metrics", "GET", 200, FIGURES.decode(), ""),
    "nobody": (None, "/metrics", "GET", 401, "a bearer token is needed", "Bearer"),
    "a token that nobody knows": ("x", "/metrics", "GET", 401, "does not know this token", "Bearer"),
    "a known one without the right": ("stranger", "/metrics", "GET", 403, "stranger may not get", ""),
    "another path, as nobody": (None, "/", "GET", 401, "a bearer token is needed", "Bearer"),
    "another path": ("prometheus", "/debug", "GET", 404, "nothing else", ""),
    "a write": ("prometheus", "/metrics", "POST", 405, "GET alone", ""),
}


@pytest.mark.parametrize("case", CASES)
async def test_over_tls_each_gets_what_it_may(case: str) -> None:
    token, path, method, status, words, challenge = CASES[case]
    scene = Scene()
    async with scene.running() as scrapes:
        await listening(scrapes)
        found = await asked(scene, scrapes, token, path, method)
    assert (found[0], found[2]) == (status, challenge)
    assert words in found[1]
    assert (FIGURES.decode() in found[1]) == (status == 200)


async def test_plain_http_gets_nothing() -> None:
    scene = Scene()
    async with scene.running() as scrapes:
        await listening(scrapes)
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"http://127.0.0.1:{scrapes.port}/metrics")


async def test_a_standby_serves_what_the_leader_has_made() -> None:
    scene = Scene(leads=False)
    standby = scene.replica()
    async with scene.running(standby):
        await asyncio.sleep(0.1)
        assert not standby.port, "it made no certificate of its own"
        leader = Scene()
        leader.cluster = scene.cluster
        leader.scrapes = leader.replica()
        async with leader.running() as scrapes:
            await listening(scrapes)
            await listening(standby)
            assert (await asked(scene, standby, "prometheus"))[0] == 200


async def test_a_certificate_is_renewed_under_the_same_authority_without_a_refused_connection() -> None:
    scene = Scene()
    async with scene.running() as scrapes:
        await listening(scrapes)
        trusted, before = scene.authority, await certificate(scrapes)
        scene.now += SERVING_LIFE * 0.7
        async with asyncio.timeout(20):
            while await certificate(scrapes) == before:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        assert scene.authority == trusted


async def certificate(scrapes: Scrapes) -> bytes:
    """What a new connection is shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", scrapes.port, ssl=context)
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return shown


@pytest.mark.parametrize(
    "error", [ApiUnavailable("away"), ApiRejected("secrets is forbidden")], ids=["away", "no right"]
)
async def test_without_a_certificate_nothing_listens_until_there_is_one(error: Exception) -> None:
    scene = Scene()
    scene.cluster.fail("get", error, kind="Secret")
    await scene.scrapes.look_after(leads=True)
    assert not scene.scrapes.port
    async with scene.running() as scrapes:
        await listening(scrapes)
        assert (await asked(scene, scrapes, "prometheus"))[0] == 200


async def test_it_listens_again_after_its_work_was_ended_and_begun_anew() -> None:
    scene = Scene()
    async with scene.running() as scrapes:
        await listening(scrapes)
    assert not scene.scrapes.port
    async with scene.running() as scrapes:
        await listening(scrapes)
        assert (await asked(scene, scrapes, "prometheus"))[0] == 200
