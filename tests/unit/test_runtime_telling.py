"""When a service is looked at because of what was measured: how soon, how often, and not twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from seawall.canary.cutter import Cutter
from seawall.canary.window import Arm as Counted
from seawall.canary.window import Window
from seawall.decide.arms import Arm
from seawall.decide.types import Assessment, Windows
from seawall.measure.types import Reading
from seawall.runtime.scaled import FIGURES_SECONDS, VERDICTS_SECONDS, Scaled
from seawall.sizing.state import Bounds, Decision, Terms
from support.dataplane import CANDIDATE, REVISION, ScalerScene, arrive, route
from support.scene import KEY

SLO_MS, SYNC = 200.0, 15.0
FAST, SLOW = 150.0, 900.0


def arm(replicas: int = 2) -> Arm:
    bounds = Bounds(min_replicas=1, max_replicas=6)
    return Arm("ns", "digits", REVISION, SLO_MS, "HPA", bounds, replicas=replicas)


def seen(p99_ms: float | None, replicas: int = 2, demand: float = 40.0) -> Mapping[str, Assessment]:
    trouble = None if p99_ms is not None else "NotEnoughRequests"
    decision = Decision(replicas, "Demand", Terms(2, 2, 0), 0.8, demand, 20.0, 150.0, True, "")
    reading = Reading(at=0.0, source="TritonSummary", p99_ms=p99_ms, trouble=trouble)
    return {
        REVISION: Assessment(
            REVISION, reading=reading, decision=decision, load=1.9, profile="Measured", mode="HPA"
        )
    }


class Told:
    """One service, and what `publish` says of one assessment after the other."""

    def __init__(self) -> None:
        self.now, self.service = 1_800_000_000.0, Scaled(arms=(arm(),))

    def after(self, seconds: float, assessments: Mapping[str, Assessment]) -> str:
        self.now += seconds
        self.service.assessments = assessments
        return self.service.publish(self.now)


@pytest.fixture
def told() -> Told:
    """Its first assessment is public, long enough ago."""
    made = Told()
    assert made.after(0, seen(FAST)) == "Decision"
    made.after(VERDICTS_SECONDS, seen(FAST))
    return made


def test_a_verdict_that_turns_round_is_told_at_once_and_mere_figures_are_not(told: Told) -> None:
    assert told.after(SYNC, seen(FAST + 20)) == "", "within the minute, and on the same side"
    assert told.after(0, seen(SLOW)) == "Verdict"
    assert told.service.shown[0] == seen(SLOW)
    assert told.after(SYNC, seen(SLOW)) == ""
    assert told.after(SYNC, seen(FAST)) == "Verdict"


def test_a_latency_that_swings_about_its_objective_is_told_every_half_minute_at_most(told: Told) -> None:
    news = [told.after(5, seen(SLOW if turn % 2 else FAST)) for turn in range(240)]
    verdicts = news.count("Verdict")
    assert verdicts <= 240 * 5 / VERDICTS_SECONDS
    assert verdicts >= 10
    assert len([each for each in news if each]) <= 240 * 5 * (1 / VERDICTS_SECONDS + 1 / FIGURES_SECONDS)


def test_a_verdict_that_has_to_wait_is_told_when_its_time_has_come(told: Told) -> None:
    assert told.after(0, seen(SLOW)) == "Verdict"
    assert told.after(SYNC, seen(FAST)) == "", "the last one was told a moment ago"
    assert told.after(SYNC, seen(FAST)) == "Verdict"
    assert told.after(SYNC, seen(FAST)) == ""


def test_a_verdict_that_comes_back_before_it_was_told_is_none(told: Told) -> None:
    told.after(0, seen(SLOW))
    assert told.after(SYNC, seen(FAST)) == ""
    assert told.after(SYNC, seen(SLOW)) == ""


def test_what_is_missed_is_met_again_by_the_verdict_that_was_told(told: Told) -> None:
    """195 ms are within 200, and yet not well within: so says the condition, too."""
    assert told.after(0, seen(SLOW)) == "Verdict"
    assert told.after(VERDICTS_SECONDS, seen(195.0)) == ""
    assert told.after(FIGURES_SECONDS, seen(195.0)) == "Figures"
    assert told.service.verdicts[REVISION].missed is True
    assert told.after(SYNC, seen(180.0)) == "Verdict"


@pytest.mark.parametrize("p99_ms", [FAST, SLOW])
def test_a_count_is_told_at_once_however_often_it_changes(told: Told, p99_ms: float) -> None:
    assert [told.after(1, seen(p99_ms, replicas)) for replicas in (3, 4, 3, 5)] == ["Decision"] * 4


def test_a_p99_that_comes_and_goes_with_the_traffic_is_no_storm(told: Told) -> None:
    news = [told.after(5, seen(None if turn % 2 else FAST)) for turn in range(120)]
    assert news.count("Verdict") <= 120 * 5 / VERDICTS_SECONDS


def test_a_clock_that_is_set_back_keeps_nothing_from_being_told(told: Told) -> None:
    told.after(0, seen(SLOW))
    assert told.after(-3600, seen(FAST)) == "Verdict"
    assert told.after(FIGURES_SECONDS, seen(FAST, demand=80.0)) == "Figures"


def test_the_same_again_is_never_told(told: Told) -> None:
    assert [told.after(SYNC, seen(FAST)) for _ in range(40)] == [""] * 40


@pytest.mark.parametrize(
    ("ended_ago", "seconds", "flows"),
    [(0.0, 15.0, True), (29.0, 15.0, True), (31.0, 15.0, False), (31.0, 30.0, True)],
)
def test_windows_flow_while_the_last_one_is_young(ended_ago: float, seconds: float, flows: bool) -> None:
    end = 1_800_000_000.0
    window = Window(end=end, stable=Counted(ready_pods=1), candidate=Counted(ready_pods=1))
    service = Scaled(cutter=Cutter(seconds), windows=Windows((window,)))
    assert service.flows(end + ended_ago) is flows
    assert replace(service, windows=Windows()).flows(end) is False
    assert replace(service, cutter=None).flows(end) is False


@pytest.mark.parametrize("judged", [False, True], ids=["no rollout", "a candidate on trial"])
async def test_during_a_rollout_a_verdict_is_told_with_the_next_window(judged: bool) -> None:
    scene = ScalerScene()
    scene.serve(pods=1, replicas=1, maxReplicas=1)
    scene.plane.rates["digits"] = 20.0
    if judged:
        route(scene, candidate=True, step=1)
        arrive(scene)
        scene.plane.rates["digits"] = 40.0
    await scene.pass_(300)
    assert scene.scaler.shown(KEY)[0][REVISION].reading.p99_ms is not None
    scene.woken.clear()
    scene.plane.latency_ms = 40.0
    windows = len(scene.scaler.windows(KEY).closed)
    await scene.pass_(60)
    late = scene.scaler.shown(KEY)[0][REVISION].reading.late_share
    assert late is not None
    assert late > 0.01, "the verdict is public"
    if judged:
        assert CANDIDATE in scene.scaler.shown(KEY)[0]
        assert len(scene.woken) == len(scene.scaler.windows(KEY).closed) - windows
    else:
        assert 1 <= len(scene.woken) <= 3


async def test_batches_are_asked_for_more_often_while_they_are_all_that_is_missing() -> None:
    scene = ScalerScene()
    scene.serve()
    await scene.pass_(60)
    idle = len(scene.plane.batches_asked)
    assert idle <= 2
    scene.plane.rates["digits"] = 1.0
    await scene.pass_(120)
    learning = len(scene.plane.batches_asked) - idle
    assert 6 <= learning <= 9
    scene.plane.rates["digits"] = 200.0
    await scene.pass_(60)
    assert scene.scaler.shown(KEY)[0][REVISION].profile == "Measured"
    asked = len(scene.plane.batches_asked)
    await scene.pass_(300)
    assert len(scene.plane.batches_asked) - asked <= 6
