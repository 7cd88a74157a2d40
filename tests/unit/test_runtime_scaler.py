"""The scaler over a store and a data plane in memory: who is read, what is remembered, who is woken."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from seawall.decide.types import Key
from support.dataplane import REVISION
from support.dataplane import ScalerScene as Scene
from support.scene import KEY, digits


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_revisions_with_pods_are_read_and_nothing_else(scene: Scene) -> None:
    scene.serve("digits")
    scene.serve("asleep", pods=0)
    await scene.scaler.tick()
    assert scene.plane.asked == [[("digits", REVISION)]]
    scene.remove("digits")
    await scene.pass_(5)
    assert len(scene.plane.asked) == 1


async def test_a_service_without_a_profile_learns_one_and_is_then_sized(scene: Scene) -> None:
    scene.serve(pods=2)
    scene.plane.rates["digits"] = 200.0
    await scene.pass_(30)
    first = scene.scaler.shown(KEY)[0][REVISION]
    assert (first.decision, first.profile) == (None, "None")
    found = await scene.sized()
    assert found.profile == "Measured"
    assert found.decision.replicas >= 1
    assert found.decision.demand_rps == pytest.approx(200, rel=0.5)
    assert KEY in scene.woken
    assert scene.series("demand_rps").keys() == {("digits", REVISION)}
    assert scene.series("ready_replicas") == {("digits", REVISION): 2.0}


async def test_batch_statistics_are_asked_once_a_minute(scene: Scene) -> None:
    scene.serve()
    await scene.pass_(300)
    assert len(scene.plane.batches_asked) == 5


async def test_a_decision_is_public_at_once_and_mere_figures_once_a_minute(scene: Scene) -> None:
    scene.serve(mode="Direct", minReplicas=2)
    scene.plane.rates["digits"] = 100.0
    await scene.sized()
    await scene.pass_(300)
    scene.woken.clear()
    before = scene.scaler.shown(KEY)
    scene.plane.rates["digits"] = 130.0
    changes = 0
    for _ in range(8):
        await scene.pass_(15)
        changes += scene.scaler.shown(KEY) is not before
        before = scene.scaler.shown(KEY)
    assert 1 <= len(scene.woken) == changes <= 2


async def test_nothing_new_wakes_nobody(scene: Scene) -> None:
    scene.serve()
    await scene.pass_(120)
    scene.woken.clear()
    await scene.pass_(600)
    assert scene.woken == []


async def test_a_service_in_mode_direct_is_looked_at_until_it_has_its_count(scene: Scene) -> None:
    scene.serve(pods=1, replicas=1, minReplicas=3)
    scene.plane.rates["digits"] = 50.0
    found = await scene.sized()
    assert found.decision.replicas >= 3
    scene.woken.clear()
    await scene.pass_(30)
    assert len(scene.woken) >= 2
    scene.serve(pods=3, replicas=found.decision.replicas)
    await scene.pass_(60)
    scene.woken.clear()
    await scene.pass_(45)
    assert len(scene.woken) <= 1, "for its figures"


async def test_a_silent_data_plane_is_told_and_the_count_stands(scene: Scene) -> None:
    scene.serve(pods=2)
    scene.plane.rates["digits"] = 300.0
    before = (await scene.sized()).decision.replicas
    scene.plane.silent.add("digits")
    await scene.pass_(60)
    held = scene.scaler.shown(KEY)[0][REVISION]
    assert held.reading.trouble == "MetricsUnavailable"
    assert held.reading.p99_ms is None
    assert held.decision.replicas >= before
    assert ("digits", REVISION) not in scene.series("p99_seconds")


async def test_a_source_that_fails_altogether_stops_no_round(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.serve(pods=2)
    scene.plane.fault = RuntimeError("a bug")
    await scene.pass_(60)
    told = scene.scaler.shown(KEY)[0][REVISION]
    assert told.reading.trouble == "MetricsUnavailable"
    assert "a bug" in caplog.text
    scene.plane.fault = None
    scene.plane.rates["digits"] = 100.0
    await scene.pass_(120)
    recovered = scene.scaler.shown(KEY)[0][REVISION]
    assert recovered.reading.trouble is None
    assert recovered.reading.p99_ms is not None


async def test_batch_statistics_that_fail_are_missing_and_no_more(scene: Scene) -> None:
    scene.serve(pods=2)
    scene.plane.rates["digits"] = 100.0
    scene.plane.batch_fault = RuntimeError("a bug")
    await scene.pass_(180)
    told = scene.scaler.shown(KEY)[0][REVISION]
    assert told.reading.p99_ms is not None
    assert told.decision is None


async def test_one_services_surprise_is_that_services(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from seawall.runtime import scaled

    scene.serve("digits")
    scene.serve("poison")
    real = scaled.assess_all

    def poisoned(now: float, arms: Any, memories: Any) -> Any:
        if arms and arms[0].service == "poison":
            raise ZeroDivisionError("poison")
        return real(now, arms, memories)

    monkeypatch.setattr(scaled, "assess_all", poisoned)
    await scene.pass_(30)
    assert REVISION in scene.scaler.shown(KEY)[0]
    assert scene.scaler.shown(Key("ns", "poison")) == ({}, None)
    assert "ZeroDivisionError" in caplog.text


async def test_a_service_that_is_gone_is_forgotten_with_its_series(scene: Scene) -> None:
    scene.serve("digits")
    scene.serve("other")
    await scene.pass_(30)
    assert len(scene.scaler) == 2
    assert len(scene.series("ready_replicas")) == 2
    scene.remove("digits")
    await scene.pass_(15)
    assert len(scene.scaler) == 1
    assert scene.series("ready_replicas").keys() == {("other", REVISION)}
    assert scene.scaler.shown(KEY) == ({}, None)


async def test_a_service_whose_spec_cannot_be_read_is_left_alone(scene: Scene) -> None:
    scene.serve("digits")
    broken = digits()
    broken["metadata"] |= {"name": "broken", "uid": "uid-broken"}
    broken["spec"] = {"slo": 3}
    scene.put(broken)
    await scene.pass_(30)
    assert scene.scaler.shown(Key("ns", "broken")) == ({}, None)
    assert REVISION in scene.scaler.shown(KEY)[0]


async def test_a_clock_that_is_set_back_stops_nothing(scene: Scene) -> None:
    scene.serve(pods=2)
    scene.plane.rates["digits"] = 100.0
    await scene.pass_(120)
    scene.plane.now -= 3600
    await scene.pass_(180)
    assert scene.scaler.shown(KEY)[0][REVISION].reading.at <= scene.plane.now


async def test_the_rounds_go_on_until_cancelled(scene: Scene) -> None:
    scene.serve()
    running = asyncio.create_task(scene.scaler.run())
    async with asyncio.timeout(10):
        await scene.plane.was_read.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
