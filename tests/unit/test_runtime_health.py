"""When the operator calls itself well, what it exports, what a log line holds, which settings it takes."""

from __future__ import annotations

import json
import logging

import aiohttp
import pytest
from pydantic import ValidationError

from seawall.decide.types import Key
from seawall.runtime.health import Health, bound_port, health_app, metrics_app, serve
from seawall.runtime.telemetry import JsonLines, ServiceFigures, Telemetry, current_key
from seawall.settings import Settings


class Scene:
    def __init__(self) -> None:
        self.now = 10_000.0
        self.run = 0.0
        self.wait = 0.0
        self.health = Health(lambda: self.now, lambda: self.run, lambda: self.wait, lambda: True)


def test_it_is_well_while_runs_are_short_and_watches_come_back() -> None:
    scene = Scene()
    scene.health.asked("pods")
    scene.health.answered()
    scene.now += 300
    assert scene.health.problems() == []


@pytest.mark.parametrize(
    ("run", "wait", "started", "problem"),
    [
        (121.0, 0.0, True, "a worker has been at one service for 121 s"),
        (0.0, 121.0, True, "services wait and no worker takes them"),
        (5.0, 121.0, True, None),  # a long backlog is being worked off
        (0.0, 500.0, False, None),  # a standby works off nothing
    ],
)
def test_a_stuck_worker_makes_it_unwell(run: float, wait: float, started: bool, problem: str | None) -> None:
    scene = Scene()
    scene.run, scene.wait, scene.health.started = run, wait, started
    assert scene.health.problems() == ([problem] if problem else [])


def test_a_silent_watch_makes_it_unwell_only_while_the_api_answers_others() -> None:
    scene = Scene()
    scene.health.asked("pods")
    scene.now += 500
    assert scene.health.problems() == [], "the API server is away: a restart of ours would not help"
    scene.health.answered()
    assert scene.health.problems() == ["the watch of pods has been silent for 500 s"]


async def test_over_http_the_codes_say_it_and_the_metrics_have_their_names() -> None:
    scene, telemetry = Scene(), Telemetry()
    telemetry.figures[Key("ns", "digits")] = ServiceFigures("abc", 0.05, 2)
    telemetry.call("apply", "deployments", "201")
    telemetry.reconciles.labels("ok").inc()
    servers = [
        await serve(health_app(scene.health), "127.0.0.1", 0),
        await serve(metrics_app(telemetry), "127.0.0.1", 0),
    ]
    health, metrics = (f"http://127.0.0.1:{bound_port(server)}" for server in servers)
    try:
        async with aiohttp.ClientSession() as client:

            async def status(path: str) -> int:
                async with client.get(f"{health}{path}") as answer:
                    return answer.status

            assert [await status("/healthz"), await status("/readyz")] == [200, 503]
            scene.health.synced = True
            scene.run = 999
            assert [await status("/healthz"), await status("/readyz")] == [503, 200]
            async with client.get(f"{metrics}/metrics") as answer:
                lines = (await answer.text()).splitlines()
    finally:
        for server in servers:
            await server.cleanup()
    labels = 'inferenceservice="digits",namespace="ns",revision="abc"'
    for wanted in (
        f"seawall_slo_target_seconds{{{labels}}} 0.05",
        f"seawall_desired_replicas{{{labels}}} 2.0",
        'seawall_reconcile_total{result="ok"} 1.0',
        'seawall_api_calls_total{code="201",resource="deployments",verb="apply"} 1.0',
        "seawall_queue_depth 0.0",
    ):
        assert any(sorted_labels(line) == sorted_labels(wanted) for line in lines), wanted


def sorted_labels(line: str) -> tuple[str, tuple[str, ...], str]:
    head, _, rest = line.partition("{")
    if not rest:
        return line, (), ""
    labels, _, value = rest.partition("}")
    return head, tuple(sorted(labels.split(","))), value.strip()


def test_a_log_line_is_one_json_object_with_the_services_key() -> None:
    record = logging.makeLogRecord({"msg": "two\nlines %s", "args": ("x",), "levelname": "INFO", "name": "n"})
    record.identity = "me"
    token = current_key.set("ns/digits")
    try:
        line = JsonLines().format(record)
    finally:
        current_key.reset(token)
    assert "\n" not in line
    told = json.loads(line)
    assert (told["key"], told["message"], told["identity"]) == ("ns/digits", "two\nlines x", "me")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WORKERS", "0", "greater than or equal to 1"),
        ("WORKERS", "many", "valid integer"),
        ("LOG_LEVEL", "LOUD", "DEBUG"),
        ("LEASE_RENEW_DEADLINE_SECONDS", "14", "LEASE_DURATION_SECONDS"),
        ("LEASE_RETRY_SECONDS", "11", "must be below"),
    ],
)
def test_a_wrong_setting_is_refused(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"SEAWALL_{name}", value)
    with pytest.raises(ValidationError, match=words):
        Settings()


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAWALL_WATCH_NAMESPACES", '["a","b"]')
    monkeypatch.setenv("SEAWALL_POD_NAME", "operator-0")
    settings = Settings()
    assert settings.watch_namespaces == ("a", "b")
    assert settings.identity == "operator-0"


def test_without_a_pod_name_every_process_is_a_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEAWALL_POD_NAME", raising=False)
    settings = Settings()
    assert settings.identity != settings.identity
