"""Windows as the scaler makes them public: for whom, from what, and who is woken by them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from seawall.canary.cutter import Cutter
from seawall.canary.window import Arm
from seawall.decide.types import Key, Windows
from seawall.measure.types import ArmSample, GatewaySample, Histogram, PodSample
from seawall.runtime.scaled import Scaled
from seawall.runtime.telemetry import ServiceFigures, Telemetry, rollout_figures
from support.dataplane import CANDIDATE, REVISION, ScalerScene, arrive, route
from support.scene import KEY


@pytest.fixture
def scene() -> ScalerScene:
    return ScalerScene()


@pytest.mark.parametrize(
    ("routed", "rollout", "cut"),
    [
        (True, {}, True),
        (True, {"strategy": "Canary"}, True),
        (True, {"strategy": "Direct"}, False),
        (True, {"strategy": "BlueGreen"}, False),
        (False, {}, False),
    ],
)
async def test_windows_are_cut_where_a_rollout_would_be_judged_by_them(
    scene: ScalerScene, routed: bool, rollout: dict[str, Any], cut: bool
) -> None:
    scene.serve()
    if routed:
        route(scene, **rollout)
    scene.plane.rates["digits"] = 20.0
    await scene.pass_(100)
    windows = scene.scaler.windows(KEY)
    assert bool(windows.closed) == cut
    for window in windows.closed:
        assert window.end % 15 == 0
        assert float(window.stable.requests) == 300
        assert (window.stable.ready_pods, window.candidate) == (2, Arm(ready_pods=0))
    assert windows.trouble == ""
    assert scene.scaler.windows(Key("ns", "nobody")) == Windows()


async def test_both_revisions_are_cut_at_the_same_edges_and_each_window_wakes_once(
    scene: ScalerScene,
) -> None:
    scene.serve()
    route(scene, candidate=True, step=1)
    arrive(scene)
    scene.plane.rates["digits"] = 20.0
    await scene.pass_(60)
    scene.woken.clear()
    before = scene.scaler.windows(KEY)
    assert {float(window.candidate.requests) for window in before.closed} == {300}
    assert {window.candidate.ready_pods for window in before.closed} == {1}
    woken = []
    for _ in range(6):
        await scene.pass_(5)
        woken.append(len(scene.woken))
    assert woken[-1] >= 2
    assert len(scene.scaler.windows(KEY).closed) == len(before.closed) + 2


@pytest.mark.parametrize("step", [None, 0])
async def test_nobody_is_woken_by_a_window_that_nobody_judges(scene: ScalerScene, step: int | None) -> None:
    scene.serve()
    route(scene, candidate=step is not None, step=step)
    await scene.pass_(60)
    scene.woken.clear()
    await scene.pass_(45)
    assert len(scene.scaler.windows(KEY).closed) >= 4
    assert bool(scene.woken) == (step is not None)


async def test_a_silent_source_is_told_and_then_forgiven(scene: ScalerScene) -> None:
    scene.serve()
    route(scene)
    scene.plane.rates["digits"] = 20.0
    await scene.pass_(60)
    scene.plane.silent.add("digits")
    await scene.pass_(120)
    told = scene.scaler.windows(KEY)
    assert (told.trouble, told.message) == ("ProviderDown", "nobody answered")
    scene.plane.silent.clear()
    await scene.pass_(90)
    assert scene.scaler.windows(KEY).trouble == ""


async def test_a_plan_that_analyses_no_more_forgets_the_windows(scene: ScalerScene) -> None:
    scene.serve()
    route(scene)
    await scene.pass_(60)
    assert scene.scaler.windows(KEY).closed
    route(scene, strategy="Direct")
    await scene.pass_(5)
    assert scene.scaler.windows(KEY) == Windows()


async def test_one_services_surprise_is_that_services(
    scene: ScalerScene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scene.serve()
    route(scene)

    def surprised(*_: Any) -> bool:
        raise ZeroDivisionError("poison")

    monkeypatch.setattr(Cutter, "cut", surprised)
    await scene.pass_(30)
    assert REVISION in scene.scaler.shown(KEY)[0]
    assert "no window was cut" in caplog.text


def _seen(at: float, count: float) -> ArmSample:
    histogram = Histogram((20.0, float("inf")), (count, count))
    gateway = GatewaySample(at, histogram, 0.0, count, 0.0, "envoy")
    return ArmSample(at, (PodSample("p", at, 0.0, 0.0),), frozenset({"p"}), gateway)


async def test_a_promoted_revision_is_not_charged_with_what_its_new_name_counted_before(
    scene: ScalerScene,
) -> None:
    """The gateway knows it by the candidate's Service first, then by the stable one's, with other counters."""
    scene.serve()
    route(scene, candidate=True, step=1)
    arrive(scene)
    await scene.pass_(5)
    service: Scaled = scene.scaler._services[KEY]
    stable, candidate = service.arms
    assert (stable.backends, candidate.backends) == (("digits", "digits-headless"), ("digits-candidate",))
    now = scene.plane.now
    for second in range(0, 65, 5):
        service.take(CANDIDATE, _seen(now + second, 10.0 * second))
    service.settle((stable, candidate))
    assert service.series[CANDIDATE].reading(now + 60, 20.0).rate_60s == pytest.approx(10)
    service.settle((replace(candidate, role="Stable", backends=stable.backends),))
    for second in range(65, 130, 5):
        service.take(CANDIDATE, _seen(now + second, 1_000_000 + 10.0 * second))
    reading = service.series[CANDIDATE].reading(now + 125, 20.0)
    assert reading.rate_60s == pytest.approx(10)
    assert reading.counts.total < 2000


ROLLOUT = {
    "stableRevision": "a1", "candidateRevision": "b2", "step": 1, "desiredWeight": 20, "observedWeight": 10,
    "analysis": {"metrics": [
        {"metric": "latency", "logERollback": "-0.31", "logEPass": "2.40", "kept": []},
        {"metric": "errors", "logERollback": "4.61"},
    ]},
}  # fmt: skip


def _told(telemetry: Telemetry, name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels.values()): sample.value
        for family in telemetry.registry.collect()
        for sample in family.samples
        if sample.name == name
    }


def test_evidence_and_weight_are_told_of_the_candidate() -> None:
    telemetry = Telemetry()
    telemetry.figures[KEY] = ServiceFigures("a1", 0.02, 2, rollout_figures(ROLLOUT))
    assert _told(telemetry, "seawall_rollout_weight_ratio") == {("ns", "digits", "b2"): 0.1}
    assert _told(telemetry, "seawall_rollout_evidence") == {
        ("ns", "digits", "b2", "latency", "rollback"): -0.31,
        ("ns", "digits", "b2", "latency", "pass"): 2.40,
        ("ns", "digits", "b2", "errors", "rollback"): 4.61,
    }


@pytest.mark.parametrize("rollout", [{}, {"candidateRevision": "b2"}, {"step": 1}])
def test_without_a_step_there_is_no_series(rollout: dict[str, Any]) -> None:
    telemetry = Telemetry()
    telemetry.figures[KEY] = ServiceFigures("a1", 0.02, 2, rollout_figures(rollout))
    assert _told(telemetry, "seawall_rollout_weight_ratio") == {}


def test_before_the_first_window_there_is_a_weight_and_no_evidence() -> None:
    found = rollout_figures({**ROLLOUT, "analysis": None})
    assert found is not None
    assert (found.weight, found.evidence) == (0.1, ())
