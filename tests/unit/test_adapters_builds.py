"""Asking a build's pod: whatever it answers, or does not, is no trouble of the operator's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from seawall.adapters.builds import BuildPods, read_progress
from seawall.decide.types import Progress


@asynccontextmanager
async def answering(handler: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/progress", handler)
    app.router.add_get("/elsewhere", forges)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def forges(_: web.Request) -> web.Response:
    return web.json_response({"stage": "forged"})


async def test_a_pods_progress_is_read() -> None:
    async def tell(_: web.Request) -> web.Response:
        return web.json_response({"stage": "compress", "percent": 40.6, "message": "layer 3\nof 8"})

    async with answering(tell) as address:
        assert await BuildPods().progress(address) == Progress("compress", 40, "layer 3 of 8")


async def fails(_: web.Request) -> web.Response:
    return web.json_response({"stage": "x"}, status=500)


async def redirects(_: web.Request) -> web.Response:
    raise web.HTTPFound("/elsewhere")


async def floods(_: web.Request) -> web.Response:
    return web.json_response({"stage": "x" * 1_000_000})


async def hangs(_: web.Request) -> web.Response:
    await asyncio.sleep(30)
    return web.Response()


@pytest.mark.parametrize("handler", [fails, redirects, floods, hangs])
async def test_a_pod_that_answers_badly_says_nothing(handler: Any) -> None:
    async with answering(handler) as address:
        async with asyncio.timeout(10):
            assert await BuildPods(total_seconds=0.3).progress(address) is None


async def test_a_pod_that_is_not_there_says_nothing() -> None:
    assert await BuildPods().progress("127.0.0.1:9") is None


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"stage": "prove", "percent": None}, Progress("prove")),
        ({"stage": "prove", "percent": 250}, Progress("prove", 100)),
        ({"stage": "prove", "percent": True, "message": 5}, Progress("prove")),
        ({"stage": "s" * 100, "message": "m" * 1000}, Progress("s" * 64, None, "m" * 256)),
        ({"stage": ""}, None),
        ({"percent": 5}, None),
        ([], None),
        ("x", None),
    ],
)
def test_only_what_is_of_the_right_type_is_taken(told: Any, expected: Progress | None) -> None:
    assert read_progress(json.dumps(told).encode()) == expected


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[" * 4096, b'{"stage": "x", "percent": NaN}'])
def test_what_is_no_json_is_no_trouble(raw: bytes) -> None:
    assert read_progress(raw) in (None, Progress("x"))
