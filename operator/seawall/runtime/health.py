"""Whether the operator works, asked over HTTP; each answer names what it is about.

Liveness fails on what only a restart heals: a worker that is stuck, a watch that has not come back although
the API answers. A stalled event loop fails it by not answering at all. Readiness means that the store has
been filled once: a standby is ready too, since it can take over at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from seawall.runtime.telemetry import Telemetry

STUCK_SECONDS = 120.0
"""Longer than any chain of API calls with their time-outs that one look at a service can make."""
SILENT_SECONDS = 420.0
"""A watch is asked for anew every 300 s at the latest; beyond this nobody asks any more."""


@dataclass(slots=True)
class Health:
    clock: Callable[[], float]
    longest_run: Callable[[], float]
    oldest_wait: Callable[[], float]
    leads: Callable[[], bool]
    synced: bool = False
    started: bool = False
    """whether the workers run: only a leader's do"""
    watch_asked: dict[str, float] = field(default_factory=dict)
    """when each kind's watch was last asked for"""
    api_answered: float = float("-inf")

    def asked(self, kind: str) -> None:
        self.watch_asked[kind] = self.clock()

    def answered(self) -> None:
        self.api_answered = self.clock()

    def problems(self) -> list[str]:
        now = self.clock()
        found = []
        if self.longest_run() > STUCK_SECONDS:
            found.append(f"a worker has been at one service for {self.longest_run():.0f} s")
        if now - self.api_answered < SILENT_SECONDS:
            found += [
                f"the watch of {kind} has been silent for {now - asked:.0f} s"
                for kind, asked in sorted(self.watch_asked.items())
                if now - asked > SILENT_SECONDS
            ]
        if self.started and self.oldest_wait() > STUCK_SECONDS and self.longest_run() == 0:
            found.append("services wait and no worker takes them")
        return found

    def facts(self) -> dict[str, object]:
        now = self.clock()
        return {
            "synced": self.synced,
            "leader": self.leads(),
            "oldestWaitSeconds": round(self.oldest_wait(), 1),
            "longestRunSeconds": round(self.longest_run(), 1),
            "watchAgeSeconds": {k: round(now - t, 1) for k, t in sorted(self.watch_asked.items())},
        }


async def serve(app: web.Application, host: str, port: int) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner


def bound_port(runner: web.AppRunner) -> int:
    return int(runner.addresses[0][1])


def health_app(health: Health) -> web.Application:
    async def healthz(_: web.Request) -> web.Response:
        problems = health.problems()
        return _answer({"problems": problems, **health.facts()}, ok=not problems)

    async def readyz(_: web.Request) -> web.Response:
        return _answer(health.facts(), ok=health.synced)

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    return app


def exposition(telemetry: Telemetry) -> bytes:
    return generate_latest(telemetry.registry)


def metrics_app(telemetry: Telemetry) -> web.Application:
    """In plain HTTP, for whoever asks."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=exposition(telemetry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    return app


def _answer(facts: Mapping[str, object], *, ok: bool) -> web.Response:
    return web.json_response(dict(facts), status=200 if ok else 503)
