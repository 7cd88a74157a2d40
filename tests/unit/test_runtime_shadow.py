"""A rollout with a shadow step through the real reconciler: what comes and goes, and in which order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from seawall.canary.shadow import Tally
from support.rollout_stage import NEXT, OWN, Stage
from support.rollout_world import TICK

pytestmark = pytest.mark.long

COMPARED = Tally("s1", "", seen=20_000, compared=1000, doubled=500, repeats=True, metrics=("top1",))
STEPS: list[dict[str, Any]] = [{"shadow": {"percent": 5, "duration": "60s"}}, {"weight": 50}]
COMPARATOR = ("Deployment", "ns", "digits-shadow"), ("Service", "ns", "digits-shadow")


class Shadowed(Stage):
    """A cluster that gives Services addresses; a comparator that has counted what it is told."""

    def __init__(self, steps: list[dict[str, Any]] | None = None, **rollout: Any) -> None:
        super().__init__(OWN | {"rollout": {"steps": steps or STEPS, **rollout}})

    def start(self) -> None:
        super().start()
        self.operator.reconcile._comparer._clock = self._seconds

    def _seconds(self) -> float:
        return self.now.timestamp()

    def tell(self) -> None:
        live = self.cluster.objects.get(COMPARATOR[1])
        if live is not None and "clusterIP" not in live["spec"]:
            live["spec"]["clusterIP"] = "10.9.0.1"
            self.cluster.touch(live)
        super().tell()

    async def shadowing(self, counts: Tally | None = COMPARED) -> None:
        await self.serving()
        self.operator.servers.counts = counts
        self.edit(model=NEXT)

    @property
    def fed(self) -> bool:
        live = self.cluster.objects.get(("HTTPRoute", "ns", "digits"))
        return live is not None and bool(live["spec"]["rules"][0].get("filters"))

    @property
    def there(self) -> bool:
        return all(place in self.cluster.objects for place in COMPARATOR)

    def writes(self) -> list[str]:
        """Of the comparator and of the route that feeds it."""
        kept = ("Deployment digits-shadow", "Service digits-shadow", "HTTPRoute digits")
        return [f"{w.verb} {w.kind} {w.name}" for w in self.cluster.log if f"{w.kind} {w.name}" in kept]

    def must_hold(self) -> None:
        if self.fed:
            assert self.there, "a route leads to a comparator that is gone"
            assert self.share() == 0, "a candidate that is compared has traffic"
        assert "shadow" not in self.rollout.get("stableRevision", "")

    async def comes_to(self, phase: str, ticks: int = 100) -> None:
        self.cluster.checks.append(self.must_hold)
        await self.until(lambda: self.rollout.get("phase") == phase, ticks)

    async def until_counted(self) -> None:
        await self.until(lambda: self.rollout.get("comparator") == "s1")


@pytest.fixture
def stage() -> Shadowed:
    return Shadowed()


async def test_the_comparator_comes_before_its_filter_and_goes_after_it(stage: Shadowed) -> None:
    await stage.shadowing()
    await stage.comes_to("Shadow")
    await stage.until_counted()
    assert stage.fed
    began = stage.now
    await stage.comes_to("Stepping")
    assert (stage.now - began).total_seconds() >= 60 - TICK
    await stage.until(lambda: not stage.there)
    first = ["apply Deployment digits-shadow", "apply Service digits-shadow", "apply HTTPRoute digits"]
    last = ["apply HTTPRoute digits", "delete Deployment digits-shadow", "delete Service digits-shadow"]
    found = stage.writes()
    assert found[:3] == first
    assert found[3] == last[0]
    assert sorted(found[4:6]) == sorted(last[1:])
    await stage.comes_to("Watching")
    assert any("answers to live requests differ" in event.message for event in stage.cluster.events)


async def test_counts_are_asked_for_once_in_a_window_and_between_two_nothing_is_written(
    stage: Shadowed,
) -> None:
    await stage.shadowing()
    await stage.until_counted()
    await stage.tick()
    asked, written = len(stage.operator.servers.counted), stage.cluster.count
    await stage.pass_by(8)
    assert len(stage.operator.servers.counted) - asked <= 8 * TICK / 10 + 1
    assert stage.cluster.count == written
    request = stage.operator.servers.counted[-1]
    assert (request.address, request.order) == ("10.9.0.1:8000", f"{stage.rollout['id']}/0")


async def test_a_candidate_that_answers_otherwise_is_rolled_back_before_it_has_traffic(
    stage: Shadowed,
) -> None:
    await stage.shadowing(replace(COMPARED, differ=300, only_candidate=150))
    await stage.comes_to("RolledBack")
    await stage.until(lambda: not stage.there)
    assert stage.rollout["lastRejected"]["reason"] == "AnswersDiffer"
    assert not stage.fed
    assert stage.share() == 0
    await stage.until(lambda: stage.revisions() == {stage.first})


async def test_a_comparator_that_was_started_anew_pauses_the_rollout_and_resume_goes_on(
    stage: Shadowed,
) -> None:
    await stage.shadowing()
    await stage.until_counted()
    stage.operator.servers.counts = replace(COMPARED, start="s2", compared=3, doubled=1)
    await stage.comes_to("Paused")
    assert stage.rollout["pause"]["reason"] == "ShadowUnknown"
    await stage.until(lambda: not stage.there)
    stage.operator.servers.counts = replace(COMPARED, start="s3")
    stage.say("resume")
    await stage.until(lambda: stage.rollout.get("comparator") == "s3")
    await stage.comes_to("Stepping")


async def test_a_comparator_that_says_nothing_pauses_the_rollout_in_the_end() -> None:
    stage = Shadowed(capacity={"progressDeadline": "60s"})
    await stage.shadowing(None)
    await stage.comes_to("Paused")
    assert stage.rollout["pause"]["message"] == "Time is up: The comparator does not tell its counts"
    await stage.until(lambda: not stage.there)


async def test_abort_takes_filter_and_comparator_away(stage: Shadowed) -> None:
    await stage.shadowing()
    await stage.until_counted()
    stage.cluster.checks.append(stage.must_hold)
    stage.say("abort")
    await stage.until(lambda: stage.rollout["phase"] == "RolledBack" and not stage.there)
    assert not stage.fed


async def test_an_operator_that_comes_back_goes_on_with_the_same_counts(stage: Shadowed) -> None:
    await stage.shadowing()
    await stage.until_counted()
    stage.start()
    stage.operator.servers.counts = COMPARED
    await stage.comes_to("Stepping")
    assert stage.writes().count("apply Deployment digits-shadow") == 1


async def test_without_gateway_routes_the_comparator_goes_with_its_route(stage: Shadowed) -> None:
    await stage.shadowing()
    await stage.until_counted()
    stage.cluster.checks.append(stage.must_hold)
    live = stage.cluster.live("InferenceService", "digits")
    live["spec"] = {k: v for k, v in live["spec"].items() if k not in ("routing", "rollout")}
    live["metadata"]["generation"] += 1
    stage.cluster.touch(live)
    await stage.until(lambda: not stage.there and ("HTTPRoute", "ns", "digits") not in stage.cluster.objects)


async def test_blue_and_green_is_shadowed_before_its_switch() -> None:
    stage = Shadowed(STEPS[:1], strategy="BlueGreen")
    await stage.shadowing()
    await stage.comes_to("Shadow")
    await stage.until_counted()
    await stage.comes_to("Watching")
    await stage.until(lambda: not stage.there)
    assert {w.said for w in stage.cluster.log if w.kind == "HTTPRoute"} == {0}
