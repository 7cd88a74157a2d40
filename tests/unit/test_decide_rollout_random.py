"""Random faults by the thousand: edits, commands, lost pods, routes that others write, crashes, old statuses.

`support.rollout_chaos` says what must hold after every look. A failure names the seed that shows it again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from seawall.decide import rollout, rollout_displace, rollout_stages, rollout_watch
from seawall.decide.rollout_moves import stay
from support import rollout_chaos
from support.rollout_chaos import Broken, live

pytestmark = pytest.mark.long

LOOKS = 100


def lives(first: int, number: int, displacing: float = 0.0, by_pods: float = 0.0) -> tuple[int, Counter[str]]:
    looks, seen = 0, Counter[str]()
    for seed in range(first, first + number):
        life = live(seed, LOOKS, displacing, by_pods)
        looks += life.number
        seen += life.seen
    return looks, seen


def test_some_lives_keep_every_promise() -> None:
    looks, seen = lives(0, 12)
    assert looks > 1000
    assert {"Starting", "Stepping", "Watching"} <= set(seen)


@pytest.mark.long
def test_a_hundred_thousand_looks_keep_every_promise() -> None:
    looks, seen = lives(1000, 960)
    assert looks > 100_000
    # What is never met is not tested.
    must = {
        "Idle", "Starting", "Verifying", "Quality", "Shadow", "Stepping", "Promoting", "Watching", "Draining", "Paused",
        "RollingBack", "RolledBack", "Building", "StepPassed", "SurgeTooSmall", "Regression", "Inconclusive",
        "CapacityUnavailable", "StableNotReady", "CandidateNotReady", "RouteConflict",
        "RouteNotFound", "NotRouted", "NoData", "ProviderDown", "AnswersDiffer", "QualityUnknown", "ShadowUnknown", "Aborted",
        "VerificationFailed", "WeightNotHonoured", "StableBreaching", "LoadMismatch", "SpecRefused",
    }  # fmt: skip
    assert must - set(seen) == set()


def test_lives_with_displaced_pods_keep_every_promise() -> None:
    looks, seen = lives(2000, 300, 0.9)
    assert looks > 30_000
    assert seen["displaced"] > 10_000
    must = {
        "CapacityUnavailable",
        "CapacityReturns",
        "StableNotReady",
        "Promoting",
        "Regression",
        "RolledBack",
    }
    assert must - set(seen) == set()


def test_lives_without_a_gateway_keep_every_promise() -> None:
    looks, seen = lives(3000, 300, by_pods=0.9)
    assert looks > 30_000
    assert seen["selected by pods"] > 100
    must = {
        "CapacityUnavailable",
        "StableNotReady",
        "CandidateNotReady",
        "OtherRevisions",
        "WeightNotHonoured",
        "SurgeTooSmall",
        "Promoting",
        "Regression",
        "RolledBack",
    }
    assert must - set(seen) == set()


def heedless(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rollout_displace, "needed", lambda state, world: 1)


def abrupt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rollout_displace, "_at_once", lambda previous, state, world: True)


def greedy(patch: pytest.MonkeyPatch) -> None:
    def another(state, world, stable, weight):  # type: ignore[no-untyped-def]
        return stay(replace(state, pods=(state.pods or 1) + 1, hold=None), world, stable)

    patch.setattr(rollout_displace, "_another", another)


PLACES = {
    "stable pods go that are needed": (heedless, "carry what is left"),
    "traffic goes back all at once": (abrupt, "goes back to pods that carry it"),
    "pods come before their places": (greedy, "no pod without a place"),
}


@pytest.mark.parametrize("name", PLACES)
def test_the_promises_notice_places_that_are_taken_otherwise(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks, words = PLACES[name]
    breaks(monkeypatch)
    with pytest.raises(Broken, match=words):
        lives(0, 120, 0.9)


def hasty(patch: pytest.MonkeyPatch) -> None:
    honest = rollout_chaos.Sim.look

    def look(self, killed_after=None, stale=None):  # type: ignore[no-untyped-def]
        for route in self.routes or ():
            route.weight = max(route.weight, self.decide().state.weight)
        return honest(self, killed_after, stale)

    patch.setattr(rollout_chaos.Sim, "look", look)


def blind(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rollout_stages, "_lost", lambda state, world, here, stable: stay(state, world, stable))


def hurried(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        rollout, "selecting", lambda previous, step, world: replace(step, both=step.state.weight > 0)
    )


def crowded(patch: pytest.MonkeyPatch) -> None:
    honest = rollout_chaos.Sim.selection
    patch.setattr(rollout_chaos.Sim, "selection", lambda self: replace(honest(self), problem=""))


def plentiful(patch: pytest.MonkeyPatch) -> None:
    honest = rollout.selecting
    patch.setattr(
        rollout, "selecting", lambda previous, step, world: replace(honest(previous, step, world), pods=None)
    )


SELECTIONS = {
    "Services select before the status says so": (hurried, "selected as recorded"),
    "Services select whoever has pods": (crowded, "nobody else is selected"),
    "pods come before they are recorded": (plentiful, "before they are recorded"),
    "lost pods keep their weight": (blind, "no weight on record|once both are ready"),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_the_promises_notice_services_that_select_otherwise(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks, words = SELECTIONS[name]
    breaks(monkeypatch)
    with pytest.raises(Broken, match=words):
        lives(3000, 60, by_pods=0.9)


def forgiving(patch: pytest.MonkeyPatch) -> None:
    def rejected(state, world, target, stable):  # type: ignore[no-untyped-def]
        return rollout._onward(replace(state, rejected=None), world, target, stable)

    patch.setattr(rollout, "_rejected", rejected)


def wasteful(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rollout_watch, "_remaining", lambda state, world: 1.0)


BREAKS = {
    "weights go before the status": (hasty, "no more than the status had recorded"),
    "lost pods are not looked at": (blind, "without a ready pod"),
    "a refusal is forgotten": (forgiving, "was rejected and serves"),
    "the watch never ends": (wasteful, "comes to rest"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_the_promises_notice_a_machine_that_breaks_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks, words = BREAKS[name]
    breaks(monkeypatch)
    with pytest.raises(Broken, match=words):
        lives(0, 40)
