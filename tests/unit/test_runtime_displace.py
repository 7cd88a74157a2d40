"""Whole rollouts in the places of stable pods, through the real reconciler; the count is its own, or an HPA's."""

from __future__ import annotations

from typing import Any

import pytest

from seawall.decide.rollout_displace import carries
from seawall.decide.types import Assessment, Manifest
from seawall.measure.types import Reading
from seawall.sizing.state import Decision, Terms
from support.rollout_stage import BROKEN, FAILED, MOMENTS, NEXT, OWN, Saved, Stage, phase
from support.writelog import share_of

pytestmark = pytest.mark.long

PLACES = 6
CAPACITY = 100.0
"""requests per second that one pod carries"""
FIXED: dict[str, Any] = {"mode": "Fixed", "replicas": PLACES}
HPA: dict[str, Any] = {"mode": "HPA", "minReplicas": 2, "maxReplicas": 9}


class Cramped(Stage):
    """No node has room for one pod more."""

    def __init__(self, scaling: dict[str, Any], need: int | None, failing: float = FAILED) -> None:
        self.need = need
        rollout = {"capacity": {"mode": "Displace", "progressDeadline": "60s"}, "rollbackWindow": "0s"}
        super().__init__(OWN | {"scaling": scaling, "rollout": rollout}, failing=failing)
        self.busy = PLACES
        self.most = 0
        """pods at once while both revisions had traffic, or were to have it"""

    def tell(self) -> None:
        super().tell()
        share = max((share_of(live) for live in self.routes()), default=0) / 100
        told = {}
        for role, part in (("stable", 1 - share), ("candidate", share)):
            name = self.rollout.get(f"{role}Revision")
            if name and self.need is not None:
                told[name] = self._assessed(name, part)
        self.operator.scales.assessments = told

    def _assessed(self, revision: str, part: float) -> Assessment:
        need = self.need or 0
        rate = need * CAPACITY * part * 0.99
        decision = Decision(
            replicas=PLACES, reason="Demand", terms=Terms(need, need, 0), load_ratio=None, demand_rps=rate,
            capacity_rps=CAPACITY, predicted_p99_ms=None, feasible=True, message="as told",
        )  # fmt: skip
        at = self.now.timestamp()
        return Assessment(revision, Reading(at, "Triton", rate, rate), decision, mode="Fixed")

    def holds(self) -> None:
        """As the stage's own, with the places that were given."""
        if not self.floor:
            return
        stable, candidate = (self.rollout.get(f"{role}Revision") for role in ("stable", "candidate"))
        if not candidate or not stable or self.selected("digits") != stable:
            return
        assert self.ready(stable) >= 1
        if self.rollout.get("phase") != "RollingBack" and self.failing == FAILED:
            left = 100 - max(share_of(live) for live in self.routes())
            assert self.ready(stable) >= carries(self.need or PLACES, left), self.rollout
        if self.rollout.get("phase") != "RollingBack" or self.share():  # then they wait for its pods to drain
            counts = [live["spec"]["replicas"] for live in self.cluster.of("Deployment")]
            self.most = max(self.most, sum(counts))

    def _raised(self, live: Manifest, share: int) -> None:
        super()._raised(live, share)
        stable, candidate = (str(self.rollout[f"{role}Revision"]) for role in ("stable", "candidate"))
        assert self.ready(candidate) >= carries(self.need or PLACES, share)
        assert self.ready(stable) >= carries(self.need or PLACES, 100 - share)


async def begun(
    scaling: dict[str, Any], need: int | None = 3, failing: float = FAILED
) -> tuple[Cramped, str]:
    stage = Cramped(scaling, need, failing)
    first = await stage.serving()
    await stage.until(lambda: stage.ready(first) == PLACES)
    stage.floor = PLACES
    stage.forget()
    stage.edit(model=NEXT)
    return stage, first


modes = pytest.mark.parametrize("scaling", [FIXED, HPA], ids=["Fixed", "HPA"])


@modes
async def test_a_candidate_takes_over_place_by_place(scaling: dict[str, Any]) -> None:
    stage, first = await begun(scaling)
    await stage.until(lambda: stage.rollout.get("stableRevision") not in (None, first))
    assert stage.most == PLACES
    assert stage.cluster.recorded() == [0, 16, 33, 50, 66, 100, 0]
    after = stage.rollout["stableRevision"]
    assert "previousRevision" not in stage.rollout
    await stage.until(lambda: stage.revisions() == {after} and stage.ready(after) == PLACES)
    assert phase(stage, "Idle")()
    assert not {"displacedReplicas", "neededReplicas", "frozenReplicas"} & stage.rollout.keys()


@modes
async def test_abort_gives_traffic_and_places_back_in_turn(scaling: dict[str, Any]) -> None:
    stage, first = await begun(scaling)
    await stage.until(lambda: stage.rollout.get("displacedReplicas") == 4 and stage.share() == 66)
    stage.say("abort")
    shares: list[int] = []
    while stage.rollout.get("candidateRevision"):
        await stage.tick()
        assert stage.ready(first) >= carries(3, 100 - stage.share())
        shares.append(stage.share())
        assert len(shares) < 60
    assert stage.most == PLACES
    assert sorted(shares, reverse=True) == shares
    assert len({share for share in shares if share}) >= 1
    await stage.until(lambda: stage.revisions() == {first} and stage.ready(first) == PLACES)
    assert stage.rollout["lastRejected"]["reason"] == "Aborted"
    await stage.pass_by(5)
    assert "displacedReplicas" not in stage.rollout


async def test_a_candidate_that_fails_requests_loses_all_of_them_at_once() -> None:
    stage, first = await begun(FIXED, failing=BROKEN)
    await stage.until(lambda: "lastRejected" in stage.rollout)
    assert stage.share() == 0
    await stage.until(lambda: stage.revisions() == {first} and stage.ready(first) == PLACES)


NOT_BEGUN = {"all are needed": PLACES, "nobody knows": None}


@pytest.mark.parametrize("need", NOT_BEGUN.values(), ids=NOT_BEGUN)
async def test_where_every_pod_is_needed_nothing_begins(need: int | None) -> None:
    stage, first = await begun(FIXED, need)
    await stage.pass_by(2)
    assert stage.rollout["hold"]["reason"] == "CapacityUnavailable"
    await stage.until(lambda: "pause" in stage.rollout)
    assert stage.rollout["pause"]["reason"] == "CapacityUnavailable"
    assert (stage.revisions(), stage.ready(first)) == ({first}, PLACES)
    stage.need = 2
    await stage.tick()
    assert stage.revisions() == {first}
    stage.say("resume")
    await stage.until(lambda: len(stage.revisions()) == 2)
    assert stage.most == PLACES


async def through(stage: Cramped, first: str, verb: str, *, keep: bool = False) -> list[Saved]:
    """To the end, whatever happens to the operator; how it was before each tick."""
    told = []
    for _ in range(150):
        if keep:
            told.append(stage.save())
        await stage.tick()
        if verb and stage.rollout.get("candidateReplicas") == 3:
            stage.say(verb)
        if "candidateRevision" not in stage.rollout and stage.rollout["phase"] in ("Idle", "RolledBack"):
            [only] = stage.revisions() if len(stage.revisions()) == 1 else [""]
            if only and stage.ready(only) == PLACES and "displacedReplicas" not in stage.rollout:
                assert (only == first) == bool(verb)
                return told
    raise AssertionError(f"it does not end: {stage.rollout}")


@pytest.mark.long
@pytest.mark.parametrize("verb", ["", "abort"], ids=["promoted", "aborted"])
async def test_sigkill_at_any_write_leads_to_the_same_end(verb: str) -> None:
    stage, first = await begun(HPA)
    told = await through(stage, first, verb, keep=True)
    assert stage.cluster.count > 30
    for write in range(1, stage.cluster.count + 1):
        other = Cramped(HPA, 3)
        other.resume([saved for saved in told if saved.count < write][-1], stage)
        other.kill_at(write, MOMENTS[write % len(MOMENTS)])
        await through(other, first, verb)
        assert other.cluster.struck, write
        assert other.most <= PLACES
