"""SIGKILL at every write of a rollout: before it, after it, and in the middle of several at once.

Each rollout is gone through once and its writes are counted; then it ends at each of them and another operator
goes on, which knows nothing but what the API server tells. It has to come to where the first one came to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from seawall.canary.shadow import Tally
from support.golden import config_map
from support.rollout_stage import BROKEN, BY_PODS, FAILED, FIRST, MOMENTS, NAMED, NEXT, OWN, Saved, Stage
from support.writelog import FAULTS, Moment

pytestmark = pytest.mark.long

THIRD = {"uri": "s3://models/digits-3.onnx"}
VOLATILE = frozenset({"resourceVersion", "uid", "managedFields"})
TIMES = frozenset(
    {
        "finishedAt", "startedAt", "switchedAt", "stepStartedAt", "lastTransitionTime", "since", "generation",
        "observedGeneration",
    }
)  # fmt: skip
FIGURES = re.compile(r"[0-9][0-9 ]*(\.[0-9]+)?%? of [0-9 ]+|-?[0-9]+\.[0-9]+%?")
REST = 6
"""Ticks after the end."""


def weighs(stage: Stage, weight: int) -> bool:
    return stage.rollout.get("desiredWeight") == weight and "stepStartedAt" in stage.rollout


def nobody(stage: Stage) -> None:
    pass


def aborts_at_half(stage: Stage) -> None:
    if weighs(stage, 50):
        stage.say("abort")


def aborts_after_all(stage: Stage) -> None:
    if stage.rollout.get("phase") == "Watching":
        stage.say("abort")


def reverts(stage: Stage) -> None:
    if weighs(stage, 25):
        stage.edit(model=FIRST)


def changes_again(stage: Stage) -> None:
    if weighs(stage, 25):
        stage.edit(model=THIRD)


GOLDEN = {"quality": {"goldenSet": {"configMapRef": "golden"}, "maxDisagreement": "0.01"}}
SHADOW = {"shadow": {"percent": 5, "duration": "20s"}}
COMPARED = Tally("s1", "", seen=2000, compared=2000, repeats=True, metrics=("top1",))


class Compared(Stage):
    """With a golden set, and servers and a comparator that tell how answers compare."""

    answers: Literal["Pass", "Fail"] = "Pass"

    def __init__(self, spec: dict[str, Any], **more: Any) -> None:
        super().__init__(spec, **more)
        self.cluster.add(config_map({"golden.npz": b"recorded"}))

    def start(self) -> None:
        super().start()
        self.operator.servers.answers, self.operator.servers.counts = self.answers, COMPARED
        self.operator.reconcile._comparer._clock = self._seconds

    def _seconds(self) -> float:
        return self.now.timestamp()

    def tell(self) -> None:
        comparator = self.cluster.objects.get(("Service", "ns", "digits-shadow"))
        if comparator is not None and "clusterIP" not in comparator["spec"]:
            comparator["spec"]["clusterIP"] = "10.9.0.1"
            self.cluster.touch(comparator)
        super().tell()


class Differing(Compared):
    answers = "Fail"


@dataclass(frozen=True)
class Story:
    ends: str
    """phase"""
    outcome: str
    people: Callable[[Stage], None] = nobody
    failing: float = FAILED
    spec: dict[str, Any] = field(default_factory=lambda: OWN)
    stage: type[Stage] = Stage

    def staged(self, *, remembers: bool) -> Stage:
        return self.stage(self.spec, failing=self.failing, remembers=remembers)

    def done(self, stage: Stage) -> bool:
        newest = stage.rollout["history"][0]
        ended = stage.rollout["phase"] == self.ends and newest["outcome"] == self.outcome
        return ended and len(stage.revisions()) == 1 and newest["revision"] != stage.first


BLUE_GREEN: dict[str, Any] = {"rollout": {"strategy": "BlueGreen", "steps": [GOLDEN]}}
ANSWERS: dict[str, Any] = {**OWN, "rollout": {"steps": [GOLDEN, SHADOW, {"weight": "matched"}]}}
STORIES = {
    "a sound candidate": Story("Idle", "Promoted"),
    "a broken candidate": Story("RolledBack", "Rejected", failing=BROKEN),
    "a sound candidate behind the user's routes": Story("Idle", "Promoted", spec=NAMED),
    "a broken candidate behind the user's routes": Story(
        "RolledBack", "Rejected", failing=BROKEN, spec=NAMED
    ),
    "a sound candidate without a gateway": Story("Idle", "Promoted", spec=BY_PODS),
    "a broken candidate without a gateway": Story("RolledBack", "Rejected", failing=BROKEN, spec=BY_PODS),
    "aborted at half without a gateway": Story("RolledBack", "Aborted", aborts_at_half, spec=BY_PODS),
    "another spec without a gateway": Story("Idle", "Promoted", changes_again, spec=BY_PODS),
    "aborted at half of the traffic": Story("RolledBack", "Aborted", aborts_at_half),
    "taken back after the promotion": Story("RolledBack", "RolledBack", aborts_after_all),
    "blue and green": Story("Idle", "Promoted", spec=BLUE_GREEN, stage=Compared),
    "blue and green, taken back": Story(
        "RolledBack", "RolledBack", aborts_after_all, spec=BLUE_GREEN, stage=Compared
    ),
    "other answers": Story("RolledBack", "Rejected", spec=ANSWERS, stage=Differing),
    "answers, live requests, weights": Story("Idle", "Promoted", spec=ANSWERS, stage=Compared),
    "the old spec again": Story("Idle", "Aborted", reverts),
    "another spec in the middle": Story("Idle", "Promoted", changes_again),
}


@dataclass
class Told:
    """A story once told to its end."""

    story: Story
    stage: Stage
    saved: list[Saved] = field(default_factory=list)
    """before each tick"""
    moments: dict[Any, str] = field(default_factory=dict)
    """all that there was after each tick, by the time"""

    @property
    def writes(self) -> int:
        return self.stage.cluster.count


async def tell(story: Story, *, remembers: bool = True) -> Told:
    stage = story.staged(remembers=remembers)
    await stage.serving()
    stage.people = story.people
    stage.edit(model=NEXT)
    told = Told(story, stage)
    rest = REST
    while rest:
        told.saved.append(stage.save())
        await stage.tick()
        told.moments[stage.now] = shape(stage)
        rest -= story.done(stage)
        assert len(told.saved) < 200, stage.rollout
    return told


async def again(told: Told, write: int, moment: Moment, *, remembers: bool = True, away: int = 0) -> Stage:
    """The same, with an end of the operator at this write."""
    stage = told.story.staged(remembers=remembers)
    stage.people, stage.away = told.story.people, away
    stage.resume([saved for saved in told.saved if saved.count < write][-1], told.stage)
    stage.kill_at(write, moment)
    rest = REST
    while rest:
        await stage.tick()
        if stage.cluster.struck and told.moments.get(stage.now) == shape(stage):
            return stage  # what follows was told before
        rest -= told.story.done(stage)
        assert stage.now.timestamp() - told.stage.now.timestamp() < 600, stage.rollout
    assert lasting(stage) == lasting(told.stage)
    return stage


def shape(stage: Stage) -> str:
    """All that there is, to the last digit, and how the traffic came to where it is."""
    shares = [stage.cluster.shares(kind) for kind in ("HTTPRoute", "GRPCRoute", "Service")]
    world = [
        stage.clients.windows,
        stage.clients.asked,
        sorted(stage.ages.items()),
        sorted(stage.taken.items()),
    ]
    return json.dumps([_without(stage.cluster.objects, VOLATILE), shares, repr(world)], sort_keys=True)


def lasting(stage: Stage) -> tuple[Any, ...]:
    """What must be the same however long it took and however many windows were seen."""
    objects = _without(stage.cluster.objects, VOLATILE | TIMES)
    return (
        json.loads(FIGURES.sub("#", json.dumps(objects))),
        stage.cluster.shares("HTTPRoute"),
        stage.cluster.shares("GRPCRoute"),
        stage.cluster.shares("Service"),
        stage.cluster.recorded(),
    )


def _without(value: Any, names: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {str(k): _without(v, names) for k, v in sorted(value.items()) if k not in names}
    return [_without(each, names) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "name",
    [
        "a sound candidate",
        "a broken candidate",
        "taken back after the promotion",
        "a sound candidate without a gateway",
        "a broken candidate without a gateway",
    ],
)
async def test_killed_at_every_third_write(name: str) -> None:
    told = await tell(STORIES[name])
    for write in range(1, told.writes + 1, 3):
        stage = await again(told, write, MOMENTS[write // 3 % 3])
        assert stage.cluster.struck == 1


async def test_a_verdict_outlives_whoever_has_found_it() -> None:
    """Killed when traffic has just left a broken candidate, with all that spoke against it."""
    told = await tell(STORIES["a broken candidate"])
    lowered = [w.kind.endswith("Route") and w.said == 0 for w in told.stage.cluster.log].index(True) + 1
    for write in (lowered, lowered + 1):
        stage = await again(told, write, "after", remembers=False)
        assert stage.cluster.shares("HTTPRoute") == stage.cluster.shares("GRPCRoute") == [25, 0]


async def test_every_third_write_fails_once() -> None:
    told = await tell(STORIES["a sound candidate"])
    for write in range(2, told.writes + 1, 3):
        stage = await again(told, write, FAULTS[write // 3 % 2])
        assert stage.cluster.struck == 1


@pytest.mark.long
@pytest.mark.parametrize("name", STORIES)
async def test_every_write_fails_once(name: str) -> None:
    told = await tell(STORIES[name])
    for write in range(1, told.writes + 1):
        for moment in FAULTS:
            stage = await again(told, write, moment)
            assert stage.cluster.struck == 1, (write, moment)


@pytest.mark.long
@pytest.mark.parametrize("name", STORIES)
async def test_killed_at_every_write_and_replaced_at_once(name: str) -> None:
    told = await tell(STORIES[name])
    for write in range(1, told.writes + 1):
        for moment in MOMENTS:
            stage = await again(told, write, moment)
            assert stage.cluster.struck == 1, (write, moment)


@pytest.mark.long
@pytest.mark.parametrize("name", STORIES)
async def test_killed_at_every_write_and_replaced_later_by_one_that_has_seen_no_window(name: str) -> None:
    told = await tell(STORIES[name])
    for write in range(1, told.writes + 1):
        stage = await again(told, write, MOMENTS[write % 3], remembers=False, away=4)
        assert stage.cluster.struck == 1, write


@pytest.mark.long
@pytest.mark.parametrize("model", [FIRST, THIRD], ids=["the old spec", "another spec"])
async def test_what_people_want_while_nobody_is_there_is_what_they_get(model: dict[str, str]) -> None:
    told = await tell(STORIES["a sound candidate"])
    for write in range(1, told.writes + 1, 3):
        stage = Stage()
        stage.away = 4
        stage.people = lambda stage: stage.edit(model=model) if stage.cluster.struck else None
        stage.resume([saved for saved in told.saved if saved.count < write][-1], told.stage)
        stage.kill_at(write, "after")
        await stage.pass_by(2)
        await stage.until(lambda stage=stage: rested(stage))
        assert (stage.share(), len(stage.revisions())) == (0, 1)
        [serves] = {stage.selected(name) for name in ("digits", "digits-candidate", "digits-headless")}
        assert serves == stage.rollout["stableRevision"]
        assert (serves == stage.first) == (model == FIRST)


def rested(stage: Stage) -> bool:
    meta = stage.cluster.live("InferenceService", "digits")["metadata"]
    seen: bool = stage.status["observedGeneration"] == meta["generation"]
    return seen and stage.rollout["phase"] == "Idle" and len(stage.revisions()) == 1
